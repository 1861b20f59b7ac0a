"""Signatures of bundles: who vouches for one, which checksums in the same folder cannot say.

A signature is ed25519 over the bytes of `bundle.json`, which has the SHA-256 of every other file. It is a
file of 64 bytes beside it, and the keys are PEM files, so that OpenSSL can make and check them too:

    openssl pkeyutl -verify -pubin -inkey site.key.pub -rawin -in bundle.json -sigfile bundle.json.sig
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from thorax.atomic_io import StrPath, read_regular, write_bytes
from thorax.bundle.files import MANIFEST, SIGNATURE
from thorax.errors import BundleError, DataError
from thorax.packages import missing_extras_named

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = [
    "NewKey",
    "check_signature",
    "is_signed",
    "new_key",
    "refuse_unsigned",
    "required_keys",
    "sign_manifest",
    "signatures_required",
]

_required: Final[list[StrPath]] = []
"""Keys that every bundle opened in this process must be signed with; see `signatures_required`."""

_LARGEST_KEY: Final = 16_384
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class NewKey:
    """A pair of keys that was just made.

    Attributes:
        private: The file of the private key, which signs; only its owner can read it.
        public: The file of the public key, which checks.
    """

    private: Path
    public: Path


def new_key(path: StrPath) -> NewKey:
    """Make a key to sign bundles with: the private key in a file, and the public one beside it, `.pub`.

    Raises:
        DataError: One of the two files exists, or cannot be written.
        MissingExtra: The package cryptography is not installed.
    """
    private, public = Path(path), Path(f"{os.fspath(path)}.pub")
    serialization, ed25519 = _cryptography()
    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    open_ = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for file in (private, public):
        if file.exists():
            raise DataError(f"{file} exists, and a key is never replaced; give another name")
    for file, content, mode in ((private, secret, 0o600), (public, open_, 0o644)):
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())
        except OSError as error:
            raise DataError(f"{file} cannot be written ({error.strerror}); give another place") from error
    return NewKey(private, public)


def sign_manifest(folder: Path, content: bytes, key: StrPath) -> Path:
    """Write the signature of a manifest beside it, in place of an earlier one.

    Args:
        folder: Folder of the bundle.
        content: The bytes of its manifest.
        key: PEM file of an ed25519 private key.

    Raises:
        DataError: The file is not such a key.
        MissingExtra: The package cryptography is not installed.
    """
    write_bytes(folder / SIGNATURE, _private_key(Path(key)).sign(content))
    return folder / SIGNATURE


@contextmanager
def signatures_required(key: StrPath) -> Iterator[None]:
    """Let no bundle be opened in this process, in any thread, that is not signed with this public key.

    Raises:
        DataError: It is not a public key, even if no bundle is opened.
    """
    _public_key(Path(key))
    _required.append(key)
    try:
        yield
    finally:
        _required.remove(key)


def required_keys() -> tuple[StrPath, ...]:
    """Return the keys that every bundle must be signed with now, for processes that are started."""
    return tuple(_required)


def refuse_unsigned(folder: Path, content: bytes, *, key: StrPath | None = None) -> None:
    """Refuse a bundle that is not signed with the keys that are required; see `check_signature`.

    Args:
        folder: Folder of the bundle.
        content: The bytes of its manifest.
        key: A public key besides those of `signatures_required`.
    """
    for each in (*_required, *([key] if key is not None else [])):
        check_signature(folder, content, each)


def is_signed(folder: Path) -> bool:
    """Return whether a bundle has a signature, be it right or wrong."""
    return (folder / SIGNATURE).is_file()


def check_signature(folder: Path, content: bytes, key: StrPath) -> None:
    """Refuse a bundle that was not signed with a key.

    Args:
        folder: Folder of the bundle.
        content: The bytes of its manifest, which has the SHA-256 of the other files.
        key: PEM file of the ed25519 public key.

    Raises:
        BundleError: There is no signature, or it is not of this key over this manifest.
        DataError: The file is not such a key.
        MissingExtra: The package cryptography is not installed.
    """
    public = _public_key(Path(key))
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  (an extra)

    try:
        signature = read_regular(folder / SIGNATURE, at_most=_SIGNATURE_BYTES)
    except OSError as error:
        reason = "it has none" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise BundleError(
            f"{folder} must have a signature of the key {key} ({reason}); do not use it, or let the owner of "
            "the key sign it with `thorax sign`"
        ) from error
    try:
        public.verify(signature, content)
    except InvalidSignature as error:
        raise BundleError(
            f"{folder / SIGNATURE} is not a signature of {folder / MANIFEST} by the key {key}: the bundle "
            "was changed after it was signed, or signed with another key; do not use it"
        ) from error


def _private_key(path: Path) -> "Ed25519PrivateKey":
    serialization, ed25519 = _cryptography()
    content = _pem(path)
    try:
        key: Any = serialization.load_pem_private_key(content, password=None)
    except TypeError as error:
        raise DataError(
            f"{path} is a key with a password, which is not asked for here; write one without it with "
            f"openssl pkey -in {path} -out OTHER, in a place that only you can read"
        ) from error
    except ValueError as error:
        what = "a public key" if b"PUBLIC KEY" in content else "not a private key in PEM"
        raise DataError(f"{path} is {what}; give the private key, as `new_key` writes it") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _other_kind(path)
    return cast("Ed25519PrivateKey", key)


def _public_key(path: Path) -> "Ed25519PublicKey":
    serialization, ed25519 = _cryptography()
    content = _pem(path)
    try:
        key: Any = serialization.load_pem_public_key(content)
    except ValueError as error:
        private = b"PRIVATE KEY" in content
        what = "a private key, which should stay where it signs" if private else "not a public key in PEM"
        raise DataError(f"{path} is {what}; give the public key, such as {path}.pub") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise _other_kind(path)
    return cast("Ed25519PublicKey", key)


def _pem(path: Path) -> bytes:
    try:
        return read_regular(path, at_most=_LARGEST_KEY)
    except OSError as error:
        raise DataError(f"the key {path} cannot be read ({error.strerror}); give a PEM file") from error


def _other_kind(path: Path) -> DataError:
    return DataError(
        f"{path} is a key of another kind than ed25519; make one with `thorax sign --new-key FILE`, or with "
        "openssl genpkey -algorithm ed25519"
    )


def _cryptography() -> tuple[Any, Any]:
    with missing_extras_named("a signature"):
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  (an extra)
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415  (an extra)
    return serialization, ed25519
