"""The engines onnxruntime and OpenVINO: logits from a bundle's exported graphs, on a CPU."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from thorax.arrays import PixelsBatch
from thorax.errors import BundleError, MissingExtra
from thorax.hardware import num_threads
from thorax.inference.onnx_session import CAM, LOGITS, PIXELS, open_session, shortened_reason
from thorax.inference.openvino_check import check_openvino_graph
from thorax.inference.pooling import ViewLogits
from thorax.packages import install_line
from thorax.telemetry import import_unreported

__all__ = ["CAM", "LOGITS", "PIXELS", "OnnxEngine", "OpenVinoEngine", "import_openvino"]

_IMAGE_AXIS = {LOGITS: 1, CAM: 0}

Cam = Float32[np.ndarray, "n k h w"]


class OnnxEngine:
    """The exported graphs of a bundle's members in onnxruntime.

    A single image uses all threads. Of several images, each uses one thread: no thread waits for another,
    and the activations of an image stay in the cache. The two modes need separate sessions, which are opened
    on first use.

    Args:
        graphs: ONNX file of each member, in order.
        threads: Number of threads; None: `num_threads()`.
        checksums: SHA-256 of each file, checked whenever it is opened; None: the files were just written.
    """

    def __init__(
        self,
        graphs: Sequence[Path],
        *,
        threads: int | None = None,
        checksums: Mapping[Path, str] | None = None,
    ) -> None:
        self._graphs = list(graphs)
        self._threads = threads or num_threads()
        self._checksums = checksums or {}
        self._opened: dict[int, list[Any]] = {}

    def _sessions(self, num_images: int) -> list[Any]:
        threads = self._threads if num_images == 1 else 1
        if threads not in self._opened:
            self._opened[threads] = [
                open_session(graph, threads, sha256=self._checksums.get(graph)) for graph in self._graphs
            ]
        return self._opened[threads]

    def logits(self, pixels: PixelsBatch) -> Sequence[ViewLogits]:
        """Return each member's logits (view, n, k) for prepared pixels (n, s, s).

        Raises:
            BundleError: This version of onnxruntime cannot run a file.
        """
        return [
            np.concatenate(self._runs(session, LOGITS, pixels), axis=1).astype(np.float64)
            for session in self._sessions(len(pixels))
        ]

    def activation_maps(self, pixels: PixelsBatch) -> list[Cam]:
        """Return each member's exact class activation maps.

        Returns:
            float32 (n, k, h, w), for the member's findings; the mean over locations plus the bias is the
            logit.

        Raises:
            BundleError: A member has no exact map, or this version of onnxruntime cannot run a file.
        """
        sessions = self._sessions(len(pixels))
        if any(CAM not in {output.name for output in session.get_outputs()} for session in sessions):
            raise BundleError(
                "this bundle has no exact class activation map, which requires one plain view and global "
                "average pooling before one linear layer; use another method"
            )
        return [np.concatenate(self._runs(session, CAM, pixels)) for session in sessions]

    def _runs(self, session: Any, output: str, pixels: PixelsBatch) -> list[Any]:
        def run(index: int) -> Any:
            try:
                result = session.run([output], {PIXELS: pixels[index : index + 1]})[0]
            # Exception is the only common base class of onnxruntime's errors.
            except Exception as error:
                raise _cannot_predict("onnxruntime", self._graphs[0].parent, pixels, error) from error
            count = result.shape[_IMAGE_AXIS[output]]
            if count != 1:
                raise BundleError(
                    f"a graph of {self._graphs[0].parent} gives {count} results for one image; export the "
                    "bundle again"
                )
            return result

        if len(pixels) == 1:
            return [run(0)]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(run, range(len(pixels))))


_VIEWS = 8
"""Views per run: enough to keep two cores busy; more bring no gain."""


class OpenVinoEngine:
    """The exported graphs of a bundle's members in OpenVINO.

    Args:
        graphs: OpenVINO's XML file of each member, in order, with the weights in the same folder.
        threads: Threads of each run; None: `num_threads()`.

    Raises:
        MissingExtra: OpenVINO is not installed.
        BundleError: OpenVINO cannot run one of the files, or one has an operator that is not allowed.
    """

    def __init__(self, graphs: Sequence[Path], *, threads: int | None = None) -> None:
        openvino = import_openvino()
        self._folder = graphs[0].parent
        for graph in graphs:
            check_openvino_graph(graph)
        settings = {
            # Without this, OpenVINO computes in half precision on CPUs that support it.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._one_at_a_time = Lock()  # OpenVINO refuses to start a request that is running
        core = openvino.Core()
        try:
            self._requests: list[Any] = [
                core.compile_model(core.read_model(graph), "CPU", settings).create_infer_request()
                for graph in graphs
            ]
        except RuntimeError as error:
            raise BundleError(
                f"{graphs[0].parent} holds a graph that OpenVINO {openvino.__version__} cannot run "
                f"({' '.join(str(error).split())[:200]}); export the bundle again"
            ) from error

    def logits(self, pixels: PixelsBatch) -> Sequence[ViewLogits]:
        """Return each member's logits (view, n, k) for prepared pixels (n, s, s)."""
        return [
            np.concatenate(list(self._runs(request, pixels)), axis=1).astype(np.float64)
            for request in self._requests
        ]

    def _runs(self, request: Any, pixels: PixelsBatch) -> Iterator[Any]:
        try:
            for chunk in _in_chunks(pixels, max(1, _VIEWS // _num_views(request))):
                with self._one_at_a_time:
                    logits = request.infer({PIXELS: chunk})[LOGITS]
                yield logits
        except (KeyError, RuntimeError) as error:
            raise _cannot_predict("OpenVINO", self._folder, pixels, error) from error


def _cannot_predict(program: str, folder: Path, pixels: PixelsBatch, error: Exception) -> BundleError:
    return BundleError(
        f"{folder} holds a graph that {program} cannot run on an image of {pixels.shape[1]} x "
        f"{pixels.shape[2]} pixels ({shortened_reason(error)}); export the bundle again"
    )


def import_openvino() -> Any:
    """Return the module `openvino`.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        return import_unreported("openvino")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "the engine openvino needs OpenVINO, which is not installed; install it with "
            f"{install_line('openvino')}, or set `engine=onnx`"
        ) from error


def _in_chunks(pixels: PixelsBatch, size: int) -> list[UInt8[np.ndarray, "_ s s"]]:
    return [pixels[start : start + size] for start in range(0, len(pixels), size)]


def _num_views(request: Any) -> int:
    views: int = request.get_compiled_model().output(LOGITS).partial_shape[0].get_length()
    return views
