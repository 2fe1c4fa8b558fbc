"""Formats that a prompt is exported to, one a file."""
