"""The web page and its HTTP service for a bundle, on this machine or as a public demonstration."""

from thorax.service.app import create_app
from thorax.service.settings import ServiceSettings

__all__ = ["ServiceSettings", "create_app"]
