"""Tracking of runs by services such as MLflow."""
