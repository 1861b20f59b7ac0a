"""Fitting calibrations, and measuring calibration error."""
