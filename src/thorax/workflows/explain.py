"""Where in one radiograph findings come from, by one method or several, as values and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thorax.atomic_io import StrPath, refuse_existing
from thorax.bundle import load_bundle
from thorax.explain import open_explainer, reading_notes
from thorax.explain.explainers import methods_named
from thorax.explain.picture import Drawing, picture_kind, write_picture
from thorax.explain.radiograph import (
    Explained,
    explain_radiograph,
    picture_heading,
    side_by_side,
    silent_notes,
)
from thorax.findings import Findings, finding_or_new
from thorax.imaging import read_guarded
from thorax.inference.engines import open_predictor
from thorax.prediction import Prediction
from thorax.radiograph import Radiograph

__all__ = ["ExplainedRadiograph", "explain"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExplainedRadiograph:
    """Maps of findings in one radiograph.

    Attributes:
        radiograph: The image.
        prediction: What the bundle predicts for it.
        maps: For each finding, the map of each method.
        notes: What a reader of the maps must know, each a sentence without its full stop.
    """

    radiograph: Radiograph
    prediction: Prediction
    maps: tuple[Explained, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return source and maps as JSON would have them: places and boxes in pixels of the radiograph.

        The model's statement is there if it has one.
        """
        probability = {entry.finding: entry.probability for entry in self.prediction.findings}
        maps = [
            {
                "finding": entry.finding.name,
                "probability": probability[entry.finding],
                "method": entry.method,
                "highest": entry.highest,
                "place": None if entry.place is None else list(entry.place),
                "box": None if entry.box is None else list(entry.box),
            }
            for entry in self.maps
        ]
        stated = self.prediction.model.statement
        model = {"model": {"statement": stated}} if stated else {}
        return {"source": self.prediction.source, "maps": maps, **model}

    def save(
        self, path: StrPath, *, opacity: float = 0.6, contour: float | None = None, box: bool = False
    ) -> None:
        """Draw the radiograph and the maps over it, side by side with captions.

        Args:
            path: Ends in .png, .jpg, .svg or .pdf; a file that is there is replaced.
            opacity: Of a map where it is highest, from 0 to 1.
            contour: Fraction of the highest value at which a line is drawn; None draws none.
            box: Whether to draw the box around the highest place.

        Raises:
            DataError: The file's name ends otherwise.
        """
        panels, columns = side_by_side(self.maps, self.radiograph, self.prediction.findings)
        drawing = Drawing(opacity=opacity, contour=contour, boxes=box, columns=columns)
        heading = picture_heading(self.prediction.source, self.prediction.model)
        write_picture(Path(path), self.radiograph.pixels, panels, drawing=drawing, heading=heading)


def explain(
    bundle: StrPath,
    image: StrPath,
    *,
    findings: Sequence[str] = (),
    methods: Sequence[str] = (),
    level: float = 0.5,
    seed: int = 0,
    device: str = "auto",
    out: StrPath | None = None,
    opacity: float = 0.6,
    contour: bool = False,
    box: bool = False,
    overwrite: bool = False,
) -> ExplainedRadiograph:
    """Locate findings in a radiograph: the maximum and a box of each map, and optionally a picture.

    Args:
        bundle: A bundle, or the run that made it.
        image: A PNG, JPEG or DICOM file.
        findings: The findings to explain; if empty, all positive ones, or the most probable one.
        methods: Names of methods; if empty, CAM if the network has an exact one, otherwise Grad-CAM.
        level: Fraction of a map's maximum at which its box and contour are drawn.
        seed: Seed of random methods.
        device: "auto", "cpu", "cuda" or "cuda:N".
        out: A picture to write: .png, .jpg, .svg or .pdf.
        opacity: Opacity of the overlay at the map's maximum, from 0 to 1.
        contour: Draw the contour at that level.
        box: Draw the box at that level.
        overwrite: Replace the file `out`.

    Raises:
        BundleError: There is no bundle.
        DataError: The bundle does not predict a finding; or `out` has another extension or already exists.
        ImageError: The image cannot be read as a radiograph.
        RecipeError: There is no such method, or the network does not support it.
    """
    if out is not None:  # checked before minutes of computing
        picture_kind(Path(out))
        refuse_existing(Path(out), overwrite=overwrite)
    opened, radiograph = load_bundle(bundle), read_guarded(image)
    names = methods_named(methods, opened)
    explainer = open_explainer(opened, methods=names, device=device)
    (prediction,) = open_predictor(opened, device=device).predict([radiograph], [str(image)])
    chosen = _chosen(findings, prediction)
    maps = explain_radiograph(explainer, radiograph, chosen, methods=names, level=level, seed=seed)
    result = ExplainedRadiograph(
        radiograph=radiograph,
        prediction=prediction,
        maps=tuple(maps),
        notes=(
            *prediction.warnings,
            *reading_notes(opened, names),
            *silent_notes(maps, has_weights=opened.manifest.has_weights),
        ),
    )
    if out is not None:
        result.save(out, opacity=opacity, contour=level if contour else None, box=box)
    return result


def _chosen(names: Sequence[str], prediction: Prediction) -> Findings:
    if names:
        return tuple(dict.fromkeys(finding_or_new(name) for name in names))
    positive = tuple(entry.finding for entry in prediction.findings if entry.positive)
    return positive or (max(prediction.findings, key=lambda entry: entry.probability).finding,)
