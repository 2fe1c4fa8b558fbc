"""Where the curves of a run go besides its folder, one tool a file."""
