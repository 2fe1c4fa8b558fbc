"""What a run came to, for people: read its folder into a summary, render that as a page or as data."""
