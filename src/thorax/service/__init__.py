"""The web page and its service: a bundle behind HTTP, on this machine or as a public demonstration."""

from thorax.service.app import create_app
from thorax.service.settings import Settings

__all__ = ["Settings", "create_app"]
