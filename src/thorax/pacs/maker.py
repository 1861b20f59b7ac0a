"""DICOM images to their results: read, check, predict, explain, build. Every door uses this."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from thorax.atomic_io import StrPath
from thorax.errors import MissingExtra, NotARadiograph
from thorax.explain.explainers import Explainer, best_method, open_explainer
from thorax.explain.radiograph import explain_radiograph
from thorax.findings import Findings
from thorax.imaging import read_guarded
from thorax.imaging.read import file_content, source_name
from thorax.inference.predictor import Predictor
from thorax.pacs.results import LARGEST_MAP, Overlay, Results, build_results, results_of_refusal
from thorax.pacs.source import SourceImage, read_source
from thorax.prediction import Prediction
from thorax.radiograph import Radiograph

__all__ = ["MOST_MAPS", "ResultMaker", "mapped_findings", "open_maker"]

MOST_MAPS: Final = 3
"""Findings of one image that get a map: a picture with more is hard to read."""


@dataclass(frozen=True, slots=True, eq=False)
class ResultMaker:
    """Makes the results of DICOM images with one model. Threads may share it.

    Attributes:
        predictor: The model.
        explainer: Computes the maps; None makes structured reports alone.
        note: Why there are no maps, a sentence without its period; "" if there are.
    """

    predictor: Predictor
    explainer: Explainer | None
    note: str = ""

    def results(self, source: StrPath | bytes, name: str = "", *, created: datetime | None = None) -> Results:
        """Return the results of a DICOM image; for one that the input gate holds back, a report that says so.

        The header is checked before the image is decoded.

        Args:
            source: Path or content of the file.
            name: What messages call it; "" derives it from a path.
            created: See `build_results`.

        Raises:
            ImageError: The image cannot be read, or no result can refer to it; see `read_source`.
            UnsupportedImage: It is not a DICOM image of a chest.
        """
        name = name or source_name(source)
        content = file_content(source)
        assert content is not None
        image = read_source(content, name)
        return self.results_of(image, content, created=created)

    def results_of(self, image: SourceImage, content: bytes, *, created: datetime | None = None) -> Results:
        """Return the results of an image whose header was read before; see `results`.

        Args:
            image: What `read_source` returned for the content.
            content: Content of the file.
            created: See `build_results`.
        """
        radiograph, bundle = read_guarded(content, name=image.name), self.predictor.bundle
        try:
            prepared = self.predictor.prepare(radiograph, image.name, lambda *_: None)
        except NotARadiograph as error:
            reason = str(error).removeprefix(f"{radiograph.origin.name}: ")
            refusal = results_of_refusal(image, bundle, reason, codes=error.reasons, created=created)
            return replace(refusal, reasons=error.reasons, scores=error.scores)
        (predicted,) = self.predictor.predict_prepared([prepared])
        built = build_results(
            image,
            predicted.prediction,
            bundle,
            overlay=self.overlay(radiograph, mapped_findings(predicted.prediction)),
            gate_off=not self.predictor.holds_back,
            created=created,
        )
        codes = tuple(reason.code for reason in predicted.gate.reasons)
        return replace(built, reasons=codes, scores=predicted.gate.scores)

    def overlay(self, radiograph: Radiograph, findings: Findings) -> Overlay | None:
        """Return a radiograph with maps of findings; None without an explainer, or without a finding."""
        if self.explainer is None or not findings:
            return None
        methods = (best_method(self.predictor.bundle),)
        maps = explain_radiograph(self.explainer, radiograph, findings, methods=methods, largest=LARGEST_MAP)
        return Overlay(radiograph, tuple(maps))


def open_maker(predictor: Predictor, *, device: str = "auto", maps: bool = True) -> ResultMaker:
    """Open a maker of results with the model's best method for maps.

    Without torch, a model whose graph has no exact class activation map gets none; `ResultMaker.note` says
    so.

    Args:
        predictor: The model.
        device: The device of the maps.
        maps: Whether to make maps at all.
    """
    if not maps:
        return ResultMaker(predictor, None)
    try:
        return ResultMaker(predictor, open_explainer(predictor.bundle, device=device))
    except MissingExtra as error:
        return ResultMaker(predictor, None, f"no maps: {error}")


def mapped_findings(prediction: Prediction) -> Findings:
    """Return the findings that get a map: present or not decided, most probable first, at most `MOST_MAPS`.

    Of a model without thresholds, it is the most probable one.
    """
    ranked = prediction.ranked()
    if all(predicted.threshold is None for predicted in ranked):
        return (ranked[0].finding,)
    shown = [predicted.finding for predicted in ranked if predicted.decision in {"yes", "not decided"}]
    return tuple(shown[:MOST_MAPS])
