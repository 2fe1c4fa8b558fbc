"""Target models: local, remote, embedded, and plain functions."""
