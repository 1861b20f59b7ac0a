"""The pictures of a folder of predictions: a thumbnail of each image, and small maps of findings over it."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from thorax.arrays import Attribution
from thorax.atomic_io import temporary_name
from thorax.errors import MissingExtra
from thorax.explain.explainers import Explainer, best_method, open_explainer
from thorax.explain.geometry import map_on_radiograph
from thorax.explain.overlay import Scale, overlay
from thorax.findings import Finding, Findings
from thorax.hardware import parallel_map
from thorax.imaging.identity import Identity, read_identity
from thorax.inference.predictor import Predictor
from thorax.prediction import Prediction
from thorax.radiograph import Radiograph
from thorax.recipe.literals import Overlays
from thorax.reporting.prediction_page import file_name
from thorax.workflows.predicting import FilePrediction

__all__ = ["OVERLAYS", "THUMBNAILS", "Glance", "Pictures", "glance_at", "open_maps", "positive_or_first"]

THUMBNAILS: Final = "thumbnails"
OVERLAYS: Final = "overlays"

Maps = Float32[np.ndarray, "k side side"]
"""The maps of one image, in prepared pixels."""

_SIDE: Final = 320
"""Longest side of a thumbnail: it is shown at 200 pixels, and at 480 when it is looked at alone."""

_QUALITY: Final = 85
_OPACITY: Final = 0.6
_TOGETHER: Final = 8
"""Images whose maps are computed together: 14 maps of each at 512 pixels take 117 MB."""

_EQUAL: Final = 1e-6
"""Of a map's range, beside its highest value: below it, all its values are equal."""


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """What is kept of a radiograph.

    Attributes:
        gray: The thumbnail.
        jpeg: The thumbnail as a file.
        view: View position.
        identity: Its identifiers; None if it is not DICOM.
    """

    gray: UInt8[np.ndarray, "h w"]
    jpeg: bytes
    view: str
    identity: Identity | None


def glance_at(source: str, radiograph: Radiograph) -> Glance:
    """Return what is kept of a radiograph; called in the thread that read it."""
    pixels = radiograph.pixels
    image = Image.fromarray(pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8))
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    is_dicom = radiograph.origin.format == "DICOM"
    identity = read_identity(source) if is_dicom else None
    return Glance(np.asarray(image), _jpeg(image), str(radiograph.view), identity)


def open_maps(predictor: Predictor, overlays: Overlays, *, device: str) -> tuple[Explainer | None, str]:
    """Return what computes the maps, and why there are none; "" if there are, or none are wanted.

    Only exact class activation maps are drawn: they cost one more pass of the images that have a map, where
    other methods cost many, and need torch.

    Args:
        predictor: The model.
        overlays: Which findings get a map.
        device: The device of the maps.
    """
    if overlays == "none":
        return None, ""
    if best_method(predictor.bundle) != "cam":
        return None, "no heat maps, because the model has no exact class activation map; explain has others"
    try:
        return open_explainer(predictor.bundle, methods=("cam",), device=device), ""
    except MissingExtra as error:
        return None, f"no heat maps: {error}"


class Pictures:
    """Writes the pictures of images into a folder.

    Args:
        folder: The folder.
        findings: The findings that are predicted.
        overlays: Which of them get a map.
        explainer: Computes the maps; None draws none.
    """

    def __init__(
        self, folder: Path, findings: Findings, *, overlays: Overlays, explainer: Explainer | None
    ) -> None:
        self._folder = folder
        self._findings = findings
        self._overlays = overlays
        self._explainer = explainer
        for name in (THUMBNAILS, OVERLAYS) if explainer else (THUMBNAILS,):
            (folder / name).mkdir(exist_ok=True)

    def write(
        self, images: Sequence[tuple[int, FilePrediction[Glance]]]
    ) -> dict[int, dict[str, tuple[float, float]]]:
        """Write the pictures of images with these numbers.

        Returns:
            By number, the findings whose map was drawn, with the values at which its colors begin and end.
        """
        for number, image in images:
            _write(self._folder / THUMBNAILS / f"{number:06}.jpg", image.kept.jpeg)
        drawn: dict[int, dict[str, tuple[float, float]]] = {number: {} for number, _ in images}
        explainer = self._explainer
        if explainer is None:
            return drawn
        mapped = [(number, image, chosen) for number, image in images if (chosen := self._chosen(image))]
        for first in range(0, len(mapped), _TOGETHER):
            self._write_maps(explainer, mapped[first : first + _TOGETHER], drawn)
        return drawn

    def _chosen(self, image: FilePrediction[Glance]) -> list[Finding]:
        if self._overlays == "all":
            return list(self._findings)
        return positive_or_first(image.prediction.only(self._findings))

    def _write_maps(
        self,
        explainer: Explainer,
        images: Sequence[tuple[int, FilePrediction[Glance], list[Finding]]],
        drawn: dict[int, dict[str, tuple[float, float]]],
    ) -> None:
        wanted = {finding for _, _, chosen in images for finding in chosen}
        columns = tuple(finding for finding in self._findings if finding in wanted)
        maps = explainer.maps(np.stack([image.pixels for _, image, _ in images]), columns, method="cam")
        preparation = explainer.bundle.manifest.preparation

        def draw(work: tuple[int, FilePrediction[Glance], list[Finding], Maps]) -> None:
            number, image, chosen, prepared = work
            height, width = image.kept.gray.shape
            attributions = {
                finding: map_on_radiograph(
                    prepared[columns.index(finding)], height=height, width=width, preparation=preparation
                )
                for finding in chosen
            }
            for finding, scale in _scales(attributions).items():
                colors = overlay(image.kept.gray, attributions[finding], opacity=_OPACITY, scale=scale)
                name = file_name(self._findings.index(finding), finding.name)
                path = self._folder / OVERLAYS / f"{number:06}-{name}.jpg"
                _write(path, _jpeg(Image.fromarray(colors)))
                drawn[number][finding.name] = scale.low, scale.high

        parallel_map(
            draw, [(number, image, chosen, maps[row]) for row, (number, image, chosen) in enumerate(images)]
        )


def positive_or_first(prediction: Prediction) -> list[Finding]:
    """Return the positive findings, or of a model without thresholds the most probable one."""
    if all(entry.threshold is None for entry in prediction):
        return [prediction.ranked()[0].finding]
    return [entry.finding for entry in prediction if entry.positive]


def _scales(attributions: Mapping[Finding, Attribution]) -> dict[Finding, Scale]:
    """Return the scales of the maps of one image: a common one from 0 to the highest value of all of them.

    A map without a value above 0 has its own, from its mean; one with the same value everywhere is left out.
    """
    highest = {finding: float(np.nanmax(values)) for finding, values in attributions.items()}
    common = Scale(0.0, max(highest.values(), default=0.0))
    scales = {
        finding: common if high > 0 else Scale(float(np.nanmean(attributions[finding])), high)
        for finding, high in highest.items()
    }
    return {
        finding: scale
        for finding, scale in scales.items()
        if scale.high - scale.low > _EQUAL * max(1.0, abs(scale.high))
    }


def _jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Write a picture, whole or not at all; unlike the journal, it is not flushed to disk."""
    temporary = path.with_name(temporary_name(path.name))
    temporary.write_bytes(content)
    temporary.replace(path)
