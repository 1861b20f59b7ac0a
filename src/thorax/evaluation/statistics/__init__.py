"""Ranking scores, confidence intervals and DeLong's test, with patients as the unit."""
