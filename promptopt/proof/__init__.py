"""Choosing among finalists and proving the winner: the statistics of a run's end.

It is handed evaluations and knows nothing of models, budgets, journals or files.
"""
