"""Statistics with patients as the unit: ranking, intervals, DeLong."""
