"""What a node makes of one image: whether it is wanted, and its results as the bytes of files."""

import time
from pathlib import Path
from typing import Any, Final

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.dicom.parsing import parse_header
from thorax.imaging.quiet import libraries_silenced
from thorax.pacs.finishing import encoded
from thorax.pacs.maker import ResultMaker
from thorax.pacs.node.outcomes import Computed, Failed, NotWanted, Outcome
from thorax.pacs.node.rules import Rules, header_of
from thorax.pacs.results import Results
from thorax.prediction import ModelIdentity

__all__ = ["compute"]

_NAME: Final = "the image"
"""What messages call an image: its file has the name of a hash."""


def compute(path: Path, maker: ResultMaker, rules: Rules) -> Outcome:
    """Return what becomes of an image.

    Args:
        path: Its DICOM file.
        maker: Predicts, and makes the results.
        rules: Which images are predicted, and what becomes of those that the input gate holds back.
    """
    try:
        return _computed(path.read_bytes(), maker, rules)
    except UnsupportedImage as error:
        return NotWanted(str(error), is_failure=False)
    except ImageError as error:
        return NotWanted(str(error), is_failure=True)
    except Exception as error:  # noqa: BLE001  (a file that is gone, a decoder that cannot be started)
        return Failed.of(error)


def _computed(content: bytes, maker: ResultMaker, rules: Rules) -> Computed | NotWanted:
    began = time.monotonic()
    with libraries_silenced():
        header = header_of(parse_header(content))
    if reason := rules.reason_to_skip(header):
        return NotWanted(reason, is_failure=False)
    results = maker.results(content, _NAME)
    outcome = _outcome(results, maker.predictor.identity, header.view)
    if results.refusal and rules.held_back == "nothing":
        return NotWanted(f"held back by the input gate: {results.refusal}", is_failure=False, outcome=outcome)
    made = time.monotonic()
    files = tuple(encoded(dataset) for dataset in results.objects)
    return Computed(
        files,
        outcome,
        "held back" if results.refusal else "predicted",
        {"make": made - began, "encode": time.monotonic() - made},
    )


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
