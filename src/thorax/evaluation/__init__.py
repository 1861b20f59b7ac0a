"""Evaluation: statistics of predictions, with intervals. NumPy only."""
