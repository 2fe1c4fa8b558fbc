"""The job and rows that `promptopt init --demo` writes."""
