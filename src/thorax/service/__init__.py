"""The web page and its HTTP service: for this machine, with a token, or as a public demonstration."""

from typing import TYPE_CHECKING

from thorax.packages import lazy_names

if TYPE_CHECKING:
    from thorax.service.app import create_app
    from thorax.service.settings import ServiceSettings
    from thorax.service.token_file import new_token, read_token

__all__ = ["ServiceSettings", "create_app", "new_token", "read_token"]

# The page's files and what it says of a model are also used where the packages of the service are missing.
__getattr__ = lazy_names(
    __name__,
    {
        "ServiceSettings": "thorax.service.settings",
        "create_app": "thorax.service.app",
        "new_token": "thorax.service.token_file",
        "read_token": "thorax.service.token_file",
    },
)
