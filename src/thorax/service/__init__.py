"""The web page and its HTTP service: for this machine, with a token, or as a public demonstration."""

from thorax.service.app import create_app
from thorax.service.settings import ServiceSettings
from thorax.service.token_file import new_token, read_token

__all__ = ["ServiceSettings", "create_app", "new_token", "read_token"]
