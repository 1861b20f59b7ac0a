"""Checks of the protocol: leaks and repeats between parts, and choices made on the test part."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from thorax.atomic_io import sha256_of_lines
from thorax.auditing.lists import ABSENT, Listed, Lists, Locator
from thorax.auditing.report import Problem, Severity, problem_if_any
from thorax.bundle import Bundle, hashed_patients
from thorax.datasets.splits import NIH_DATASET, nih_official_test_patients
from thorax.evaluation.inputs.metrics_json import tuned_marks
from thorax.image_set import ImageSet
from thorax.quoting import cut, visible

__all__ = [
    "NIH_PUBLISHED_LISTS_SHA256",
    "SEEN_BY",
    "Rejected",
    "check_absent_images",
    "check_boxed_images",
    "check_bundle",
    "check_known_split",
    "check_metrics",
    "check_official_test_patients",
    "check_patients",
    "check_repeated_images",
]

NIH_PUBLISHED_LISTS_SHA256: Final = "1ba267971fd18d6bd9e648ce948830852b85db934eaeed7dfb4e3c90f4574056"
"""SHA-256 of NIH's own two lists: train_val_list.txt as training, test_list.txt as test."""

Rejected = Mapping[str, str]
"""The reason for each file that a store could not use, by file name."""

_LONGEST_KIND: Final = 120


def check_patients(lists: Lists) -> list[Problem]:
    """Find patients in two parts."""
    first_images: dict[str, dict[str, str]] = {}
    for part, listed in lists.parts.items():
        for image, patient in zip(listed.images, listed.patients, strict=True):
            if patient:
                first_images.setdefault(patient, {}).setdefault(part, image)
    crossing = [
        ", ".join(f"{image} in {part}" for part, image in by_part.items())
        for by_part in first_images.values()
        if len(by_part) > 1
    ]
    by_image = "" if _shared_images(lists) else "; no image is, so the split was made by image"
    return problem_if_any(
        "error",
        "patients-in-two-parts",
        crossing,
        what=f"patients in two parts: {len(crossing):,} of {len(first_images):,}{by_image}",
        remedy="split by patient; results on this split say nothing about new patients",
    )


def check_repeated_images(lists: Lists) -> list[Problem]:
    """Find images in two parts, and images that one part lists more than once."""
    shared = _shared_images(lists)
    repeated = {part: _repeats(listed) for part, listed in lists.parts.items()}
    cause = "; images repeat: they were oversampled before the split" if any(repeated.values()) else ""
    problems = problem_if_any(
        "error",
        "images-in-two-parts",
        shared,
        what=f"images in two parts: {len(shared):,}{cause}",
        remedy="split first and by patient, and oversample only the training part, if at all",
    )
    for part, names in repeated.items():
        learning = part == "train"
        problems += problem_if_any(
            "warning" if learning else "error",
            f"repeated-images-in-{part}",
            names,
            what=f"images that {part} lists more than once: {len(names):,}",
            remedy="list each image once and choose a sampling in the recipe"
            if learning
            else "list each image once: a repeated image has more weight than others in every result",
        )
    return problems


def _rejected_by_kind(rejected: Rejected, *, num_listed: int) -> list[Problem]:
    """Count the files that a store could not use by what is wrong with them, without naming any.

    Reports are passed on, and names of files may name patients.
    """
    if not rejected:
        return []
    kinds = Counter(_kind(name, reason) for name, reason in rejected.items())
    listed = f", of which {num_listed:,} are listed" if num_listed else ""
    return [
        Problem(
            severity="warning",
            kind="files-rejected",
            what=f"files that the store could not use: {len(rejected):,}{listed}",
            count=len(rejected),
            examples=tuple(f"{count:,} x {kind}" for kind, count in kinds.most_common(5)),
            remedy="see rejected.csv in the store, replace the files and prepare it anew",
        )
    ]


def _kind(name: str, reason: str) -> str:
    """Return what is wrong with a file, without its name, its numbers and what to do next."""
    what = reason.removeprefix(f"{visible(name)}: ").partition(";")[0]
    return cut(re.sub(r"(?<![\w.])\d[\d,.]*", "N", what), _LONGEST_KIND)


def check_absent_images(lists: Lists, locator: Locator, rejected: Rejected) -> list[Problem]:
    """Find listed images that are not in the store: missing, rejected, or modified copies of its images.

    Names of copies are a sign of augmented images that were saved as files.
    """
    absent = {part: _absent(listed) for part, listed in lists.parts.items()}
    all_absent = frozenset().union(*absent.values())
    copies = locator.originals(all_absent - rejected.keys())
    missing = all_absent - rejected.keys() - copies.keys()
    counts = ", ".join(
        f"{part} {len(names & missing):,}" for part, names in absent.items() if names & missing
    )
    problems = [
        *problem_if_any(
            "warning",
            "images-missing",
            missing,
            what=f"listed images that are not in the store: {len(missing):,} ({counts})",
            remedy="prepare a store that has them; until then every result covers only the available images",
        ),
        *_rejected_by_kind(rejected, num_listed=len(all_absent & rejected.keys())),
    ]
    for part, names in absent.items():
        named = [f"{name} of {copies[name]}" for name in names & copies.keys()]
        problems += problem_if_any(
            "warning" if part == "train" else "error",
            f"copies-in-{part}",
            named,
            what=f"names in {part} of modified copies of the store's images: {len(named):,}",
            remedy="list the images themselves; augment only during training, never for an evaluation",
        )
    return problems


def check_official_test_patients(lists: Lists, dataset: str, *, known: bool) -> list[Problem]:
    """Find patients of NIH's official test in the training and validation parts.

    In a registered split that differs by design, this is only a warning.
    """
    official = nih_official_test_patients() if dataset == NIH_DATASET else frozenset()
    images = {
        image: patient
        for listed in lists.learned_from()
        for image, patient in zip(listed.images, listed.patients, strict=True)
        if patient in official
    }
    return problem_if_any(
        _unless(known),
        "official-test-patients-learnt-from",
        images,
        what=f"images of NIH's official test patients in training or validation: {len(images):,}, of "
        f"{len(set(images.values())):,} of the {len(official):,} patients",
        remedy="never evaluate such a model on the official test, nor compare it with official results",
    )


def check_boxed_images(lists: Lists, boxed: Collection[str], *, known: bool) -> list[Problem]:
    """Find images with boxes in training or validation: all 880 of NIH's are in the official test."""
    inside = {image for listed in lists.learned_from() for image in listed.images} & set(boxed)
    return problem_if_any(
        _unless(known),
        "boxed-images-learnt-from",
        inside,
        what=f"images with boxes in training or validation: {len(inside):,} of {len(boxed):,}",
        remedy="evaluate localization only on boxed images of the test part, or train on nih-official",
    )


def check_known_split(lists: Lists, known: Collection[str]) -> list[Problem]:
    """Check that the split's hash is that of a known split."""
    return problem_if_any(
        "warning",
        "split-unknown",
        () if lists.sha256 in known else (lists.sha256,),
        what=f"no registered split has the SHA-256 of {lists.name}",
        remedy="use a registered split, or publish the list with every result on it",
    )


def _unless(known: bool) -> Severity:  # noqa: FBT001  (reads as "error unless known")
    return "warning" if known else "error"


def _shared_images(lists: Lists) -> set[str]:
    num_parts = Counter(image for listed in lists.parts.values() for image in set(listed.images))
    return {image for image, count in num_parts.items() if count > 1}


def _repeats(listed: Listed) -> set[str]:
    return {image for image, count in Counter(listed.images).items() if count > 1}


def _absent(listed: Listed) -> set[str]:
    return {image for image, row in zip(listed.images, listed.rows, strict=True) if row == ABSENT}


SEEN_BY: Final = {
    "train": "training",
    "val": "selection or calibration",
    "pretrain": "pretraining of the backbone",
}
"""What saw patients and images, in words."""


def check_bundle(bundle: Bundle, lists: Lists, part: str, *, dataset: str) -> list[Problem]:
    """Find choices that a bundle made on the evaluated part, and patients of that part that it saw.

    Args:
        bundle: The bundle; its manifest says what each choice was made on.
        lists: The split.
        part: The part that is evaluated.
        dataset: The data set of the lists.
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
            name = member.weights or "the exported graph"
            yield f"the checkpoint of {name}", member.provenance.selected_on
            yield f"the weights of {name}", member.provenance.trained_on
    if manifest.ensemble and manifest.ensemble.fitted_on:
        yield "the ensemble's weights", manifest.ensemble.fitted_on
    if manifest.calibration:
        yield "the calibration", manifest.calibration.fitted_on
    if manifest.operating_points and manifest.operating_points.chosen_on:
        yield "the thresholds", manifest.operating_points.chosen_on
    if manifest.bands:
        yield "the bands", manifest.bands.chosen_on
    for exported in manifest.engines:
        name = f"{exported.kind} {exported.precision}"
        if exported.operating_points and exported.operating_points.chosen_on:
            yield f"the thresholds of {name}", exported.operating_points.chosen_on
        if exported.bands:
            yield f"the bands of {name}", exported.bands.chosen_on


def _chosen_on_part(bundle: Bundle, lists: Lists, part: str) -> list[Problem]:
    evaluated = _images_sha256(lists, part)
    chosen = sorted(
        {
            f"{what}: {reference.part} part of {reference.split}"
            for what, reference in _references(bundle)
            if reference.part == "test" or reference.images_sha256 == evaluated
        }
    )
    return problem_if_any(
        "error",
        "chosen-on-test",
        chosen,
        what=f"choices of the bundle that were made on a test part: {len(chosen)}",
        remedy="choose on validation (`thorax calibrate`, or train again): results on that part are biased",
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
        problems += problem_if_any(
            "error",
            f"patients-seen-by-{by}",
            inside,
            what=f"patients of {part} that {SEEN_BY.get(by, by)} saw: {len(inside):,} of {len(hashed):,}",
            remedy="evaluate on a part that the bundle did not see",
        )
    return problems


def _other_split(bundle: Bundle, lists: Lists) -> list[Problem]:
    others = {
        f"{training.trained_on.split} ({training.trained_on.sha256[:12]})"
        for training in bundle.trainings
        if training.trained_on.sha256 != lists.sha256
    }
    return problem_if_any(
        "warning",
        "trained-on-another-split",
        others,
        what=f"{lists.name} ({lists.sha256[:12]}) is not the split that the bundle was trained on",
        remedy="audit the split that it was trained on",
    )


def _unknown_origin(bundle: Bundle) -> list[Problem]:
    imported = [member for member in bundle.manifest.members if member.provenance.kind == "imported"]
    points = bundle.manifest.operating_points
    unknown = [f"the patients that {member.weights} was trained on" for member in imported]
    if points and points.rule == "source":
        unknown.append("the images that the thresholds were chosen on")
    return problem_if_any(
        "warning",
        "origin-unknown",
        unknown,
        what=f"components of the bundle with unknown training or selection data: {len(unknown)}",
        remedy="ask its author for the split, and state with every result that it is not known",
    )


def check_metrics(metrics: Mapping[str, Any], lists: Lists) -> list[Problem]:
    """Find marks of test tuning in a `metrics.json`, and a part reported under another name."""
    marks = sorted(tuned_marks(metrics))
    reported = (metrics.get("split") or {}).get("part")
    images = metrics.get("images_sha256")
    actual = [part for part in lists.parts if _images_sha256(lists, part) == images]
    return [
        *problem_if_any(
            "error",
            "tuned-on-test",
            marks,
            what="the results themselves say that thresholds were chosen on the test part",
            remedy="choose operating points on validation and evaluate again",
        ),
        *problem_if_any(
            "error",
            "part-misnamed",
            [] if not reported or reported in actual else actual,
            what=f"the results are reported for the {reported} part, but their images belong to another part",
            remedy="report them under the part that their images belong to",
        ),
    ]


def _images_sha256(lists: Lists, part: str) -> str:
    """Return the hash over the images of a part that are in the store, as `Split.images_sha256` does."""
    listed = lists.parts.get(part)
    names = zip(listed.images, listed.rows, strict=True) if listed else ()
    return sha256_of_lines(sorted({image for image, row in names if row != ABSENT}))
