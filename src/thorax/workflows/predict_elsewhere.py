"""Predicting over a cluster: the files that are computed together are one unit."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from thorax.bundle import Bundle
from thorax.cluster import Lost, Post, refuse_unseen
from thorax.findings import Findings
from thorax.hardware import blas_on_one_thread
from thorax.inference.engines import open_predictor
from thorax.inference.predictor import Predictor
from thorax.recipe.literals import EngineName, Overlays
from thorax.workflows.image_list import ImageFile
from thorax.workflows.predicting import predict_listed
from thorax.workflows.prediction_pictures import Pictures, glance_at, open_maps
from thorax.workflows.prediction_rows import Noted, noted

__all__ = ["FilesUnit", "PredictingWith", "failures", "predict_unit"]


@dataclass(frozen=True, slots=True, eq=False)
class PredictingWith:
    """What predicts all units of a call; each worker opens it once.

    Attributes:
        bundle: The bundle, as the caller opened it, with the calibration of a site.
        holds_back: Whether the input gate does.
        findings: The findings to predict.
        overlays: Which of them get a map.
        device: "auto", "cpu", "cuda" or "cuda:N".
        engine: What computes the logits.
        out: The folder of predictions.
        ids: Whether to note identifiers.
    """

    bundle: Bundle
    holds_back: bool
    findings: Findings
    overlays: Overlays
    device: str
    engine: EngineName
    out: Path
    ids: bool


@dataclass(frozen=True, slots=True)
class FilesUnit:
    """Files that are computed together.

    Attributes:
        files: The files.
        numbers: Their numbers in the folder.
    """

    files: tuple[ImageFile, ...]
    numbers: tuple[int, ...]


def predict_unit(tools: PredictingWith, unit: FilesUnit, _post: Post) -> list[Noted]:
    """Predict the files of a unit, and write their pictures.

    Raises:
        BundleError: The bundle is not the same here, or cannot be opened.
        DataError: None of the files is here.
    """
    refuse_unseen([file.path for file in unit.files], least=1)
    predictor, pictures = _opened(tools)
    with blas_on_one_thread():
        outcomes = list(predict_listed(predictor, unit.files, glance_at))
        return noted(outcomes, unit.numbers, pictures, ids=tools.ids)


def failures(unit: FilesUnit, lost: Lost) -> list[Noted]:
    """Return what is noted of files that ended their worker each time: they are tried again next time."""
    together = f", together with {len(unit.files) - 1} others," if len(unit.files) > 1 else ""
    return [
        Noted(
            {
                "number": number,
                "place": file.place,
                "path": file.path,
                "name": file.name,
                "size": 0,
                "time": 0,
            }
            | {"reason": f"could not be predicted{together}: {lost.reason}", "error": "unreadable"}
        )
        for file, number in zip(unit.files, unit.numbers, strict=True)
    ]


@lru_cache(maxsize=1)
def _opened(tools: PredictingWith) -> tuple[Predictor, Pictures]:
    predictor = open_predictor(tools.bundle, device=tools.device, engine=tools.engine)
    if not tools.holds_back:
        predictor = predictor.without_gate()
    explainer, _ = open_maps(predictor, tools.overlays, device=tools.device)
    return predictor, Pictures(tools.out, tools.findings, overlays=tools.overlays, explainer=explainer)
