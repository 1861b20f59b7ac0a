"""File checks of a bundle: where its manifest is, and whether a file matches its checksum.

Separate from the manifest's types, so that a file can be opened while those are being imported.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from thorax import starter
from thorax.atomic_io import StrPath, is_remote, open_regular, sha256_of_file
from thorax.errors import BundleError, DataError
from thorax.objects.place import place_of
from thorax.run_files import RECIPE

__all__ = [
    "LARGEST_MANIFEST",
    "MANIFEST",
    "MOST_BYTES",
    "SIGNATURE",
    "STARTER",
    "bundle_folder",
    "check_file",
    "is_file_name",
    "model_and_images",
    "refuse_path",
]

MANIFEST = "bundle.json"
"""Name of the manifest in a bundle's folder."""

SIGNATURE = "bundle.json.sig"
"""Name of the signature of the manifest, where there is one."""

STARTER = "starter"
"""Name that the bundle in the package has wherever a bundle's path may be given."""

LARGEST_MANIFEST = 16 * 2**20
"""Bytes of the largest manifest; that of an ensemble of ten nets has about 50,000."""

MOST_BYTES = 4 * 2**30
"""Bytes of the largest file that a bundle may have; as much as `thorax import` reads."""

_LONGEST_NAME = 255

_OF_A_STORE = ("store.json", "plan.json")
"""Files of a store that is finished, or not."""

_OF_A_RUN = (RECIPE, "patients.json")
"""Files of a run or bundle that is not finished."""


def bundle_folder(path: StrPath) -> Path:
    """Return the folder of a bundle, given that folder, the run that made the bundle, or "starter".

    A bundle at s3:// is copied to this disk, unless it was copied before.

    Raises:
        BundleError: The starter is named, and this installation has none; or there is no bundle at s3://.
        DataError: A bundle at s3:// cannot be read.
    """
    if is_remote(path):
        from thorax.bundle.fetching import fetched_bundle  # noqa: PLC0415  (only where it is used)

        return fetched_bundle(place_of(path))
    given = Path(path)
    if _is_file(given / "bundle" / MANIFEST):
        return given / "bundle"
    return starter.folder() if given == Path(STARTER) and not given.exists() else given


def is_file_name(name: str) -> bool:
    """Return whether a text names a file in a folder: not a path, and no characters that do not print."""
    return (
        name not in {"", ".", ".."}
        and not {"/", "\\"} & set(name)
        and name.isprintable()
        and len(os.fsencode(name)) <= _LONGEST_NAME
    )


def refuse_path(folder: Path, name: str) -> None:
    """Refuse the name of a file that is not one in the bundle's folder.

    Raises:
        BundleError: It is a path, or has characters that do not print.
    """
    if not is_file_name(name):
        raise BundleError(
            f"{folder / MANIFEST} names the file {name[:60]!r}, which is outside its folder; do not use this "
            "bundle"
        )


def _is_file(path: Path) -> bool:
    """Return whether there is such a file; unlike `Path.is_file`, never raise, whatever the name."""
    return os.path.isfile(path)  # noqa: PTH113


def model_and_images(paths: Sequence[Path], *, model: StrPath | None = None) -> tuple[Path, list[Path]]:
    """Return the bundle that predicts, and the images.

    Args:
        paths: Images, after a bundle or the run that made it if `model` is None; without one, the starter
            predicts them. At least one path.
        model: The bundle, a run, or "starter".

    Raises:
        DataError: There is a bundle and no image.
        BundleError: The first path does not exist, and it cannot be known whether a bundle was meant.
    """
    if model is not None:
        return Path(model), list(paths)
    first, *others = paths
    if is_remote(first):
        from thorax.bundle.fetching import holds_bundle  # noqa: PLC0415  (only where it is used)

        if not holds_bundle(place_of(first)):
            return starter.folder(), list(paths)
        if not others:
            raise DataError(f"{place_of(first)} is a model, and no image was given; name an image")
        return first, others
    if _is_file(bundle_folder(first) / MANIFEST) or any(_is_file(first / name) for name in _OF_A_RUN):
        if not others:
            raise DataError(f"{first} is a model, and no image was given; name an image")
        return first, others
    if others and any(_is_file(first / name) for name in _OF_A_STORE):
        raise BundleError(
            f"{first} is a store, which has images and labels, and holds no bundle; give a bundle or run and "
            "then images, or images alone for the starter"
        )
    if others and not os.path.exists(first):  # noqa: PTH110  (never raises, whatever the name)
        raise BundleError(
            f"{first} does not exist, so it is neither a bundle nor an image; give a bundle or run and then "
            "images, or images alone for the starter"
        )
    return starter.folder(), list(paths)


def check_file(folder: Path, name: str, expected: str) -> None:
    """Refuse a file that is missing or changed.

    Args:
        folder: Folder of the bundle.
        name: File name as in the manifest.
        expected: SHA-256 as in the manifest.

    Raises:
        BundleError: The file is outside the folder, cannot be read, or has a different checksum.
    """
    refuse_path(folder, name)
    try:
        with open_regular(folder / name) as file:
            size = os.fstat(file.fileno()).st_size
        actual = sha256_of_file(folder / name) if size <= MOST_BYTES else ""
    except FileNotFoundError as error:
        raise BundleError(
            f"{folder / name} is missing from the bundle; copy the whole folder again"
        ) from error
    except OSError as error:
        raise BundleError(
            f"{folder / name} cannot be read ({error.strerror}); copy the whole bundle again"
        ) from error
    if size > MOST_BYTES:
        raise BundleError(
            f"{folder / name} has {size / 2**30:.1f} GiB, and a file of a bundle at most "
            f"{MOST_BYTES // 2**30}; do not use this bundle"
        )
    if actual != expected:
        raise BundleError(
            f"{folder / name} is not the file that the manifest describes (SHA-256 {actual[:12]}..., "
            f"expected {expected[:12]}...); copy the whole bundle again"
        )
