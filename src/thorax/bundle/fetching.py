"""Bundles at s3://, copied to this disk before they are opened."""

import hashlib
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from thorax.atomic_io import sha256_of_file, write_bytes
from thorax.bundle.files import LARGEST_MANIFEST, MANIFEST, MOST_BYTES, SIGNATURE, refuse_path
from thorax.bundle.folder import checksums
from thorax.bundle.manifest import Manifest
from thorax.errors import BundleError
from thorax.objects.cache import entry, make_room
from thorax.objects.client import Listed, content_of, described, list_below
from thorax.objects.files import fetch, transfers
from thorax.objects.place import Place

__all__ = ["fetched_bundle", "holds_bundle"]


def holds_bundle(place: Place) -> bool:
    """Return whether a bundle, or a run with one, is at a place.

    Raises:
        DataError: It cannot be known.
    """
    return any(described(folder / MANIFEST) is not None for folder in (place, place / "bundle"))


@cache
def fetched_bundle(place: Place) -> Path:
    """Return a folder with a copy of a bundle, which is made if it is not there yet.

    The copy belongs to the content of the manifest: where that changes, the bundle is copied again. Each file
    has the checksum that the manifest states; `load_bundle` checks the copy as any other bundle.

    Args:
        place: The bundle, or the run that made it.

    Raises:
        BundleError: There is no bundle.
        DataError: It cannot be read, a file is damaged, or there is no room for it.
    """
    listed = {each.name: each for each in list_below(place)}
    if f"bundle/{MANIFEST}" in listed:
        place = place / "bundle"
        listed = {name[7:]: each for name, each in listed.items() if name.startswith("bundle/")}
    if MANIFEST not in listed:
        what = "no object has this name, or is in a folder of this name" if not listed else f"no {MANIFEST}"
        raise BundleError(f"{place} holds no bundle ({what}); give a bundle, or a run that has finished")
    content = content_of(place / MANIFEST, at_most=LARGEST_MANIFEST)
    folder = entry("bundle", f"{place} {hashlib.sha256(content).hexdigest()}")
    if SIGNATURE in listed:
        write_bytes(folder / SIGNATURE, content_of(place / SIGNATURE, at_most=LARGEST_MANIFEST))
    try:
        sums = checksums(Manifest.model_validate_json(content))
    except ValidationError:  # which opening it says better
        sums = {}
    for name in sums:
        refuse_path(folder, name)
    wanted = {
        name: sums[name] for name in sums if name in listed and not _is_there(folder / name, sums[name])
    }
    _fetch(listed, wanted, folder)
    write_bytes(folder / MANIFEST, content)
    return folder


def _fetch(listed: dict[str, Listed], sums: dict[str, str], folder: Path) -> None:
    too_large = [name for name in sums if listed[name].size > MOST_BYTES]
    if too_large:
        raise BundleError(
            f"{listed[too_large[0]].place} has more bytes than a file of a bundle may have; do not use it"
        )
    make_room(sum(listed[name].size for name in sums), listed[MANIFEST].place)
    with transfers() as pool:
        for name, sha256 in sums.items():
            fetch(listed[name].place, folder / name, pool=pool, size=listed[name].size, sha256=sha256)


def _is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of_file(path) == sha256
