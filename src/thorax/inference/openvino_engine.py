"""The engine that computes logits with OpenVINO, on a CPU. No torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from thorax.arrays import PixelsBatch
from thorax.errors import BundleError, MissingExtra
from thorax.hardware import num_threads
from thorax.inference.onnx_engine import LOGITS, PIXELS
from thorax.inference.predictor import ViewLogits
from thorax.packages import install_line

__all__ = ["OpenVinoEngine", "import_openvino"]


_VIEWS = 8
"""Views per run: a batch keeps both cores busy, and more of them are no quicker."""


class OpenVinoEngine:
    """The exported graphs of a bundle's members in OpenVINO.

    Args:
        graphs: OpenVINO's XML file of each member, in order, its weights beside it.
        threads: Of each run; None: as many as `num_threads` gives.

    Raises:
        MissingExtra: OpenVINO is not installed.
        BundleError: OpenVINO cannot run one of the files.
    """

    def __init__(self, graphs: Sequence[Path], *, threads: int | None = None) -> None:
        openvino = import_openvino()
        settings = {
            # Without this it computes with half the digits on CPUs that are quick at that.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        try:
            self._requests: list[Any] = [
                core.compile_model(core.read_model(graph), "CPU", settings).create_infer_request()
                for graph in graphs
            ]
        except RuntimeError as error:
            raise BundleError(
                f"{graphs[0].parent} holds a graph that OpenVINO {openvino.__version__} cannot run "
                f"({' '.join(str(error).split())[:200]}); export the bundle again with thorax export"
            ) from error

    def logits(self, pixels: PixelsBatch) -> Sequence[ViewLogits]:
        """Return each member's logits (view, n, k) of prepared pixels (n, s, s)."""
        return [
            np.concatenate(
                [
                    request.infer({PIXELS: chunk})[LOGITS]
                    for chunk in _in_chunks(pixels, max(1, _VIEWS // _num_views(request)))
                ],
                axis=1,
            ).astype(np.float64)
            for request in self._requests
        ]


def import_openvino() -> Any:
    """Return the module `openvino`.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import openvino  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "the engine openvino needs OpenVINO, which is not installed; install it with "
            f"{install_line('openvino')}, or use `engine=onnx`"
        ) from error
    return openvino


def _in_chunks(pixels: PixelsBatch, size: int) -> list[UInt8[np.ndarray, "_ s s"]]:
    return [pixels[start : start + size] for start in range(0, len(pixels), size)]


def _num_views(request: Any) -> int:
    views: int = request.get_compiled_model().output(LOGITS).partial_shape[0].get_length()
    return views
