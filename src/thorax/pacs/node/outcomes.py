"""What becomes of an image that a node has taken out of its queue."""

import errno
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from thorax.errors import ThoraxError

__all__ = ["Computed", "Failed", "NotWanted", "Outcome"]

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class NotWanted:
    """An image that gets no result.

    Attributes:
        reason: Why, without patient data.
        is_failure: Whether an operator should look at it.
        outcome: As in `Computed`, for an image that the input gate holds back; None for others.
    """

    reason: str
    is_failure: bool
    outcome: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """The results of an image.

    Attributes:
        files: The objects as the bytes of DICOM files, in the order in which they are sent.
        outcome: What is kept of the prediction, as JSON has it: for monitoring, without identifiers.
        kind: "predicted" or "held back".
        seconds: How long each step took.
    """

    files: tuple[bytes, ...]
    outcome: dict[str, Any]
    kind: str
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that failed; another one may not.

    Attributes:
        reason: Why, without patient data.
        is_full: Whether the disk is full, which is not the image's fault.
    """

    reason: str
    is_full: bool = False

    @classmethod
    def of(cls, error: Exception) -> "Failed":
        """Return the failure that an error means."""
        # Messages of ours quote no values of a file; those of others may.
        said = str(error) if isinstance(error, ThoraxError) else f"{type(error).__name__} at {_place(error)}"
        return cls(said, is_full=isinstance(error, OSError) and error.errno in _FULL)


Outcome = Computed | NotWanted | Failed


def _place(error: Exception) -> str:
    """Return file and line of an error, the same for every image."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
