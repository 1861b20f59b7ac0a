"""Write a model as a folder of static files: the served page, with predictions from the browser."""

import gzip
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from thorax.atomic_io import StrPath, refuse_existing
from thorax.errors import DataError
from thorax.outputs import refuse_full, refuse_unwritable
from thorax.service.page_files import page_files
from thorax.web.description import computing, exact_graphs, facts
from thorax.web.header_rules import header_rules
from thorax.web.packages import DECODERS, RUNTIME, unpack
from thorax.workflows.model import Model, load

__all__ = ["Site", "byte_planes", "site_files", "write_files", "write_site"]

_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; form-action 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types thorax"
)
"""Content-Security-Policy: the page's scripts can reach nothing but the site itself, so no image leaves."""

_CHARSET: Final = '<meta charset="utf-8" />'
_FACTS: Final = "model/facts.json"
_MODEL: Final = "model/model.json"
_RULES: Final = "model/rules.json"
_OFFLINE: Final = "offline.js"
_OF_SERVICE: Final = {"token.js"}
"""Modules of the page that only the service needs."""

_FILES: Final = '["the files of the site"]'
"""In `offline.js`, the place of the list of files."""


@dataclass(frozen=True, slots=True)
class Site:
    """A site that was written.

    Attributes:
        folder: Its folder.
        num_files: Number of its files.
        num_bytes: Their size.
        num_sent: Their size as a host sends them to browsers, each compressed with gzip.
    """

    folder: Path
    num_files: int
    num_bytes: int
    num_sent: int

    def __fspath__(self) -> str:
        """Return its folder."""
        return str(self.folder)

    def __str__(self) -> str:
        """Return how large it is."""
        return (
            f"{self.num_files} files, {self.num_bytes / 1e6:.1f} MB on disk, {self.num_sent / 1e6:.1f} MB "
            "sent to a browser that takes gzip"
        )


def write_site(
    bundle: StrPath | None,
    out: StrPath,
    *,
    runtime: StrPath | None = None,
    decoders: StrPath | None = None,
    overwrite: bool = False,
) -> Site:
    """Write a folder of static files in which a browser predicts and explains radiographs with a bundle.

    Any host of static files serves it; images stay in the browser.

    Args:
        bundle: A bundle with exact ONNX graphs, or the run that made it; None: the starter.
        out: Folder of the site.
        runtime: Archive of onnxruntime-web, as `npm pack` writes it.
        decoders: Folder with the archives of the decoders for JPEG 2000, JPEG-LS and lossless JPEG, as
            `npm pack` writes them; None: such DICOM images are refused by name.
        overwrite: Replace an existing site in `out`.

    Raises:
        BundleError: There is no bundle, it is damaged, or it has no ONNX graph.
        DataError: An archive is missing or not the expected one, or `out` holds something else.

    Example:
        site = thorax.web.write_site("run", "site", runtime="onnxruntime-web-1.30.0.tgz")
    """
    folder = Path(out)
    refuse_existing(folder, overwrite=overwrite, folder=True)
    _refuse_other_folder(folder)
    refuse_unwritable(folder)
    if runtime is None:
        raise DataError(
            f"a page without a service runs networks with {RUNTIME.name}, which is not part of Thorax; fetch "
            f"it with {RUNTIME.command}, and set `runtime={RUNTIME.archive}`"
        )
    model = load(bundle, device="cpu", engine="onnx")
    programs = unpack(Path(runtime), RUNTIME)
    for package in DECODERS.values() if decoders else ():
        programs |= unpack(Path(decoders or "") / package.archive, package)
    contents = site_files(model, programs)
    refuse_full(folder, needed=sum(map(len, contents.values())))
    write_files(folder, contents)
    sizes = [(len(content), len(gzip.compress(content, 9))) for content in contents.values()]
    return Site(folder, len(sizes), *(sum(column) for column in zip(*sizes, strict=True)))


def site_files(model: Model, programs: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a site by name, without anything that would change from one export to the next.

    Args:
        model: The model, opened on its ONNX graphs.
        programs: Programs of others by name, as `unpack` returns them.
    """
    own = dict(_files_below(files(__package__).joinpath("page")))
    served = {name: content for name, (_, content) in page_files().items() if name not in _OF_SERVICE}
    contents = {**served, **own, **programs, **_model_files(model)}
    scripts = {kind: next(iter(package.files.values())) for kind, package in DECODERS.items()}
    there = {kind: script for kind, script in scripts.items() if script in programs}
    contents[_RULES] = _json(header_rules(there))
    contents["index.html"] = _with_head(contents["index.html"], contents)
    contents[_OFFLINE] = _with_list(contents[_OFFLINE], contents)
    return dict(sorted(contents.items()))


def _files_below(folder: Traversable, prefix: str = "") -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _files_below(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def _model_files(model: Model) -> dict[str, bytes]:
    bundle, gate = model.bundle, model.bundle.manifest.gate
    bundle.check(file.name for net in exact_graphs(bundle).nets for file in net.files)
    graphs = bundle.exported_files(exact_graphs(bundle))
    contents = {
        f"model/{number}.planes": byte_planes(graph.read_bytes())
        for number, graph in enumerate(graphs, start=1)
    }
    if gate is not None:
        bundle.check([gate.name])
        contents["model/gate.safetensors"] = (bundle.folder / gate.name).read_bytes()
    return contents | {
        _MODEL: _json(computing(model)),
        _FACTS: _json(facts(model)),
        "model/card.md": str(model.card()).encode(),
    }


def byte_planes(content: bytes) -> bytes:
    """Return every fourth byte from the first on, then from the second, third and fourth, then what is left.

    Weights are numbers of four bytes. With their exponents side by side, gzip makes a graph smaller by a
    twelfth more.
    """
    whole = len(content) // 4 * 4
    return b"".join([*(content[first:whole:4] for first in range(4)), content[whole:]])


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _with_head(page: bytes, contents: Mapping[str, bytes]) -> bytes:
    """Add the policy to the page, since hosts of static files do not send it as a header, and what it needs.

    A browser would find the modules, the runtime and the graphs one after the other; it fetches what is named
    here at once.
    """
    text = page.decode()
    assert text.count(_CHARSET) == 1
    lines = [
        _CHARSET,
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}" />',
        *_preloads(contents),
    ]
    return text.replace(_CHARSET, "\n    ".join(lines)).encode()


def _modules(contents: Mapping[str, bytes]) -> list[str]:
    """Return the page's module, those that it imports, and that of the runtime if there is one."""
    found = ["main.js"]
    for name in found:
        for target in re.findall(r'^import .* from "\./(.+)";$', contents[name].decode(), re.MULTILINE):
            path = (PurePosixPath(name).parent / target).as_posix()
            found += [path] if path not in found else []
    return found + [name for name in contents if name.startswith("runtime/") and name.endswith(".mjs")]


def _preloads(contents: Mapping[str, bytes]) -> list[str]:
    """Return links to what the first prediction takes: first what has to be compiled, and last the graphs."""

    def named(end: str, attributes: str = "") -> list[str]:
        names = [name for name in contents if name.startswith(("model/", "runtime/")) and name.endswith(end)]
        return [
            f'<link rel="preload" as="fetch" href="{name}" crossorigin{attributes} />'
            for name in names
            if name != _RULES
        ]

    modules = [f'<link rel="modulepreload" href="{name}" />' for name in _modules(contents)]
    graphs = named(".planes", ' fetchpriority="low"')
    return [*named(".wasm"), *modules, *named(".json"), *named(".safetensors"), *graphs]


def _with_list(script: bytes, contents: Mapping[str, bytes]) -> bytes:
    """Put the files that the site needs offline, with their hashes, into the script that keeps them."""
    listed = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in sorted(contents.items())
        if name != _OFFLINE
    }
    text = script.decode()
    assert text.count(_FILES) == 1
    return text.replace(_FILES, json.dumps(listed)).encode()


def _refuse_other_folder(folder: Path) -> None:
    """Refuse a folder with something else than a site, which would be lost.

    Raises:
        DataError: It has files, and is not a site.
    """
    is_site = all((folder / name).is_file() for name in (_MODEL, _OFFLINE))
    if folder.is_dir() and any(folder.iterdir()) and not is_site:
        raise DataError(f"{folder} holds something else than a site; choose another folder")


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files beside the folder, and then exchange both, so that a site is always whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{kind}.partial") for kind in ("new", "old"))
    try:
        for name, content in contents.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        replaces = folder.exists()
        if replaces:
            folder.replace(old)
        try:
            new.replace(folder)
        except OSError:
            if replaces:
                old.replace(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
