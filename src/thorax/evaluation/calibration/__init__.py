"""Calibration: fitted, and measured."""
