"""Statistics of predictions, with confidence intervals; needs only NumPy and SciPy."""
