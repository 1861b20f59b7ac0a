"""`Model`: predict and explain any image with a bundle."""

import io
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from thorax import starter
from thorax.bundle import Bundle, load_bundle
from thorax.bundle.sites import at_site
from thorax.errors import DataError, RecipeError
from thorax.explain import METHODS, Explainer, Method, best_method, open_explainer, reading_notes
from thorax.explain.overlay import overlay
from thorax.explain.picture import Drawing, write_picture
from thorax.explain.radiograph import (
    Explained,
    explain_radiograph,
    picture_heading,
    side_by_side,
    silent_notes,
)
from thorax.findings import Finding, Findings
from thorax.imaging import ImageSource, ValueRange, read_guarded, source_name
from thorax.inference.engines import describe_engine, open_predictor
from thorax.inference.predictor import Failure, Predictor
from thorax.notebook import Html, Markdown, facts, notes, page, shortened
from thorax.prediction import FindingPrediction, ModelIdentity, Prediction
from thorax.radiograph import Radiograph
from thorax.recipe.literals import EngineName
from thorax.reporting.model_card import render_card

__all__ = ["Explanation", "Failure", "Model", "load"]

_SIDE: Final = 480
"""Longest side in pixels of the picture that a notebook shows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Explanation:
    """The attribution map of one finding in a radiograph.

    Attributes:
        source: The path or name of the image.
        radiograph: The image.
        model: The model.
        predicted: Its prediction of the finding.
        map: The map at the radiograph's resolution, its maximum, and the box around that.
        notes: Caveats for the reader, each a sentence without its full stop.
    """

    source: str
    radiograph: Radiograph
    model: ModelIdentity
    predicted: FindingPrediction
    map: Explained
    notes: tuple[str, ...]

    @property
    def finding(self) -> Finding:
        """The explained finding."""
        return self.map.finding

    def overlay(self, *, opacity: float = 0.6) -> UInt8[np.ndarray, "h w 3"]:
        """Return the radiograph at its full resolution, overlaid with the map's positive values in color.

        Args:
            opacity: Opacity at the map's maximum, from 0 to 1; elsewhere proportional to its value.

        Example:
            colors = explanation.overlay(opacity=0.4)
        """
        return overlay(self.radiograph.pixels, self.map.attribution, opacity=opacity)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        opacity: float = 0.6,
        contour: float | None = None,
        box: bool = False,
    ) -> Path:
        """Draw the radiograph and the map over it, side by side with captions, into a file.

        Args:
            path: Ends in .png, .jpg, .svg or .pdf; an existing file is replaced.
            opacity: Opacity of the overlay at the map's maximum, from 0 to 1.
            contour: Fraction of the maximum at which a line is drawn; None draws none.
            box: Whether to draw the box around the maximum.

        Returns:
            The path.

        Raises:
            DataError: The file has another extension.

        Example:
            explanation.save("effusion.png", contour=0.5, box=True)
        """
        panels, columns = side_by_side([self.map], self.radiograph, [self.predicted])
        drawing = Drawing(opacity=opacity, contour=contour, boxes=box, columns=columns)
        heading = picture_heading(self.source, self.model)
        write_picture(Path(path), self.radiograph.pixels, panels, drawing=drawing, heading=heading)
        return Path(path)

    def __repr__(self) -> str:
        place = "no location in the image supports it"
        if self.map.place is not None:
            place = "highest at x {:.0f}, y {:.0f}".format(*self.map.place)
        _, probability, _, _ = self.predicted.as_texts()
        return (
            f"Explanation({shortened(self.source)!r}: {self.finding.label} {probability}, "
            f"{self.map.method}, {place})"
        )

    def _repr_html_(self) -> str:
        _, probability, threshold, _ = self.predicted.as_texts()
        highest = f"{self.map.highest:.3g} {self.map.unit}".rstrip()
        if self.map.place is not None and self.map.box is not None:
            highest += " at x {:.0f}, y {:.0f}; box x {:.0f}, y {:.0f}, {:.0f} wide, {:.0f} tall".format(
                *self.map.place, *self.map.box
            )
        values = [("Probability", f"{probability} (threshold {threshold})"), ("Highest value", highest)]
        return page(
            f"{self.finding.label} in {self.source}, by {self.map.method}",
            _picture(self.overlay()),
            facts(values),
            notes(f"Note: {note}." for note in self.notes),
        )


class Model:
    """A bundle that predicts and explains images; `load` opens one.

    Args:
        bundle: The bundle.
        predictor: The bundle with an engine.
        engine: Description of the engine.
        device: The device that computes explanations.
    """

    def __init__(self, bundle: Bundle, predictor: Predictor, *, engine: str, device: str) -> None:
        self.bundle = bundle
        self.engine = engine
        self._predictor = predictor
        self._device = device
        self._explainers: dict[Method, Explainer] = {}

    @property
    def name(self) -> str:
        """The name of the recipe, ensemble or checkpoint that the bundle was made from."""
        return self.bundle.manifest.name

    @property
    def findings(self) -> Findings:
        """The predicted findings, in order."""
        return self.bundle.findings

    @property
    def statement(self) -> str:
        """What the model says of itself wherever it speaks; "" for most models."""
        return self.bundle.manifest.stated

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities are calibrated."""
        return self.bundle.manifest.calibration is not None

    def predict(self, image: ImageSource, *, value_range: ValueRange | None = None) -> Prediction:
        """Predict one image.

        JPEG and compressed DICOM files, and their bytes, are decoded in a process of their own, which the
        first of them starts: one that crashes its decoder, hangs it or takes all memory is an `ImageError`.
        Arrays, PIL images and data sets are read in this process, so give a file that you do not trust by its
        path.

        Args:
            image: A path, bytes or an opened file of a PNG, JPEG or DICOM image; an array, uint8 or uint16,
                (H, W) or (H, W, 3), larger is brighter; a PIL image; or a pydicom `Dataset`.
            value_range: The values of black and white in an array whose type does not define them, such as
                floats.

        Raises:
            ImageError: It cannot be read as a radiograph, its decoder crashed or took too long, or
                `value_range` is needed.

        Example:
            prediction = model.predict("chest.png")
            prediction = model.predict(Path("chest.dcm").read_bytes())
            prediction = model.predict(numpy.zeros((1024, 1024), dtype=numpy.uint16))
            prediction = model.predict(numpy.random.rand(1024, 1024), value_range=(0, 1))
        """
        radiograph = read_guarded(image, value_range=value_range)
        (prediction,) = self._predictor.predict([radiograph], [source_name(image)])
        return prediction

    def predict_many(
        self, images: Iterable[ImageSource], *, value_range: ValueRange | None = None
    ) -> Iterator[Prediction | Failure]:
        """Predict images in order, each as `predict` does; one that cannot be read gives a `Failure`.

        Args:
            images: Such as `Path("folder").glob("*.dcm")`. They are read as they are needed. One in memory is
                named by its position, such as "<array 3>", counted from 0.
            value_range: See `predict`; it applies to all images, which must then be arrays.

        Raises:
            DataError: `images` is a single image.

        Example:
            for outcome in model.predict_many(Path("folder").iterdir()):
                if isinstance(outcome, thorax.Failure):
                    print(outcome.source, outcome.reason)
                else:
                    print(outcome.source, outcome["Effusion"].probability)
        """
        if isinstance(images, str | bytes | os.PathLike | Image.Image | Radiograph) or (
            isinstance(images, np.ndarray) and images.ndim == 2  # noqa: PLR2004  (rows and columns)
        ):
            raise DataError(
                f"predict_many takes several images, and got {source_name(images)} alone; call predict, or "
                'give a list of images, or the files of a folder with Path("folder").iterdir()'
            )
        return self._predictor.predict_files(images, value_range=value_range)

    def explain(
        self,
        image: ImageSource,
        finding: str | Finding | None = None,
        *,
        method: str | None = None,
        level: float = 0.5,
        seed: int = 0,
        value_range: ValueRange | None = None,
    ) -> Explanation:
        """Map how much each location of an image contributes to a finding.

        Args:
            image: See `predict`.
            finding: One of the model's findings; None means the most probable one.
            method: One of `thorax.explain.METHODS`; None means "cam" if the network has an exact one,
                otherwise "grad-cam".
            level: Fraction of the map's maximum at which the box around it is drawn.
            seed: Seed of random methods.
            value_range: See `predict`.

        Raises:
            ImageError: See `predict`.
            DataError: The model does not predict the finding.
            RecipeError: There is no such method, or the network does not support it.
            MissingExtra: The method requires torch, which is not installed.

        Example:
            explanation = model.explain("chest.png", "Effusion")
        """
        chosen = best_method(self.bundle) if method is None else _method(method)
        source, radiograph = source_name(image), read_guarded(image, value_range=value_range)
        (prediction,) = self._predictor.predict([radiograph], [source])
        predicted = prediction.ranked()[0] if finding is None else prediction[finding]
        if chosen not in self._explainers:
            self._explainers[chosen] = open_explainer(self.bundle, methods=(chosen,), device=self._device)
        (explained,) = explain_radiograph(
            self._explainers[chosen],
            radiograph,
            (predicted.finding,),
            methods=(chosen,),
            level=level,
            seed=seed,
        )
        return Explanation(
            source=source,
            radiograph=radiograph,
            model=prediction.model,
            predicted=predicted,
            map=explained,
            notes=(
                *prediction.warnings,
                *reading_notes(self.bundle, [chosen]),
                *silent_notes([explained], has_weights=self.bundle.manifest.has_weights),
            ),
        )

    def card(self) -> Markdown:
        """Return its model card in Markdown: intended use, training data and limits.

        Example:
            print(model.card())
        """
        return Markdown(render_card(self.bundle))

    def __fspath__(self) -> str:
        """Return the bundle's folder, so that a model is accepted wherever a bundle's path is."""
        return str(self.bundle.folder)

    def __repr__(self) -> str:
        calibrated = "calibrated" if self.calibrated else "not calibrated"
        stated = f"; {self.statement}" if self.statement else ""
        findings = f"{len(self.findings)} findings"
        return f"Model({shortened(self.name)!r}: {findings}, {calibrated}, {self.engine}{stated})"

    def _repr_html_(self) -> str:
        manifest = self.bundle.manifest
        points = manifest.operating_points
        return page(
            f"Model {self.name}",
            facts(
                [
                    ("Findings", ", ".join(finding.label for finding in self.findings)),
                    ("Probabilities", "calibrated" if self.calibrated else "not calibrated"),
                    ("Thresholds", points.rule if points else "none"),
                    ("Computed by", self.engine),
                    ("Images", f"{manifest.preparation.size} pixels a side, {manifest.preparation.fit}"),
                    ("Bundle", str(self.bundle.folder)),
                ]
            ),
            notes(manifest.stated_in_full),
        )


def load(
    bundle: str | os.PathLike[str] | Bundle | None = None,
    *,
    site: str = "",
    device: str = "auto",
    engine: EngineName = "auto",
    require_signature: str | os.PathLike[str] | None = None,
) -> Model:
    """Open a bundle as a model that predicts and explains.

    Args:
        bundle: Its folder, the folder of the run that made it, or an open bundle; None or "starter": the
            starter, a small model in the package for trying Thorax.
        site: Name of a site that the bundle has a calibration for, from `thorax.site`; "" means its own.
        device: "auto", "cpu", "cuda" or "cuda:N".
        engine: What computes the logits; "auto" means the fastest exact engine.
        require_signature: PEM file of a public key that the bundle must be signed with, by `thorax sign`.

    Raises:
        BundleError: There is no bundle, it is damaged, it is not signed with the key, or it does not have the
            engine or the site.
        MissingExtra: The package that runs the engine is not installed.
        RecipeError: There is no such device.

    Example:
        model = thorax.load()
        model = thorax.load("run")
        model = thorax.load(run, engine="torch")
    """
    if isinstance(bundle, Bundle) and require_signature is None:
        opened = at_site(bundle, site)
    else:
        loaded = load_bundle(bundle or starter.folder(), require_signature=require_signature)
        opened = at_site(loaded, site)
    predictor = open_predictor(opened, device=device, engine=engine)
    return Model(
        predictor.bundle,
        predictor,
        engine=describe_engine(opened, device=device, engine=engine),
        device=device,
    )


def _method(name: str) -> Method:
    for method in METHODS:
        if method == name:
            return method
    raise RecipeError(f"there is no method {name!r}; choose from {', '.join(METHODS)}")


def _picture(pixels: UInt8[np.ndarray, "h w 3"]) -> Html:
    """Return a picture embedded in HTML, scaled down to the size that a notebook shows."""
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "PNG")
    encoded = b64encode(content.getvalue()).decode("ascii")
    return Html(f'<img alt="the radiograph with the map over it" src="data:image/png;base64,{encoded}"/>')
