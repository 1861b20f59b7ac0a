"""Checks of the images of a part against the fingerprints of those that a bundle saw."""

from collections.abc import Sequence

import numpy as np

from thorax.auditing.protocol_checks import SEEN_BY
from thorax.auditing.report import Problem, problem_if_any
from thorax.bundle import Bundle
from thorax.bundle.image_prints import ImagePrints
from thorax.bundle.seen import seen_copies

__all__ = ["check_seen_images"]


def check_seen_images(
    bundle: Bundle, images: Sequence[str], prints: ImagePrints, *, part: str
) -> list[Problem]:
    """Find images of the evaluated part that a bundle saw under any name.

    Args:
        bundle: The bundle.
        images: The images of the part.
        prints: Their fingerprints.
        part: The part.
    """
    copies = seen_copies(bundle, prints)
    problems: list[Problem] = []
    for by, equal in copies.equal.items():
        problems += problem_if_any(
            "error",
            f"images-seen-by-{by}",
            [images[row] for row in np.flatnonzero(equal).tolist()],
            what=f"images of {part} with exactly the pixels of one that {SEEN_BY.get(by, by)} saw: "
            f"{equal.sum():,} of {len(images):,}",
            remedy="evaluate on images that the bundle did not see, under any name",
        )
    for by, near in copies.near.items():
        problems += problem_if_any(
            "warning",
            f"images-like-those-seen-by-{by}",
            [images[row] for row in np.flatnonzero(near).tolist()],
            what=f"images of {part} that look like one that {SEEN_BY.get(by, by)} saw: {near.sum():,} of "
            f"{len(images):,}",
            remedy="look at these: a changed copy of a training image measures memory",
        )
    forgotten = sorted(bundle.patients.keys() - copies.equal.keys())
    return problems + problem_if_any(
        "note",
        "images-not-remembered",
        forgotten,
        what="the bundle keeps no fingerprints of images that were seen, so copies of them under other names "
        "and patient ids cannot be recognized",
        remedy="train again, or find out by other means where the evaluated images come from",
    )
