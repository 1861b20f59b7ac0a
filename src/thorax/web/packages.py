"""Programs for browsers that a site needs, in the archives that npm packs, checked by their SHA-512.

Thorax does not contain them, and downloads nothing: whoever exports a site fetches them with npm.
"""

import gzip
import hashlib
import io
import tarfile
import zlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from thorax.atomic_io import read_regular
from thorax.errors import DataError

__all__ = ["DECODERS", "RUNTIME", "NpmPackage", "unpack"]

_LARGEST: Final = 64 * 2**20
_LARGEST_FILE: Final = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class NpmPackage:
    """A package of npm in one version.

    Attributes:
        name: Its name.
        version: Its version.
        integrity: SHA-512 of its archive in base64, as npm prints it.
        files: The files of it that are used: name in the archive, and name in a site.
        license: File of the text of its license in this package.
        exported: Name in its script that a line added at its end exports, which makes it a module; "" for one
            that is a module.
    """

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]
    license: str
    exported: str = ""

    @property
    def archive(self) -> str:
        """The name that npm gives the archive."""
        return f"{self.name.replace('@', '').replace('/', '-')}-{self.version}.tgz"

    @property
    def command(self) -> str:
        """The command that fetches the archive into the working folder."""
        return f"npm pack {self.name}@{self.version}"


RUNTIME: Final = NpmPackage(
    name="onnxruntime-web",
    version="1.30.0",
    integrity="q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    files={
        "package/dist/ort.wasm.bundle.min.mjs": "runtime/ort.wasm.bundle.min.mjs",
        "package/dist/ort-wasm-simd-threaded.wasm": "runtime/ort-wasm-simd-threaded.wasm",
    },
    license="onnxruntime-web.txt",
)
"""Runs the networks."""

DECODERS: Final = {
    "jpeg2000": NpmPackage(
        name="@cornerstonejs/codec-openjpeg",
        version="1.3.6",
        integrity="bSdZXF+2GxfBkWHUr7yGLQtIwbAm9wOl3e4ARee/9Z9lfKyVqhUCixI6+ZjIn9YKTIuDcn/NZNK94XEUg1SBtw==",
        files={
            "package/dist/openjpegwasm_decode.js": "decoders/openjpeg.js",
            "package/dist/openjpegwasm_decode.wasm": "decoders/openjpeg.wasm",
        },
        license="openjpeg.txt",
        exported="OpenJPEGWASM",
    ),
    "jpegls": NpmPackage(
        name="@cornerstonejs/codec-charls",
        version="1.2.7",
        integrity="kNfQ7J8LIrfQUbt56fPJ0SEvevLlAAbsLHjqPS4DUDWVSuAHb5Fn0cMIV/U0SYkJRJqKvzyLJYF1hl7/xQGqLQ==",
        files={
            "package/dist/charlswasm_decode.js": "decoders/charls.js",
            "package/dist/charlswasm_decode.wasm": "decoders/charls.wasm",
        },
        license="charls.txt",
        exported="CharLSWASM",
    ),
    "lossless": NpmPackage(
        name="jpeg-lossless-decoder-js",
        version="2.1.2",
        integrity="fYf/plymnuKwVw+s8gJ8O/BPw8y8OLaN11MBvEcT05kuy3m45o7BEC4J0JbxMNUYyO+MdK/I/jq0q1gkVYZm2Q==",
        files={"package/release/lossless-min.js": "decoders/lossless.js"},
        license="jpeg-lossless-decoder.txt",
    ),
}
"""Decode DICOM images that browsers do not, by the kind of compression."""


def unpack(archive: Path, package: NpmPackage) -> dict[str, bytes]:
    """Return the files of a package that a site needs, with its license, by their names in the site.

    Args:
        archive: What npm packed.
        package: The package that it must be.

    Raises:
        DataError: There is no such file, or its content is not that of the package.
    """
    try:
        content = read_regular(archive, at_most=_LARGEST)
    except OSError as error:
        raise DataError(
            f"{archive} cannot be read ({error.strerror or error}); fetch it with {package.command}"
        ) from error
    found = b64encode(hashlib.sha512(content).digest()).decode()
    if found != package.integrity:
        raise DataError(
            f"{archive} is not {package.name} {package.version}: its SHA-512 is {found[:16]}..., not "
            f"{package.integrity[:16]}...; fetch it again with {package.command}"
        )
    unpacked = _members(content, package, archive)
    folder = next(iter(package.files.values())).rpartition("/")[0]
    text = files(__package__).joinpath("licenses", package.license).read_bytes()
    if package.exported:
        line = f"\nexport default {package.exported};\n".encode()
        unpacked = {name: file + line if name.endswith(".js") else file for name, file in unpacked.items()}
    return {**unpacked, f"{folder}/LICENSE-{package.license}": text}


def _members(content: bytes, package: NpmPackage, archive: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            members = {name: tar.getmember(name) for name in package.files}
            opened = {name: tar.extractfile(member) for name, member in members.items()}
            return {
                package.files[name]: file.read(_LARGEST_FILE)
                for name, file in opened.items()
                if file is not None
            }
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, KeyError) as error:
        raise DataError(
            f"{archive} does not unpack ({type(error).__name__}); fetch it again with {package.command}"
        ) from error
