"""A head start for one prediction: the exported graphs are opened while the program is still being imported.

Opening a graph keeps one core busy outside Python's lock for about as long as importing what checks the
manifest keeps another. Nothing is trusted for it: a graph is opened only if it has the checksum that the
manifest gives, and used only if the manifest, once checked, asks for that file with that checksum. Whatever
is wrong is left to the ordinary way, which says so.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from thorax.bundle.files import MANIFEST, bundle_folder, check_file
from thorax.hardware import has_cuda_driver, num_threads

__all__ = ["Begun", "begin", "begin_as_asked", "is_one_image"]

Begun = Mapping[tuple[Path, str, int], Future[Any]]
"""Sessions of onnxruntime that are being opened, by file, SHA-256 and threads."""


def begin(path: Path, *, device: str, engine: str, one_image: bool) -> Begun:
    """Begin to open the float32 graphs of a bundle, in a thread; nothing where another engine will compute.

    Args:
        path: The bundle, or the run that made it.
        device: As for `open_predictor`.
        engine: As for `open_predictor`.
        one_image: Whether all threads will compute one image, or each its own; see `OnnxEngine`.
    """
    on_cpu = device == "cpu" or (device == "auto" and (engine == "onnx" or not has_cuda_driver()))
    if engine not in {"auto", "onnx"} or not on_cpu:
        return {}
    try:
        folder = bundle_folder(path)
        manifest = json.loads((folder / MANIFEST).read_bytes())
        graphs = list(_graphs(manifest))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    opener, threads = ThreadPoolExecutor(1), num_threads() if one_image else 1
    checks = {graph: opener.submit(check_file, folder, *graph) for graph in graphs}
    # Imported here, not in the thread, which imports nothing: two threads that import NumPy at once meet one
    # another's half of it, in one of twenty starts.
    from thorax.inference.onnx_session import open_session  # noqa: PLC0415  (only where it is used: 0.1 s)

    def opened(name: str, sha256: str) -> Any:
        checks[name, sha256].result()
        return open_session(folder / name, threads)

    begun = {(folder / name, sha256, threads): opener.submit(opened, name, sha256) for name, sha256 in graphs}
    opener.shutdown(wait=False)
    return begun


def begin_as_asked(arguments: Iterable[str]) -> Begun:
    """Begin with what `thorax predict` was given, before it is parsed: its parser takes 0.2 s to import.

    Args:
        arguments: Of the command. What they mean is for the parser to say; here the first that is neither an
            option nor the value of one is the bundle, and the others are images and folders.
    """
    values = {"--device": "auto", "--engine": "auto"}
    given: list[Path] = []
    remaining = iter(arguments)
    for each in remaining:
        option, equals, value = each.partition("=")
        if option in values:
            values[option] = value if equals else next(remaining, "")
        elif not each.startswith("-"):
            given.append(Path(each))
    if not given:
        return {}
    bundle, *images = given
    return begin(bundle, device=values["--device"], engine=values["--engine"], one_image=is_one_image(images))


def is_one_image(paths: Sequence[Path]) -> bool:
    """Return whether these are one file, which may not be there, and no folder."""
    return len(paths) == 1 and not os.path.isdir(paths[0])  # noqa: PTH112  (of any name: it never raises)


def _graphs(manifest: Any) -> Iterator[tuple[str, str]]:
    """Yield name and SHA-256 of each member's graph, from a manifest that nobody has checked."""
    for engine in manifest["engines"]:
        if (engine["kind"], engine["precision"]) == ("onnx", "float32"):
            for net in engine["nets"]:
                yield str(net["files"][0]["name"]), str(net["files"][0]["sha256"])
