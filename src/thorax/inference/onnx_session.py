"""Opens exported graphs in onnxruntime, on demand or ahead of time in a thread.

Opening a graph keeps one core busy, without the GIL, for about as long as importing the code that checks the
manifest keeps another, so `prefetch` starts early. It trusts nothing: a graph is opened only if its checksum
is the one in the manifest, and `open_session` uses it only for the same file and checksum. Errors are left to
`open_session`, which reports them.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import read_regular
from thorax.bundle.files import LARGEST_MANIFEST, MANIFEST, bundle_folder, check_file, is_file_name
from thorax.errors import BundleError
from thorax.hardware import has_cuda_driver, num_threads
from thorax.inference.graph_check import check_graph
from thorax.telemetry import import_unreported

__all__ = [
    "CAM",
    "LOGITS",
    "PIXELS",
    "is_prefetched",
    "open_session",
    "prefetch",
    "shortened_reason",
]

PIXELS: Final = "pixels"
"""Input of an exported graph: prepared images, uint8 (n, s, s)."""

LOGITS: Final = "logits"
"""Output of an exported graph: float32 (view, n, k)."""

CAM: Final = "cam"
"""Output of some exported graphs: the exact class activation map, float32 (n, k, h, w)."""

_INPUTS: Final = {PIXELS: ("tensor(uint8)", 3)}
_OUTPUTS: Final = {LOGITS: ("tensor(float)", 3), CAM: ("tensor(float)", 4)}
"""Types and numbers of axes."""

_LONGEST_REASON: Final = 200

_prefetched: Final[dict[tuple[Path, str, int], Future[Any]]] = {}
"""Sessions being opened, by file, SHA-256 and threads; each is used once."""


def prefetch(path: Path, images: Sequence[Path], *, device: str = "auto", engine: str = "auto") -> None:
    """Start opening the float32 graphs of a bundle in a thread, unless another engine will be used.

    Args:
        path: The bundle, or the run that made it; anything else is ignored.
        images: Files or folders to predict: a single file needs a session for all threads, several need a
            session for one thread; see `OnnxEngine`.
        device: See `open_predictor`.
        engine: See `open_predictor`.
    """
    on_cpu = device == "cpu" or (device == "auto" and (engine == "onnx" or not has_cuda_driver()))
    if engine not in {"auto", "onnx"} or not on_cpu:
        return
    try:
        folder = bundle_folder(path)
        graphs = list(_graphs(json.loads(read_regular(folder / MANIFEST, at_most=LARGEST_MANIFEST))))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return
    one_image = len(images) == 1 and not os.path.isdir(images[0])  # noqa: PTH112  (never raises, whatever the name)
    threads = num_threads() if one_image else 1
    keys = {(name, sha256): _key(folder / name, sha256, threads) for name, sha256 in graphs}
    missing = {graph: key for graph, key in keys.items() if key not in _prefetched}
    if not missing:
        return
    opener = ThreadPoolExecutor(1)
    checks = {graph: opener.submit(check_file, folder, *graph) for graph in missing}
    # Imported here, not in the thread: if two threads import NumPy at once, one of them sees a half-imported
    # module in about one of twenty starts.
    import_unreported("onnxruntime")  # 0.1 s, while checksums are computed

    def open_checked(name: str, sha256: str) -> Any:
        checks[name, sha256].result()
        return _open(folder / name, threads)

    _prefetched.update({key: opener.submit(open_checked, *graph) for graph, key in missing.items()})
    opener.shutdown(wait=False)


def is_prefetched(graph: Path, sha256: str) -> bool:
    """Return whether a graph is being opened, and its checksum checked, for any number of threads."""
    file = _key(graph, sha256, 0)[:2]
    return any(key[:2] == file for key in list(_prefetched))


def open_session(graph: Path, threads: int, *, sha256: str | None = None) -> Any:
    """Open an ONNX file, or take the session that `prefetch` opened; the GIL is released meanwhile.

    Args:
        graph: The file.
        threads: Threads of each run.
        sha256: Checksum that the file must have; None: the file was just written.

    Raises:
        BundleError: The checksum differs, or this version of onnxruntime cannot run the file.
    """
    if sha256 is None:
        return _open(graph, threads)
    prefetched = _prefetched.pop(_key(graph, sha256, threads), None)
    if prefetched is not None and prefetched.exception() is None:
        return prefetched.result()
    check_file(graph.parent, graph.name, sha256)
    return _open(graph, threads)


def _key(graph: Path, sha256: str, threads: int) -> tuple[Path, str, int]:
    return graph.absolute(), sha256, threads


def _graphs(manifest: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and SHA-256 of each member's graph in the bundle; the manifest is not yet checked."""
    for engine in manifest["engines"]:
        if (engine["kind"], engine["precision"]) == ("onnx", "float32"):
            for net in engine["nets"]:
                name, sha256 = str(net["files"][0]["name"]), str(net["files"][0]["sha256"])
                if is_file_name(name):
                    yield name, sha256


def _open(graph: Path, threads: int) -> Any:
    onnxruntime = import_unreported("onnxruntime")  # 0.1 s, during which `prefetch` computes checksums
    check_graph(graph)
    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.use_env_allocators", "1")  # of `_bound_memory`
    # Microseconds that a thread spins for its next task before it sleeps. DenseNet-121 has 180 tasks: it
    # takes 4 % longer if threads sleep at once; if they never sleep, one image takes 50 % longer on a shared
    # machine.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "30")
    options.log_severity_level = 3  # errors only: warnings on standard error are of no use to callers
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    # Exception is the only common base class of onnxruntime's errors.
    except Exception as error:
        raise BundleError(
            f"{graph} cannot be run by onnxruntime {onnxruntime.__version__} "
            f"({shortened_reason(error)}); export the bundle again"
        ) from error
    _check_ends(session, graph)
    return session


def shortened_reason(error: Exception) -> str:
    """Return what onnxruntime says, on one line, without the rest of a long message."""
    return " ".join(str(error).split())[:_LONGEST_REASON]


@cache
def _bound_memory() -> None:
    """Let all sessions of the process together take at most half of the machine's memory.

    A graph of a few hundred bytes can ask for any number of gigabytes; it then fails, and the program lives.
    """
    onnxruntime = import_unreported("onnxruntime")
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg({"max_mem": half}))


def _check_ends(session: Any, graph: Path) -> None:
    """Refuse a graph whose input and outputs are not those of a bundle.

    Raises:
        BundleError: Their names, types or numbers of axes differ.
    """
    inputs = {end.name: (end.type, len(end.shape)) for end in session.get_inputs()}
    outputs = {end.name: (end.type, len(end.shape)) for end in session.get_outputs()}
    if inputs == _INPUTS and LOGITS in outputs and outputs.items() <= _OUTPUTS.items():
        return
    listed = [f"{name} ({kind})" for name, (kind, _) in (*inputs.items(), *outputs.items())]
    raise BundleError(
        f"{graph} has the input and outputs {', '.join(listed)[:_LONGEST_REASON]}, and not {PIXELS}, "
        f"{LOGITS} and {CAM} as a bundle's graph has them; export the bundle again"
    )
