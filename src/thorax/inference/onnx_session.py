"""Exported graphs opened by onnxruntime: when they are needed, or ahead of that in a thread.

Opening a graph keeps one core busy outside Python's lock for about as long as importing what checks the
manifest keeps another, so `prefetch` begins early. It trusts nothing: a graph is opened only if it has the
checksum that the manifest gives, and `open_session` takes it only for that file with that checksum. Whatever
goes wrong is left to `open_session`, which says so.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from thorax.bundle.files import MANIFEST, bundle_folder, check_file
from thorax.errors import BundleError
from thorax.hardware import has_cuda_driver, num_threads

__all__ = ["is_prefetched", "open_session", "prefetch"]

_prefetched: Final[dict[tuple[Path, str, int], Future[Any]]] = {}
"""Sessions that are being opened, by file, SHA-256 and threads; each is taken once."""


def prefetch(path: Path, images: Sequence[Path], *, device: str = "auto", engine: str = "auto") -> None:
    """Begin to open the float32 graphs of a bundle in a thread, unless another engine will compute.

    Args:
        path: The bundle, or the run that made it; anything else is passed over.
        images: What will be predicted, files or folders: one file takes a graph for all threads, several take
            a graph for one thread; see `OnnxEngine`.
        device: As for `open_predictor`.
        engine: As for `open_predictor`.
    """
    on_cpu = device == "cpu" or (device == "auto" and (engine == "onnx" or not has_cuda_driver()))
    if engine not in {"auto", "onnx"} or not on_cpu:
        return
    try:
        folder = bundle_folder(path)
        graphs = list(_graphs(json.loads((folder / MANIFEST).read_bytes())))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
    one_image = len(images) == 1 and not os.path.isdir(images[0])  # noqa: PTH112  (of any name: never raises)
    threads = num_threads() if one_image else 1
    keys = {(name, sha256): _key(folder / name, sha256, threads) for name, sha256 in graphs}
    missing = {graph: key for graph, key in keys.items() if key not in _prefetched}
    if not missing:
        return
    opener = ThreadPoolExecutor(1)
    checks = {graph: opener.submit(check_file, folder, *graph) for graph in missing}
    # Imported here, not in the thread, which imports nothing: two threads that import NumPy at once meet one
    # another's half of it, in one of twenty starts.
    import onnxruntime  # noqa: F401, PLC0415  (0.1 s, while checksums are computed)

    def opened(name: str, sha256: str) -> Any:
        checks[name, sha256].result()
        return _open(folder / name, threads)

    _prefetched.update({key: opener.submit(opened, *graph) for graph, key in missing.items()})
    opener.shutdown(wait=False)


def is_prefetched(graph: Path, sha256: str) -> bool:
    """Return whether a graph is being opened, for any number of threads: its checksum is checked there."""
    file = _key(graph, sha256, 0)[:2]
    return any(key[:2] == file for key in list(_prefetched))


def open_session(graph: Path, threads: int, *, sha256: str | None = None) -> Any:
    """Open an ONNX file, or take the session that `prefetch` opened; Python's lock is free meanwhile.

    Args:
        graph: The file.
        threads: Of each run.
        sha256: What the file must be; None: a file that was only just written.

    Raises:
        BundleError: It has another checksum, or this onnxruntime cannot run it.
    """
    if sha256 is None:
        return _open(graph, threads)
    begun = _prefetched.pop(_key(graph, sha256, threads), None)
    if begun is not None and begun.exception() is None:
        return begun.result()
    check_file(graph.parent, graph.name, sha256)
    return _open(graph, threads)


def _key(graph: Path, sha256: str, threads: int) -> tuple[Path, str, int]:
    return graph.absolute(), sha256, threads


def _graphs(manifest: Any) -> Iterator[tuple[str, str]]:
    """Yield name and SHA-256 of each member's graph inside the bundle; the manifest is not checked yet."""
    for engine in manifest["engines"]:
        if (engine["kind"], engine["precision"]) == ("onnx", "float32"):
            for net in engine["nets"]:
                name, sha256 = str(net["files"][0]["name"]), str(net["files"][0]["sha256"])
                if Path(name).name == name:
                    yield name, sha256


def _open(graph: Path, threads: int) -> Any:
    import onnxruntime  # noqa: PLC0415  (0.1 s, which `prefetch` spends beside computing checksums)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Microseconds that a thread waits in a loop for its next piece before it sleeps. DenseNet-121 has 180
    # pieces, and takes 4 % longer where threads sleep at once; where they never do, one image takes half as
    # long again on a machine that is shared.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "30")
    options.log_severity_level = 3  # errors, which are raised: a warning on standard error helps nobody
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    # onnxruntime's errors have no class in common but this one.
    except Exception as error:
        raise BundleError(
            f"{graph} cannot be run by onnxruntime {onnxruntime.__version__} "
            f"({' '.join(str(error).split())}); export the bundle again with thorax export"
        ) from error
