"""Selectors: which of these prompts are best, found with how few cells."""
