"""Hyperparameter search: which settings of a recipe do best on validation."""
