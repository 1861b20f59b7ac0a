"""What can be wrong with the lists of a split: leaks, repeats, absent images, a test part that was picked."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from thorax.auditing.lists import ABSENT, Listed, Lists, Locator
from thorax.auditing.report import Problem, Severity, found
from thorax.datasets.splits import NIH_DATASET, nih_official_test_patients

__all__ = [
    "NIH_PUBLISHED_LISTS_SHA256",
    "Rejected",
    "check_absent_images",
    "check_boxed_images",
    "check_known_split",
    "check_official_test_patients",
    "check_patients",
    "check_repeated_images",
]

NIH_PUBLISHED_LISTS_SHA256: Final = "1ba267971fd18d6bd9e648ce948830852b85db934eaeed7dfb4e3c90f4574056"
"""SHA-256 of NIH's own two lists, train_val_list.txt as training and test_list.txt as test."""

Rejected = Mapping[str, str]
"""Files of a store that could not be used: the reason by file name."""


def check_patients(lists: Lists) -> list[Problem]:
    """Look for patients in two parts."""
    places: dict[str, dict[str, str]] = {}
    for part, listed in lists.parts.items():
        for image, patient in zip(listed.images, listed.patients, strict=True):
            if patient:
                places.setdefault(patient, {}).setdefault(part, image)
    crossing = [
        ", ".join(f"{image} in {part}" for part, image in where.items())
        for where in places.values()
        if len(where) > 1
    ]
    by_image = "" if _shared_images(lists) else "; no image is: the split was made by image"
    return found(
        "error",
        "patients-in-two-parts",
        crossing,
        what=f"patients in two parts: {len(crossing):,} of {len(places):,}{by_image}",
        remedy="divide by patient; figures on this split say nothing about new patients",
    )


def check_repeated_images(lists: Lists) -> list[Problem]:
    """Look for images in two parts, and for images that one part lists more than once."""
    shared = _shared_images(lists)
    repeated = {part: _repeats(listed) for part, listed in lists.parts.items()}
    cause = "; images are repeated: they were oversampled before the split" if any(repeated.values()) else ""
    problems = found(
        "error",
        "images-in-two-parts",
        shared,
        what=f"images in two parts: {len(shared):,}{cause}",
        remedy="divide first and by patient, and oversample the training part alone, if at all",
    )
    for part, names in repeated.items():
        learning = part == "train"
        problems += found(
            "warning" if learning else "error",
            f"repeated-images-in-{part}",
            names,
            what=f"images that {part} lists more than once: {len(names):,}",
            remedy="list each image once and choose a sampling in the recipe"
            if learning
            else "list each image once: a repeated image counts more than others in every figure",
        )
    return problems


def check_absent_images(lists: Lists, locator: Locator, rejected: Rejected) -> list[Problem]:
    """Look for listed images that the store does not have: missing, rejected, or changed copies of its own.

    A name such as that of a copy is a trace of augmentation that was written to files.
    """
    absent = {part: _absent(listed) for part, listed in lists.parts.items()}
    everyone = frozenset().union(*absent.values())
    copies = locator.originals(everyone - rejected.keys())
    missing = everyone - rejected.keys() - copies.keys()
    unusable = len(everyone & rejected.keys())
    counts = ", ".join(
        f"{part} {len(names & missing):,}" for part, names in absent.items() if names & missing
    )
    problems = [
        *found(
            "warning",
            "images-missing",
            missing,
            what=f"listed images that are not in the store: {len(missing):,} ({counts})",
            remedy="prepare a store that has them; until then every figure is of the images at hand",
        ),
        *found(
            "warning",
            "files-rejected",
            [f"{name}: {reason}" for name, reason in rejected.items()],
            what=f"files that the store could not use: {len(rejected):,}"
            + (f", of which {unusable:,} are listed" if unusable else ""),
            remedy="see rejected.csv of the store, replace the files and prepare it anew",
        ),
    ]
    for part, names in absent.items():
        named = [f"{name} of {copies[name]}" for name in names & copies.keys()]
        problems += found(
            "warning" if part == "train" else "error",
            f"copies-in-{part}",
            named,
            what=f"names in {part} of changed copies of the store's images: {len(named):,}",
            remedy="list the images themselves; augment while training, and never what is measured",
        )
    return problems


def check_official_test_patients(lists: Lists, dataset: str, *, known: bool) -> list[Problem]:
    """Look for patients of NIH's official test in what a model learns from.

    In a registered split that divides otherwise this is by design, and a warning.
    """
    official = nih_official_test_patients() if dataset == NIH_DATASET else frozenset()
    images = {
        image: patient
        for listed in lists.learnt()
        for image, patient in zip(listed.images, listed.patients, strict=True)
        if patient in official
    }
    return found(
        _unless(known),
        "official-test-patients-learnt-from",
        images,
        what=f"images of NIH's official test patients in training or validation: {len(images):,}, of "
        f"{len(set(images.values())):,} of the {len(official):,} patients",
        remedy="never measure such a model on the official test, nor beside official figures",
    )


def check_boxed_images(lists: Lists, boxed: Collection[str], *, known: bool) -> list[Problem]:
    """Look for images with boxes in what a model learns from: all of NIH's 880 are in the official test."""
    inside = {image for listed in lists.learnt() for image in listed.images} & set(boxed)
    return found(
        _unless(known),
        "boxed-images-learnt-from",
        inside,
        what=f"images with boxes in training or validation: {len(inside):,} of {len(boxed):,}",
        remedy="measure localisation on boxed images of the test part alone, or train on nih-official",
    )


def check_known_split(lists: Lists, known: Collection[str]) -> list[Problem]:
    """Look up the hash of a split among those that somebody knows."""
    return found(
        "warning",
        "split-unknown",
        () if lists.sha256 in known else (lists.sha256,),
        what=f"no registered split has the SHA-256 of {lists.name}",
        remedy="use a registered split, or publish the list beside every figure that is measured on it",
    )


def _unless(known: bool) -> Severity:  # noqa: FBT001  (it is read as a word: error unless known)
    return "warning" if known else "error"


def _shared_images(lists: Lists) -> set[str]:
    seen = Counter(image for listed in lists.parts.values() for image in set(listed.images))
    return {image for image, count in seen.items() if count > 1}


def _repeats(listed: Listed) -> set[str]:
    return {image for image, count in Counter(listed.images).items() if count > 1}


def _absent(listed: Listed) -> set[str]:
    return {image for image, row in zip(listed.images, listed.rows, strict=True) if row == ABSENT}
