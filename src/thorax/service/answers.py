"""What the service answers, as JSON: the model, the prediction of an upload, and the map of a finding."""

import io
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from PIL import Image

import thorax
from thorax import starter
from thorax.bundle.manifest import Imported, Member, Trained
from thorax.distributions import GATE_SCORES
from thorax.explain import best_method
from thorax.explain.overlay import drawn
from thorax.imaging import read_radiograph
from thorax.inference.gate import Gate
from thorax.radiograph import Radiograph
from thorax.service.map_values import map_values, scale_of
from thorax.service.meaning import (
    describe_findings,
    describe_hit_rates,
    describe_rates,
    describe_thresholds,
)
from thorax.workflows.model import Model

__all__ = ["describe_gate", "describe_model", "describe_test_images", "explain_upload", "shown_image"]

_LARGEST: Final = 1024
"""Longest side in pixels of the picture of a map."""

_SMALL: Final = 128
"""Longest side in pixels of the picture in the page's list."""

_OPACITY: Final = 0.6


def describe_model(model: Model, name: str) -> dict[str, Any]:
    """Return what the page says of a model that is served under a name: findings, and where it comes from."""
    manifest = model.bundle.manifest
    points = manifest.operating_points
    return {
        "name": name,
        "bundle_sha256": model.bundle.sha256,
        "version": thorax.__version__,
        "engine": model.engine,
        "method": best_method(model.bundle),
        "calibrated": model.calibrated,
        "operating_point": points.rule if points else "",
        "findings": describe_findings(model),
        "rates": describe_rates(model),
        "hit_rates": describe_hit_rates(model),
        "thresholds_from": describe_thresholds(model),
        "statement": model.statement,
        "origin": list(_origin(model)),
        "gate": _gate_measured(model),
    }


def describe_gate(gate: Gate, scores: Mapping[str, float]) -> dict[str, Any] | None:
    """Return the gate's scores of an image beside its limits; None if it has none.

    That is so where nothing was fitted, and where there is nothing to see.

    Args:
        gate: The gate.
        scores: What it computed, by name.
    """
    section = gate.section
    if section is None or not scores:
        return None
    limits = {
        "upright": {"refused_below": section.least_upright},
        "unlike": {"warned_above": section.most_unlike, "refused_above": section.too_unlike},
        "mirrored": {"warned_above": section.most_mirrored},
    }
    return {name: {"score": scores[name], **limits[name]} for name in GATE_SCORES}


def _gate_measured(model: Model) -> str:
    """Return what the limits of the gate were set on, and how they did there; "" without a fitted gate."""
    section = model.bundle.manifest.gate
    if section is None:
        return ""
    return (
        f"The limits were set on the {section.chosen_on}. They hold back {section.held_back} of these "
        f"images, {section.turned_caught} turned and {section.inverted_caught} inverted copies."
    )


def describe_test_images(models: Sequence[Model]) -> list[dict[str, str]]:
    """Return what the page says of each image that it offers to try: file name, title and a note."""
    statements = {model.name: model.bundle.manifest.statement for model in models}
    described = []
    for image in starter.test_images():
        note = f"NIH ChestX-ray14, {image.nih_image}."
        pixels = read_radiograph(image.path).pixels_sha256()
        for name, statement in statements.items():
            if statement and pixels in statement.images_seen:
                note += f" The {name} was trained on this image: an example, not a measurement."
        described.append({"name": image.path.name, "title": image.title, "note": note})
    return described


def shown_image(radiograph: Radiograph) -> dict[str, Any]:
    """Return what the page's list shows of a radiograph: size, view, format, and a small PNG in base64."""
    return {
        **_size(radiograph),
        "view": str(radiograph.view),
        "format": radiograph.origin.format,
        "sha256": radiograph.pixels_sha256(),
        "picture": _png(Image.fromarray(drawn(radiograph.pixels, largest=_SMALL)).convert("L")),
    }


def explain_upload(model: Model, radiograph: Radiograph, finding: str, *, picture: bool) -> dict[str, Any]:
    """Return the map of a finding in an image: where it is highest, and its values for the page to draw.

    Args:
        model: The model.
        radiograph: The radiograph.
        finding: One of the model's findings.
        picture: Whether to add a PNG of the image with the map in base64. A map without a value above 0 is
            drawn relative to its own mean.

    Raises:
        DataError: The model does not predict the finding.
        MissingExtra: The map needs torch, which is not installed.
    """
    explanation = model.explain(radiograph, finding)
    explained = explanation.map
    answer = {
        "finding": explained.finding.name,
        "method": explained.method,
        "highest": explained.highest,
        "place": None if explained.place is None else list(explained.place),
        "box": None if explained.box is None else list(explained.box),
        "notes": list(explanation.notes),
        **_size(radiograph),
        "map": map_values(explained),
    }
    if picture:
        colors = drawn(
            radiograph.pixels,
            explained.attribution,
            opacity=_OPACITY,
            largest=_LARGEST,
            scale=scale_of(explained),
        )
        answer["picture"] = _png(Image.fromarray(colors))
    return answer


def _size(radiograph: Radiograph) -> dict[str, int]:
    rows, columns = radiograph.pixels.shape
    return {"rows": rows, "columns": columns}


def _png(image: Image.Image) -> str:
    """Return a PNG in base64."""
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=3)
    return b64encode(content.getvalue()).decode("ascii")


def _origin_of(member: Member) -> str:
    """Return where one network comes from, as the end of a sentence."""
    match member.provenance:
        case Trained() as origin:
            return f"trained by the recipe {origin.recipe} on {origin.dataset}, {origin.trained_on}."
        case Imported() as origin:
            return f"imported from {origin.source}; the patients that it was trained on are not known."


def _origin(model: Model) -> Iterator[str]:
    """Yield sentences on where the model comes from, how good it is, and what its numbers mean."""
    manifest = model.bundle.manifest
    yield from manifest.stated_in_full
    for origin, networks in Counter(map(_origin_of, manifest.members)).items():
        yield f"{networks} networks, each {origin}" if networks > 1 else f"{origin[0].upper()}{origin[1:]}"
    if manifest.calibration is None:
        yield "Its probabilities are not calibrated: 20 % need not mean that a fifth of such images have it."
    else:
        yield f"Its probabilities are calibrated on the {manifest.calibration.fitted_on}."
    points = manifest.operating_points
    if points is None:
        yield "It has no thresholds, so it calls nothing positive or negative."
    elif points.chosen_on is None:
        yield f"Its thresholds follow the rule {points.rule} and were not chosen on any image."
    else:
        yield f"Its thresholds were chosen by the rule {points.rule} on the {points.chosen_on}."
    if manifest.statement is None:
        yield "The bundle does not say how well it works; thorax evaluate measures that."
