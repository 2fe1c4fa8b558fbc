"""Searchers: one algorithm a file, each reads like its paper."""
