"""Rewards: how an output is judged, one idea a file."""
