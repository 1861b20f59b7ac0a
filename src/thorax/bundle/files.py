"""File checks of a bundle: where its manifest is, and whether a file matches its checksum.

Separate from the manifest's types, so that a file can be opened while those are being imported.
"""

from pathlib import Path

from thorax.atomic_io import StrPath, sha256_of_file
from thorax.errors import BundleError

__all__ = ["MANIFEST", "bundle_folder", "check_file"]

MANIFEST = "bundle.json"
"""Name of the manifest in a bundle's folder."""


def bundle_folder(path: StrPath) -> Path:
    """Return the folder of a bundle, given that folder or the run that made the bundle."""
    given = Path(path)
    return given / "bundle" if (given / "bundle" / MANIFEST).is_file() else given


def check_file(folder: Path, name: str, expected: str) -> None:
    """Refuse a file that is missing or changed.

    Args:
        folder: Folder of the bundle.
        name: File name as in the manifest.
        expected: SHA-256 as in the manifest.

    Raises:
        BundleError: The file is outside the folder, cannot be read, or has a different checksum.
    """
    if Path(name).name != name:
        raise BundleError(
            f"{folder / MANIFEST} names the file {name!r} outside its folder; do not use this bundle"
        )
    try:
        actual = sha256_of_file(folder / name)
    except OSError as error:
        raise BundleError(
            f"{folder / name} is missing from the bundle; copy the whole folder again"
        ) from error
    if actual != expected:
        raise BundleError(
            f"{folder / name} is not the file that the manifest describes (SHA-256 {actual[:12]}..., "
            f"expected {expected[:12]}...); copy the whole bundle again"
        )
