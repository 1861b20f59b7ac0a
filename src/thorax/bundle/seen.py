"""What a bundle saw when it was made, and the refusal to measure it on that."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from jaxtyping import Bool

from thorax.bundle.files import MANIFEST, check_file
from thorax.bundle.folder import Bundle
from thorax.bundle.image_prints import (
    PRINT_BYTES,
    ImagePrints,
    equal_prints,
    merged_prints,
    near_prints,
    tell_apart,
)
from thorax.datasets import id_space, is_unnamed
from thorax.errors import BundleError, LeakError

__all__ = [
    "SeenCopies",
    "hashed_patients",
    "merged_images",
    "refuse_forgotten",
    "refuse_seen_images",
    "refuse_seen_patients",
    "seen_copies",
    "seen_images",
]


def hashed_patients(dataset: str, patients: Iterable[str]) -> dict[str, str]:
    """Return a hash for each distinct patient: 16 hexadecimal digits of SHA-256 over data set and id.

    Data sets without a name count as one; see `id_space`.

    A bundle can thus recognize a patient that it saw without listing ids. Ids are short enough to be
    guessed, so hashing keeps them out of sight but does not make them secret.
    """
    space = id_space(dataset)
    return {
        patient: hashlib.sha256(f"{space}\n{patient}".encode()).hexdigest()[:16] for patient in set(patients)
    }


def refuse_seen_patients(
    bundle: Bundle, dataset: str, patients: Iterable[str], *, by: Iterable[str] | None = None
) -> None:
    """Refuse to evaluate a bundle on patients that it saw when it was made.

    Args:
        bundle: The bundle.
        dataset: The data set of the patients.
        patients: Their ids.
        by: Refuse only patients under these keys of `Bundle.patients`; None: under any.

    Raises:
        LeakError: Some of the patients were seen; the message has the count for each part.
        BundleError: The bundle does not list all patients that it saw; see `refuse_forgotten`.
    """
    refuse_forgotten(bundle)
    hashes = set(hashed_patients(dataset, patients).values())
    seen = {
        part: hashes & bundle.patients.get(part, frozenset())
        for part in (bundle.patients if by is None else by)
    }
    seen_by_any = frozenset().union(*seen.values())
    if seen_by_any:
        counts = " and ".join(f"{len(patients)} in {part}" for part, patients in seen.items() if patients)
        raise LeakError(
            f"{len(seen_by_any)} of these {len(hashes)} patients were seen when this bundle was made "
            f"({counts}), so a result on them would mean nothing; use a part that it did not see"
            + (f", such as the test part of {bundle.split}, with `part=test`" if bundle.split else "")
            + _by_id_alone(bundle, dataset)
        )


def _by_id_alone(bundle: Bundle, dataset: str) -> str:
    """Say that patients may be equal by id alone, if their data set and the bundle's have no name."""
    trained_on = sorted({training.dataset for training in bundle.trainings if is_unnamed(training.dataset)})
    if not trained_on or not is_unnamed(dataset) or dataset in trained_on:
        return ""
    return (
        f". Their ids are those of patients of {', '.join(trained_on)}; if {dataset} is other data, whose "
        "ids are the same by chance, prepare it with a name, `dataset`"
    )


@dataclass(frozen=True, slots=True, eq=False)
class SeenCopies:
    """Which of some images are copies of images that a bundle saw, by what saw them.

    Attributes:
        equal: Whether each image has the pixels of one that was seen.
        near: Whether each image looks like one that was seen, but has other pixels.
        told_apart: Whether near copies can be recognized: not where all images look alike.
    """

    equal: Mapping[str, Bool[np.ndarray, " n"]]
    near: Mapping[str, Bool[np.ndarray, " n"]]
    told_apart: bool


def seen_images(bundle: Bundle) -> Mapping[str, ImagePrints]:
    """Return the fingerprints of the images that a bundle saw, by what saw them; none if it keeps none.

    Raises:
        BundleError: The file is missing, has changed, or is not as long as the manifest says.
    """
    listed = bundle.manifest.seen
    if listed is None:
        return {}
    check_file(bundle.folder, listed.name, listed.sha256)
    content = (bundle.folder / listed.name).read_bytes()
    ends = [0, *accumulate(listed.num_images.values())]
    if len(content) != PRINT_BYTES * ends[-1]:
        raise BundleError(
            f"{bundle.folder / listed.name} has {len(content):,} bytes, and not the {ends[-1]:,} "
            f"fingerprints of {PRINT_BYTES} bytes that the manifest lists; copy the whole bundle again"
        )
    prints = np.frombuffer(content, np.uint8).reshape(-1, PRINT_BYTES)
    return {
        part: prints[start:end] for part, (start, end) in zip(listed.num_images, pairwise(ends), strict=True)
    }


def merged_images(several: Sequence[Mapping[str, ImagePrints]]) -> Mapping[str, ImagePrints]:
    """Return the fingerprints of all images that were seen, by what saw them.

    None are kept if one of the sources has none: what is remembered in part would be taken for the whole.
    """
    if not all(several):
        return {}
    parts = sorted({part for seen in several for part in seen})
    return {part: merged_prints(seen[part] for seen in several if part in seen) for part in parts}


def seen_copies(bundle: Bundle, prints: ImagePrints) -> SeenCopies:
    """Compare the fingerprints of images with those of the images that a bundle saw; see `seen_images`."""
    seen = seen_images(bundle)
    apart = bool(seen) and tell_apart(np.concatenate(list(seen.values())))
    equal = {part: equal_prints(prints, known) for part, known in seen.items()}
    near = {part: near_prints(prints, known) & ~equal[part] for part, known in seen.items() if apart}
    return SeenCopies(equal, near, apart)


def refuse_forgotten(bundle: Bundle) -> None:
    """Refuse a bundle that lists fewer patients or images than its manifest says it was trained on.

    Raises:
        BundleError: It does; or see `seen_images`.
    """
    listed, seen = bundle.manifest.seen, seen_images(bundle)
    for training in bundle.trainings:
        for part, saw in (("train", training.trained_on), ("val", training.selected_on)):
            counts = [("patients.json", len(bundle.patients.get(part, ())), saw.num_patients, "patients")]
            if listed is not None:
                counts.append((listed.name, len(seen.get(part, ())), saw.num_images, "images"))
            for name, count, least, what in counts:
                if count < least:
                    raise BundleError(
                        f"{bundle.folder / name} lists {count:,} {what} of {part}, and {least:,} were used "
                        f"according to {MANIFEST}: one of the two was changed, so what the bundle saw is not "
                        "known; copy the whole bundle again"
                    )


def refuse_seen_images(bundle: Bundle, images: Sequence[str], prints: ImagePrints) -> None:
    """Refuse to evaluate a bundle on images whose pixels it saw when it was made, whatever their names.

    Args:
        bundle: The bundle.
        images: Names of the images.
        prints: Their fingerprints.

    Raises:
        LeakError: Some of the images were seen; the message has the count for each part.
        BundleError: See `seen_images`.
    """
    equal = {part: equal_prints(prints, known) for part, known in seen_images(bundle).items()}
    copies = np.flatnonzero(np.any([np.zeros(len(images), np.bool_), *equal.values()], axis=0))
    if len(copies):
        counts = " and ".join(f"{rows.sum():,} in {part}" for part, rows in equal.items() if rows.any())
        names = ", ".join(images[row] for row in copies[:3]) + (", ..." if len(copies[3:]) else "")
        raise LeakError(
            f"{len(copies):,} of these {len(images):,} images have exactly the pixels of images that were "
            f"seen when this bundle was made ({counts}), under other names or patient ids ({names}), so a "
            "result on them would mean nothing; use images that it did not see"
        )
