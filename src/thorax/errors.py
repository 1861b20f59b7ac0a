"""The exceptions of Thorax, and the exit code that each gives the command line.

* ThoraxError               something in Thorax failed                          -> exit 1
  + RecipeError             the recipe is wrong, or does not fit the data       -> exit 2
  + DataError               labels, split, source or store are wrong            -> exit 3
    - LeakError             images to evaluate were used in training or selection -> exit 3
  + ImageError              a file cannot be used as a chest radiograph         -> exit 4
    - UnsupportedImage      readable, but not a single frontal or lateral chest radiograph
    - NotARadiograph        readable, but the input gate of the model holds it back
  + BundleError             weights, manifest and code do not fit together      -> exit 5
  + ServiceError            the network service cannot start or respond         -> exit 6
  + MissingExtra            a package of an extra is not installed              -> exit 7

A message has four parts: what is wrong, which value, where, and what to do next. It is one line of at most
2,000 characters, in which control characters are shown as escapes.
"""

import errno
from typing import ClassVar

from thorax.quoting import MAX_MESSAGE, cut, visible, with_addresses

__all__ = [
    "BundleError",
    "DataError",
    "ImageError",
    "LeakError",
    "MissingExtra",
    "NotARadiograph",
    "RecipeError",
    "ServiceError",
    "ThoraxError",
    "UnsupportedImage",
]


class ThoraxError(Exception):
    """Base class of all exceptions that Thorax raises deliberately.

    Attributes:
        exit_code: That of the command line.
        said_elsewhere: Whether another process of the same training run reports it.
    """

    exit_code: ClassVar[int] = 1
    said_elsewhere: bool = False

    def __init__(self, message: str = "") -> None:
        super().__init__(cut(visible(with_addresses(cut(message, MAX_MESSAGE))), MAX_MESSAGE))


class RecipeError(ThoraxError):
    """The recipe is malformed, or requires something that the data or backbone does not have."""

    exit_code = 2


class DataError(ThoraxError):
    """Labels, split, source folder or store are wrong or do not match."""

    exit_code = 3


class LeakError(DataError):
    """The images to evaluate include patients that training or selection saw."""


class ImageError(ThoraxError):
    """A file cannot be read as a radiograph.

    Attributes:
        code: What went wrong, for programs.
    """

    exit_code = 4
    code: ClassVar[str] = "unreadable"


class UnsupportedImage(ImageError):  # noqa: N818  (reads as the sentence it stands for)
    """The file is readable, but it is not a single projection radiograph of a chest."""

    code = "unsupported"


class NotARadiograph(ImageError):  # noqa: N818  (as above)
    """The image is readable, but it is not a frontal chest radiograph as the model needs one.

    Args:
        message: What the input gate found, and what would pass.
        reasons: The codes of what it found, such as "inverted".
        scores: The gate's scores of the image, by name.
    """

    code = "not-a-radiograph"

    def __init__(
        self,
        message: str = "",
        *,
        reasons: tuple[str, ...] = (),
        scores: dict[str, float] | None = None,
    ) -> None:
        super().__init__(message)
        self.reasons = reasons
        self.scores = scores or {}


class BundleError(ThoraxError):
    """A bundle is incomplete or damaged, or this version cannot use it."""

    exit_code = 5


class ServiceError(ThoraxError):
    """The service cannot start or respond."""

    exit_code = 6

    @classmethod
    def of_port(cls, address: str, port: int, error: OSError, setting: str = "port") -> "ServiceError":
        """Return the error that says why a port cannot be listened on.

        Args:
            address: The address.
            port: The port.
            error: What the system says.
            setting: The setting that names the port.
        """
        if error.errno == errno.EADDRNOTAVAIL:
            return cls(
                f"{address} is not an address of this machine; set `listen` to one that it has, or to "
                "0.0.0.0 for all of them"
            )
        if error.errno == errno.EADDRINUSE:
            reason = "is in use by another program"
        elif error.errno == errno.EACCES:
            reason = "needs more rights than this user has"
        else:
            reason = f"cannot be used ({error.strerror})"
        return cls(
            f"port {port} of {address} {reason}; set `{setting}` to another one, or to 0 for any free one"
        )


class MissingExtra(ThoraxError):  # noqa: N818  (reads as the sentence it stands for)
    """A required package of an extra is not installed; the message has the command that installs it."""

    exit_code = 7
