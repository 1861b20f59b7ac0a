"""Sign bundles, and verify what is in them and in stores, and who signed them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thorax import starter
from thorax.atomic_io import StrPath, is_remote, read_regular
from thorax.bundle import Bundle, load_bundle
from thorax.bundle.files import LARGEST_MANIFEST, MANIFEST, SIGNATURE, bundle_folder
from thorax.bundle.folder import checksums
from thorax.bundle.input_gate import read_gate
from thorax.bundle.signature import is_signed, sign_manifest
from thorax.bundle.writing import refuse_copy
from thorax.errors import BundleError, DataError
from thorax.objects.place import place_of
from thorax.outputs import check_output
from thorax.progress import ProgressCallback, stage_progress
from thorax.store.manifest import DOUBTS, PLAN
from thorax.store.manifest import MANIFEST as STORE

if TYPE_CHECKING:
    from thorax.store import Store

__all__ = ["Verified", "VerifiedStore", "is_store", "sign", "verify", "verify_store"]


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle whose files are those that its manifest describes.

    Attributes:
        bundle: The bundle.
        num_files: Number of files, with the manifest.
        others: Names of other files in its folder, which no command reads as part of it.
        signature: "absent"; "not checked", because no key was given; or "right".
    """

    bundle: Bundle
    num_files: int
    others: tuple[str, ...]
    signature: str


@dataclass(frozen=True, slots=True)
class VerifiedStore:
    """A store whose files are those that its `store.json` describes.

    Attributes:
        store: The store.
        num_files: Number of files, with `store.json`.
        others: Names of other files in its folder, which no command reads as part of it.
    """

    store: "Store"
    num_files: int
    others: tuple[str, ...]


def sign(bundle: StrPath, key: StrPath, *, overwrite: bool = False) -> Path:
    """Sign a bundle, after verifying its files, and return the file of the signature.

    `export` into the bundle removes the signature, as the bundle is then another one.

    Args:
        bundle: A bundle, or the run that made it.
        key: PEM file of an ed25519 private key.
        overwrite: Whether an earlier signature may be replaced.

    Raises:
        BundleError: There is no bundle, it is damaged, or it is the starter, which is part of the package.
        DataError: The file is not such a key, or the bundle has a signature and `overwrite` is false.
        MissingExtra: The package cryptography is not installed.
    """
    opened = load_bundle(bundle)
    refuse_copy(opened)
    if starter.is_starter(opened.folder):
        raise BundleError(
            f"{opened.folder} is part of the installation, which stays as it is; copy the folder, and sign "
            "the copy"
        )
    check_output(opened.folder / SIGNATURE, overwrite=overwrite)
    content = _manifest(opened)
    signed = sign_manifest(opened.folder, content, key)
    if _manifest(opened) != content:
        signed.unlink()
        raise BundleError(f"{opened.folder} was changed while it was signed; sign it again")
    return signed


def verify(bundle: StrPath, key: StrPath | None = None) -> Verified:
    """Verify that the files of a bundle are those of its manifest, and who signed it if a key is given.

    Args:
        bundle: A bundle, or the run that made it.
        key: PEM file of the ed25519 public key that it must be signed with.

    Raises:
        BundleError: There is no bundle, a file is missing or changed, that of its input gate does not hold
            one, or it is not signed with the key.
        DataError: The file is not such a key.
        MissingExtra: A key is given, and the package cryptography is not installed.
    """
    opened = load_bundle(bundle, require_signature=key)
    if opened.manifest.gate is not None:
        read_gate(opened.folder, opened.manifest.gate)
    names = {MANIFEST, *checksums(opened.manifest)}
    others = {path.name for path in opened.folder.iterdir()} - names - {SIGNATURE}
    signature = "absent"
    if is_signed(opened.folder):
        signature = "not checked" if key is None else "right"
    return Verified(opened, len(names), tuple(sorted(others)), signature)


def is_store(path: StrPath) -> bool:
    """Return whether a path is the folder of a store, finished or not, and holds no bundle."""
    if is_remote(path):
        from thorax.objects.client import described

        return described(place_of(path) / STORE) is not None
    holds_bundle = (bundle_folder(Path(path)) / MANIFEST).is_file()
    return not holds_bundle and any((Path(path) / name).is_file() for name in (STORE, PLAN))


def verify_store(
    path: StrPath, key: StrPath | None = None, *, progress: ProgressCallback | None = None
) -> VerifiedStore:
    """Verify that the files of a store are those of its `store.json`: every pixel, label and count.

    Args:
        path: The store.
        key: None: stores are not signed.
        progress: Receives the number of files read.

    Raises:
        DataError: There is no store, it is unfinished, or a file is missing or changed, which the message
            names; or a key is given.
    """
    if key is not None:
        raise DataError(
            f"{path} is a store, and stores are not signed; leave out `key`, which proves nothing here"
        )
    from thorax.store import open_store

    store = open_store(path)
    store.verify(progress=stage_progress(progress, "reading", unit="files"))
    names = {STORE, *store.checksums()}
    # Beside the copies of a store at s3:// are locks and checksums.
    others = set() if store.address else {file.name for file in store.path.iterdir()} - names - {DOUBTS}
    return VerifiedStore(store, len(names), tuple(sorted(others)))


def _manifest(bundle: Bundle) -> bytes:
    return read_regular(bundle.folder / MANIFEST, at_most=LARGEST_MANIFEST)
