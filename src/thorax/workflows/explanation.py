"""`Explanation`: the map of one finding in a radiograph."""

import io
import os
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from thorax.explain.overlay import overlay
from thorax.explain.picture import Drawing, write_picture
from thorax.explain.radiograph import Explained, picture_heading, side_by_side
from thorax.findings import Finding
from thorax.notebook import Html, facts, notes, page, shortened
from thorax.prediction import FindingPrediction, ModelIdentity
from thorax.radiograph import Radiograph
from thorax.wording import three_digits

__all__ = ["Explanation"]

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
        highest = f"{three_digits(self.map.highest)} {self.map.unit}".rstrip()
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


def _picture(pixels: UInt8[np.ndarray, "h w 3"]) -> Html:
    """Return a picture embedded in HTML, scaled down to the size that a notebook shows."""
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "PNG")
    encoded = b64encode(content.getvalue()).decode("ascii")
    return Html(f'<img alt="the radiograph with the map over it" src="data:image/png;base64,{encoded}"/>')
