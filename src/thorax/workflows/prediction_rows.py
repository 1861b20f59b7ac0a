"""What a journal notes of files that were computed together, wherever that was."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thorax.workflows.predicting import FilePrediction, LeftOut
from thorax.workflows.prediction_journal import Row
from thorax.workflows.prediction_pictures import Glance, Pictures

__all__ = ["Noted", "Outcome", "noted"]

Outcome = FilePrediction[Glance] | LeftOut


@dataclass(frozen=True, slots=True)
class Noted:
    """What is noted of a file.

    Attributes:
        row: Its row, in which size, time and the number of the study are still 0.
        study_uid: The UID of its study; "" without one.
        state: Size and modification time of an object of object storage.
    """

    row: Row
    study_uid: str = ""
    state: tuple[int, int] | None = None


def noted(
    outcomes: Sequence[Outcome], numbers: Sequence[int], pictures: Pictures, *, ids: bool
) -> list[Noted]:
    """Write the pictures of files, and return what is noted of each.

    Args:
        outcomes: What became of them.
        numbers: Their numbers in the folder.
        pictures: Writes the pictures.
        ids: Whether to note identifiers.
    """
    images = zip(numbers, outcomes, strict=True)
    maps = pictures.write([(number, one) for number, one in images if isinstance(one, FilePrediction)])
    return [
        _predicted(one, number, maps[number], ids=ids)
        if isinstance(one, FilePrediction)
        else Noted(_row(one, number) | _why(one), state=one.file.state)
        for number, one in zip(numbers, outcomes, strict=True)
    ]


def _row(outcome: Outcome, number: int) -> Row:
    file = outcome.file
    return {
        "number": number,
        "place": file.place,
        "path": file.path,
        "name": file.name,
        "size": 0,
        "time": 0,
    }


def _why(left_out: LeftOut) -> Row:
    return {"reason": left_out.reason, "error": left_out.code} if left_out.reason else {"other": True}


def _predicted(
    image: FilePrediction[Glance], number: int, maps: dict[str, tuple[float, float]], *, ids: bool
) -> Noted:
    identity = image.kept.identity
    named: dict[str, Any] = {"ids": identity.as_json()} if ids and identity is not None else {}
    seen = {
        "probabilities": [entry.probability for entry in image.prediction.findings],
        "warnings": list(image.prediction.warnings),
        "view": image.kept.view,
        "study": 0,
        "maps": {name: list(ends) for name, ends in maps.items()},
    }
    uid = "" if identity is None else identity.study_uid
    return Noted(_row(image, number) | named | seen, uid, image.file.state)
