"""Reports: evaluations for people."""
