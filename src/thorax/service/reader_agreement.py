"""How readers agree with each other and with the model, from the assessments that a service keeps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

import numpy as np

from thorax.evaluation.agreement import agreement
from thorax.service.assessments import Kept

__all__ = ["agreement_of"]

_CALLED: Final = {"yes": True, "no": False}

_FEWEST: Final = 5
"""With fewer images, there is no kappa: its interval would hold almost every value."""

_Rated = Mapping[str, bool]
"""By hash of an image: whether the finding is present."""


def agreement_of(assessments: Sequence[Kept]) -> list[dict[str, Any]]:
    """Return one entry per finding, pair of raters, model and state.

    A pair has two readers, or a reader and the model. The state is "before" if the readers had not seen
    what the model says, otherwise "after": there, readers may agree because they saw the same suggestion. Of
    several assessments by one reader in one state, the last one counts; uncertain ones and images on which
    nothing was called are left out. Kappa is null with fewer than 5 images, and where both say the same of
    all images.

    Args:
        assessments: In the order in which they were made.
    """
    entries = []
    for finding in dict.fromkeys(kept.finding for kept in assessments):
        of_finding = [kept for kept in assessments if kept.finding == finding]
        for state in ("before", "after"):
            in_state = [kept for kept in of_finding if kept.ai_shown == state]
            entries += [{"finding": finding, "ai_shown": state, **pair} for pair in _pairs(in_state)]
    return entries


def _pairs(assessments: Sequence[Kept]) -> Iterator[dict[str, Any]]:
    readers = sorted({kept.reader for kept in assessments})
    for first, second in combinations(readers, 2):
        yield from _entry(first, second, "", _said(assessments, first), _said(assessments, second))
    for bundle in dict.fromkeys(kept.bundle_sha256 for kept in assessments):
        of_model = [kept for kept in assessments if kept.bundle_sha256 == bundle]
        called = {kept.image_sha256: _CALLED[kept.decision] for kept in of_model if kept.decision in _CALLED}
        for reader in readers:
            yield from _entry(
                reader, f"the model {of_model[0].model}", bundle, _said(of_model, reader), called
            )


def _said(assessments: Iterable[Kept], reader: str) -> _Rated:
    latest = {kept.image_sha256: kept.present for kept in assessments if kept.reader == reader}
    return {image: bool(present) for image, present in latest.items() if present is not None}


def _entry(first: str, second: str, bundle: str, said: _Rated, other: _Rated) -> Iterator[dict[str, Any]]:
    """Yield the agreement of two raters on the images that both rated, unless there are none."""
    images = sorted(said.keys() & other.keys())
    if not images:
        return
    measured = agreement(
        np.array([said[image] for image in images]), np.array([other[image] for image in images])
    )
    kappa = measured.kappa
    yield {
        "first": first,
        "second": second,
        "bundle_sha256": bundle,
        "images": measured.images,
        "agreed": measured.agreed,
        "kappa": [kappa.value, kappa.low, kappa.high] if kappa.exists and len(images) >= _FEWEST else None,
    }
