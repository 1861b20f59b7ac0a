"""Inference: images to calibrated probabilities."""
