"""What can be wrong with choices: thresholds, calibration or a checkpoint chosen on what is measured."""

from collections.abc import Iterator, Mapping
from typing import Any

from thorax.atomic_io import sha256_of_lines
from thorax.auditing.lists import ABSENT, Lists
from thorax.auditing.report import Problem, found
from thorax.bundle import Bundle, hashed_patients
from thorax.image_set import ImageSet

__all__ = ["check_bundle", "check_metrics"]

_SEEN = {
    "train": "training",
    "val": "selection or calibration",
    "pretrain": "the training of the backbone before",
}
_MARK = "test_tuned"
"""What the keys of metrics.json contain that mark a choice made on the test part."""


def check_bundle(bundle: Bundle, lists: Lists, part: str, *, dataset: str) -> list[Problem]:
    """Look for choices that a bundle made on the part that is measured, and for patients that it saw.

    Args:
        bundle: The bundle; its manifest says what each choice was made on.
        lists: The split.
        part: The part that is measured.
        dataset: The data set that the lists are of.
    """
    return [
        *_chosen_on_part(bundle, lists, part),
        *_seen_patients(bundle, lists, part, dataset=dataset),
        *_other_split(bundle, lists),
        *_unknown_origin(bundle),
    ]


def _references(bundle: Bundle) -> Iterator[tuple[str, ImageSet]]:
    """Yield what was chosen or fitted, and on what."""
    manifest = bundle.manifest
    for member in bundle.manifest.members:
        if member.provenance.kind == "trained":
            yield f"the checkpoint of {member.weights}", member.provenance.selected_on
            yield f"the weights of {member.weights}", member.provenance.trained_on
    if manifest.ensemble and manifest.ensemble.fitted_on:
        yield "the ensemble's weights", manifest.ensemble.fitted_on
    if manifest.calibration:
        yield "the calibration", manifest.calibration.fitted_on
    if manifest.operating_points and manifest.operating_points.chosen_on:
        yield "the thresholds", manifest.operating_points.chosen_on


def _chosen_on_part(bundle: Bundle, lists: Lists, part: str) -> list[Problem]:
    measured = _images_sha256(lists, part)
    chosen = sorted(
        {
            f"{what}: {reference.part} part of {reference.split}"
            for what, reference in _references(bundle)
            if reference.part == "test" or reference.images_sha256 == measured
        }
    )
    return found(
        "error",
        "chosen-on-test",
        chosen,
        what=f"choices of the bundle that were made on a test part: {len(chosen)}",
        remedy="choose on validation (`thorax calibrate`, or train again): figures on that part are too good",
    )


def _seen_patients(bundle: Bundle, lists: Lists, part: str, *, dataset: str) -> list[Problem]:
    if part not in lists.parts:
        return []
    images = dict(zip(lists.parts[part].patients, lists.parts[part].images, strict=True))
    images.pop("", None)
    hashed = hashed_patients(dataset, images)
    problems: list[Problem] = []
    for by, seen in bundle.patients.items():
        inside = [images[patient] for patient, digest in hashed.items() if digest in seen]
        problems += found(
            "error",
            f"patients-seen-by-{by}",
            inside,
            what=f"patients of {part} that {_SEEN.get(by, by)} saw: {len(inside):,} of {len(hashed):,}",
            remedy="measure on a part that the bundle did not see",
        )
    return problems


def _other_split(bundle: Bundle, lists: Lists) -> list[Problem]:
    others = {
        f"{each.trained_on.split} ({each.trained_on.sha256[:12]})"
        for each in bundle.trainings
        if each.trained_on.sha256 != lists.sha256
    }
    return found(
        "warning",
        "trained-on-another-split",
        others,
        what=f"the bundle was not trained on {lists.name} ({lists.sha256[:12]})",
        remedy="audit the split that it was trained on",
    )


def _unknown_origin(bundle: Bundle) -> list[Problem]:
    imported = [each for each in bundle.manifest.members if each.provenance.kind == "imported"]
    points = bundle.manifest.operating_points
    unknown = [f"the patients that {each.weights} was trained on" for each in imported]
    if points and points.rule == "source":
        unknown.append("what the thresholds were chosen on")
    return found(
        "warning",
        "origin-unknown",
        unknown,
        what=f"parts of the bundle of which nobody knows what they were made on: {len(unknown)}",
        remedy="ask its author for the split, and say beside every figure that it is not known",
    )


def check_metrics(metrics: Mapping[str, Any], lists: Lists) -> list[Problem]:
    """Look for marks of test tuning in a `metrics.json`, and for a part reported as another one."""
    marks = sorted(set(_marks(metrics, "")))
    said = (metrics.get("split") or {}).get("part")
    images = metrics.get("images_sha256")
    actual = [part for part in lists.parts if _images_sha256(lists, part) == images]
    return [
        *found(
            "error",
            "tuned-on-test",
            marks,
            what="the figures say of themselves that thresholds were chosen on the test part",
            remedy="choose operating points on validation and evaluate again",
        ),
        *found(
            "error",
            "part-misnamed",
            [] if not said or said in actual else actual,
            what=f"the figures are said to be of the {said} part, and their images are of another one",
            remedy="report them as what they are",
        ),
    ]


def _marks(value: Any, where: str) -> Iterator[str]:
    """Yield where a key that marks test tuning has a value that says yes."""
    match value:
        case dict():
            for key, inner in value.items():
                path = f"{where}.{key}" if where else str(key)
                if _MARK in str(key) and inner:
                    yield path
                else:
                    yield from _marks(inner, path)
        case list():
            for inner in value:
                yield from _marks(inner, where)


def _images_sha256(lists: Lists, part: str) -> str:
    """Return the hash over the images of a part that are at hand, as `Split.images_sha256` does."""
    listed = lists.parts.get(part)
    names = zip(listed.images, listed.rows, strict=True) if listed else ()
    return sha256_of_lines(sorted({image for image, row in names if row != ABSENT}))
