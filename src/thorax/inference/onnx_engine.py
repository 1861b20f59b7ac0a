"""The engine that computes logits with onnxruntime, on a CPU. No torch."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from jaxtyping import Float32, UInt8

from thorax.arrays import PixelsBatch
from thorax.errors import BundleError
from thorax.inference.pipeline import ViewLogits

__all__ = ["CAM", "LOGITS", "PIXELS", "OnnxEngine", "in_chunks", "num_threads"]

PIXELS: Final = "pixels"
"""Input of an exported graph: prepared images, uint8 (n, s, s)."""

LOGITS: Final = "logits"
"""Output of an exported graph: float32 (view, n, k)."""

CAM: Final = "cam"
"""Output of some exported graphs: the exact class activation map, float32 (n, k, h, w)."""

_CHUNK = 8
"""Views per run: DenseNet-121 at 224 pixels takes as long for each in a run of 4 as in one of 32, and less
memory."""

Cam = Float32[np.ndarray, "n k h w"]


class OnnxEngine:
    """The exported graphs of a bundle's members in onnxruntime.

    Args:
        graphs: ONNX file of each member, in order.
        threads: Of each run; None: as many as `num_threads` gives.

    Raises:
        BundleError: A file is nothing that this onnxruntime can run.
    """

    def __init__(self, graphs: Sequence[Path], *, threads: int | None = None) -> None:
        self._sessions = [_open(graph, threads or num_threads()) for graph in graphs]

    def logits(self, pixels: PixelsBatch) -> Sequence[ViewLogits]:
        """Return each member's logits (view, n, k) of prepared pixels (n, s, s)."""
        return [
            np.concatenate(
                [
                    session.run([LOGITS], {PIXELS: chunk})[0]
                    for chunk in in_chunks(pixels, num_views=session.get_outputs()[0].shape[0])
                ],
                axis=1,
            ).astype(np.float64)
            for session in self._sessions
        ]

    def activation_maps(self, pixels: PixelsBatch) -> list[Cam]:
        """Return each member's exact class activation maps.

        Returns:
            float32 (n, k, h, w), in the member's findings; the mean over places, and the bias, are its logit.

        Raises:
            BundleError: A member has no exact map.
        """
        if any(CAM not in {output.name for output in session.get_outputs()} for session in self._sessions):
            raise BundleError(
                "this bundle has no exact class activation map: that takes one plain view and global average "
                "pooling before one linear layer; use another explanation"
            )
        return [
            np.concatenate(
                [session.run([CAM], {PIXELS: chunk})[0] for chunk in in_chunks(pixels, num_views=1)]
            )
            for session in self._sessions
        ]


def in_chunks(pixels: PixelsBatch, *, num_views: int) -> list[UInt8[np.ndarray, "_ s s"]]:
    """Return the images in runs of a size that is quick on a CPU, for a net that sees each so many times."""
    size = max(1, _CHUNK // num_views)
    return [pixels[start : start + size] for start in range(0, len(pixels), size)]


def num_threads() -> int:
    """Return what OMP_NUM_THREADS says, as torch does, or the number of cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _open(graph: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait in a loop for their next piece gain little alone on a machine, and take three times as
    # long on one that is shared.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors, which are raised: a warning on standard error helps nobody
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    # onnxruntime's errors have no class in common but this one.
    except Exception as error:
        raise BundleError(
            f"{graph} cannot be run by onnxruntime {onnxruntime.__version__} "
            f"({' '.join(str(error).split())}); export the bundle again with thorax export"
        ) from error
