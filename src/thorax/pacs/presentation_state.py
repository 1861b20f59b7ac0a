"""Contours of maps, with texts, as a presentation state that viewers draw over the radiograph itself."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from highdicom import (
    VOILUT,
    ModalityLUTTransformation,
    PresentationLUTTransformation,
)
from highdicom.color import CIELabColor
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from jaxtyping import Float64, UInt16
from pydicom.dataset import Dataset

from thorax.explain.contours import contour_lines
from thorax.explain.overlay import own_scale, resized
from thorax.explain.radiograph import Explained
from thorax.imaging.dicom.windowing import GrayRule, LookupTable, Rescale, convert
from thorax.imaging.stored import Window
from thorax.pacs.facts import PURPOSE
from thorax.pacs.finishing import Issue, finish
from thorax.prediction import FindingPrediction, Prediction

__all__ = ["CONTOUR", "presentation_state"]

CONTOUR: Final = 0.5
"""Fraction of a map's maximum at which its contour is drawn."""

_FINEST: Final = 512
"""Longest side of the grid on which contours are found: finer than the map that they are of."""

_CYAN: Final = (88.0, -50.0, -20.0)
_LONGEST_TEXT: Final = 1024
_WHITE: Final = 65535
_UINT16_PER_UINT8: Final = 257

Points = Float64[np.ndarray, "n 2"]
Entries = UInt16[np.ndarray, " entry"]


def presentation_state(issue: Issue, prediction: Prediction, maps: Sequence[Explained]) -> Dataset | None:
    """Return a Grayscale Softcopy Presentation State: the radiograph as it was read, contours and texts.

    Args:
        issue: The image and the model.
        prediction: The prediction.
        maps: Maps of some findings at the image's resolution or reduced, at least one.

    Returns:
        None for an image in color, to which a grayscale state cannot apply.
    """
    rule, source = issue.source.gray, issue.source
    if rule is None:
        return None
    reference = issue.reference()
    reference.Rows, reference.Columns, reference.SamplesPerPixel = source.rows, source.columns, 1
    layer = GraphicLayer("THORAX", 1, "Maps of findings", CIELabColor(*_CYAN))
    state = GrayscaleSoftcopyPresentationState(
        [reference],
        content_label="THORAX",
        content_description=f"Contours of maps. {PURPOSE}",
        content_creator_name="Thorax^",
        graphic_layers=[layer],
        graphic_annotations=[_annotation(reference, layer, prediction, maps)],
        modality_lut_transformation=_modality(rule),
        voi_lut_transformations=_voi(rule),
        presentation_lut_transformation=PresentationLUTTransformation(
            "INVERSE" if rule.inverted else "IDENTITY"
        ),
        **issue.identification("presentation state"),
    )
    state.BodyPartExamined = "CHEST"
    state.PresentationCreationDate = issue.created.strftime("%Y%m%d")
    state.PresentationCreationTime = issue.created.strftime("%H%M%S")
    return finish(state, issue)


def _annotation(
    reference: Dataset, layer: GraphicLayer, prediction: Prediction, maps: Sequence[Explained]
) -> GraphicAnnotation:
    graphics: list[GraphicObject] = []
    texts = [_summary(prediction, maps)]
    for mapped in maps:
        lines = list(_contours(mapped, rows=reference.Rows, columns=reference.Columns))
        graphics += [
            GraphicObject(GraphicTypeValues.POLYLINE, line, AnnotationUnitsValues.PIXEL) for line in lines
        ]
        if lines:
            longest = max(lines, key=len)
            x, y = longest[np.argmin(longest[:, 1])].tolist()
            texts.append(
                TextObject(
                    _label(prediction[mapped.finding]), AnnotationUnitsValues.PIXEL, anchor_point=(x, y)
                )
            )
    return GraphicAnnotation(
        [reference], graphic_layer=layer, graphic_objects=graphics or None, text_objects=texts
    )


def _summary(prediction: Prediction, maps: Sequence[Explained]) -> TextObject:
    """Return what the model says, for the upper left corner of the display."""
    model = prediction.model
    lines = [
        f"Thorax {model.name} {model.bundle_sha256[:8]}",
        *(_label(prediction[mapped.finding]) for mapped in maps),
        PURPOSE,
    ]
    return TextObject(
        "\r\n".join(lines).replace("\\", "/")[:_LONGEST_TEXT],
        AnnotationUnitsValues.DISPLAY,
        bounding_box=(0.02, 0.02, 0.5, 0.04 + 0.03 * len(lines)),
        text_justification="LEFT",
    )


def _label(predicted: FindingPrediction) -> str:
    label, probability, _, decision = predicted.as_texts()
    word = {"yes": "present", "not decided": "not decided"}.get(decision, "")
    return f"{label} {probability} {word}".strip().replace("\\", "/")


def _contours(mapped: Explained, *, rows: int, columns: int) -> Iterator[Points]:
    """Yield the contours of a map in pixels of the image, whose upper left corner is (0, 0)."""
    if mapped.place is None:
        return
    height, width = mapped.attribution.shape
    factor = min(1.0, _FINEST / max(height, width))
    heat = resized(own_scale(mapped.attribution).heat(mapped.attribution), factor)
    # Values are at the centers of cells; repeating the edge lets contours reach the border.
    padded = np.pad(heat, 1, mode="edge")
    scale = np.array([columns / heat.shape[1], rows / heat.shape[0]])
    for line in contour_lines(padded, CONTOUR):
        yield np.clip((line - 0.5) * scale, 0, [columns, rows])


def _modality(rule: GrayRule) -> ModalityLUTTransformation | None:
    match rule.modality:
        case Rescale(slope, intercept) if (slope, intercept) != (1, 0):
            return ModalityLUTTransformation(intercept, slope, "US")
        case _:
            return None


def _voi(rule: GrayRule) -> list[SoftcopyVOILUTTransformation] | None:
    """Return what is shown from black to white; a modality LUT is part of it."""
    if isinstance(rule.modality, LookupTable):
        return [SoftcopyVOILUTTransformation(voi_luts=[_of_stored_values(rule)])]
    match rule.voi:
        case None:
            return None
        case Window(center, width, function):
            return [SoftcopyVOILUTTransformation(center, width, voi_lut_function=function)]
        case LookupTable() as table:
            return [SoftcopyVOILUTTransformation(voi_luts=[VOILUT(table.first, _grays(table))])]


def _grays(table: LookupTable) -> Entries:
    """Return the entries of a table of grays over the whole range of 16 bits, as highdicom describes it."""
    largest = int(table.entries.max())
    # As `windowing` reads it: entries that use fewer bits than the table states have their own white.
    white = 2**table.bits - 1 if largest.bit_length() == table.bits else max(largest, 1)
    return np.asarray(np.round(table.entries * (_WHITE / white)), dtype=np.uint16)


def _of_stored_values(rule: GrayRule) -> VOILUT:
    """Return the gray of each stored value, before the inversion, as a table."""
    patterns = np.arange(2**rule.bits).astype(np.uint16)[None]
    table = convert(replace(rule, inverted=False, padding=None), patterns).table
    grays = table.astype(np.uint16) * (_UINT16_PER_UINT8 if table.dtype == np.uint8 else 1)
    negative = 2 ** (rule.bits - 1) if rule.signed else 0
    return VOILUT(-negative, np.roll(grays, negative))
