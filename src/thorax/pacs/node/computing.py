"""What a node makes of one image: whether it is wanted, and its results as the bytes of files."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.dicom.parsing import parse_header
from thorax.imaging.quiet import libraries_silenced
from thorax.pacs.finishing import encoded
from thorax.pacs.maker import ResultMaker
from thorax.pacs.node.rules import Rules, header_of
from thorax.pacs.results import Results
from thorax.prediction import ModelIdentity

__all__ = ["Computed", "NotWanted", "compute"]

_NAME: Final = "the image"
"""What messages call an image: its file has the name of a hash."""


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
    """

    files: tuple[bytes, ...]
    outcome: dict[str, Any]
    kind: str


def compute(
    path: Path, maker: ResultMaker, rules: Rules, *, timed: Callable[[str, float], None]
) -> Computed | NotWanted:
    """Return what becomes of an image.

    Args:
        path: Its DICOM file.
        maker: Predicts, and makes the results.
        rules: Which images are predicted, and what becomes of those that the input gate holds back.
        timed: Called with each step and the seconds that it took.

    Raises:
        OSError: The file cannot be read.
        DataError: A process that decodes cannot be started.
        BundleError: The model gives no numbers.
    """
    content = path.read_bytes()
    began = time.monotonic()
    try:
        with libraries_silenced():
            header = header_of(parse_header(content))
        if rules.action_for(header) == "skip":
            return NotWanted("a rule leaves it out", is_failure=False)
        results = maker.results(content, _NAME)
    except UnsupportedImage as error:
        return NotWanted(str(error), is_failure=False)
    except ImageError as error:
        return NotWanted(str(error), is_failure=True)
    outcome = _outcome(results, maker.predictor.identity, header.view)
    if results.refusal and rules.held_back == "nothing":
        return NotWanted(f"held back by the input gate: {results.refusal}", is_failure=False, outcome=outcome)
    made = time.monotonic()
    timed("make", made - began)
    files = tuple(encoded(dataset) for dataset in results.objects)
    timed("encode", time.monotonic() - made)
    return Computed(files, outcome, "held back" if results.refusal else "predicted")


def _outcome(results: Results, model: ModelIdentity, view: str) -> dict[str, Any]:
    """Return what `node.monitoring` reads again."""
    outcome = {
        "view": view,
        "model": model.bundle_sha256,
        "name": model.name,
        "reasons": list(results.reasons),
        "scores": {name: round(score, 4) for name, score in results.scores.items()},
    }
    prediction = results.prediction
    if prediction is None:
        return outcome | {"refusal": results.refusal}
    return outcome | {
        "probabilities": {entry.finding.name: entry.probability for entry in prediction},
        "positive": [entry.finding.name for entry in prediction if entry.decision == "yes"],
        "warnings": len(prediction.warnings),
    }
