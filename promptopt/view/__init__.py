"""Runs in a browser on this machine: live, down to every answer's messages, two side by side."""
