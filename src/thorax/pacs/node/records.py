"""What a node's queue gives and takes: objects, deliveries and dead letters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = ["LONGEST_PAUSE", "Delivery", "Failure", "Received", "State", "Stored", "back_off"]

State = Literal["received", "predicted", "sent", "skipped", "failed"]

_FIRST_PAUSE: Final = 2.0
LONGEST_PAUSE: Final = 300.0
"""Seconds to wait at most before something is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What is known of an object when it arrives.

    Attributes:
        sop_uid: Its SOP Instance UID.
        sha256: SHA-256 of its encoded data set.
        study_uid: Its Study Instance UID.
        calling: AE title of the sender.
        size: Bytes of its file.
    """

    sop_uid: str
    sha256: str
    study_uid: str
    calling: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object that waits to be predicted.

    Attributes:
        number: Its number in the queue.
        sop_uid: Its SOP Instance UID.
        study_uid: Its Study Instance UID.
        path: Its file.
        attempts: How often it was begun, this time included.
    """

    number: int
    sop_uid: str
    study_uid: str
    path: Path
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Results of one object that must go to one destination.

    Attributes:
        number: Number of the object.
        sop_uid: SOP Instance UID of the image.
        destination: Name of the destination.
        files: The results, in the order in which they are sent.
        attempts: How often the destination has refused them.
    """

    number: int
    sop_uid: str
    destination: str
    files: tuple[Path, ...]
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A dead letter: an object that could not be predicted, or results that a destination refuses.

    Attributes:
        number: Number of the object.
        sop_uid: SOP Instance UID of the image.
        destination: The destination; "" if it could not be predicted.
        reason: Why, without patient data.
    """

    number: int
    sop_uid: str
    destination: str
    reason: str


def back_off(attempts: int) -> float:
    """Return the seconds to wait after so many failed attempts: 2, 4, 8 and so on, up to five minutes."""
    return float(min(_FIRST_PAUSE * 2 ** max(0, min(attempts - 1, 20)), LONGEST_PAUSE))
