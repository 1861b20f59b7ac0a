"""Thorax: chest radiograph classification that is honest, fast and ready for work."""

__version__ = "0.1.0"

__all__ = ["__version__"]
