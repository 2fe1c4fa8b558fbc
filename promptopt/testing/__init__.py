"""Checks and a fake model for plug-in authors; every built-in passes them."""
