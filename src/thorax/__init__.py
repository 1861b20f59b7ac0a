"""Thorax trains, evaluates and runs classifiers of chest radiographs."""

__version__ = "0.1.0"

__all__ = ["__version__"]
