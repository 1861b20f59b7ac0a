"""The engine that computes logits with onnxruntime, on a CPU. No torch."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32

from thorax.arrays import PixelsBatch
from thorax.cores import num_threads
from thorax.errors import BundleError
from thorax.inference.onnx_session import open_session
from thorax.inference.pipeline import ViewLogits

__all__ = ["CAM", "LOGITS", "PIXELS", "OnnxEngine"]

PIXELS: Final = "pixels"
"""Input of an exported graph: prepared images, uint8 (n, s, s)."""

LOGITS: Final = "logits"
"""Output of an exported graph: float32 (view, n, k)."""

CAM: Final = "cam"
"""Output of some exported graphs: the exact class activation map, float32 (n, k, h, w)."""

Cam = Float32[np.ndarray, "n k h w"]


class OnnxEngine:
    """The exported graphs of a bundle's members in onnxruntime.

    Args:
        graphs: ONNX file of each member, in order.
        threads: Of each run, and runs at a time; None: as many as `num_threads` gives.
        begun: Graphs that are being opened already; what is wrong with one of them is said at the first run.

    Raises:
        BundleError: A file is nothing that this onnxruntime can run.
    """

    def __init__(
        self,
        graphs: Sequence[Path],
        *,
        threads: int | None = None,
        begun: Mapping[Path, Future[Any]] | None = None,
    ) -> None:
        self._threads = threads or num_threads()
        waiting = begun or {}
        self._opened = [waiting.get(graph) or open_session(graph, self._threads) for graph in graphs]

    @cached_property
    def _sessions(self) -> list[Any]:
        return [each.result() if isinstance(each, Future) else each for each in self._opened]

    def logits(self, pixels: PixelsBatch) -> Sequence[ViewLogits]:
        """Return each member's logits (view, n, k) of prepared pixels (n, s, s)."""
        return [
            np.concatenate(self._runs(session, LOGITS, pixels), axis=1).astype(np.float64)
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
        return [np.concatenate(self._runs(session, CAM, pixels)) for session in self._sessions]

    def _runs(self, session: Any, output: str, pixels: PixelsBatch) -> list[Any]:
        """Run the images one by one, some at a time.

        One image's activations stay in the cache: DenseNet-121 at 224 pixels takes a sixth less for each of
        them than for eight in a run. Runs side by side leave no core waiting for the others of a run.
        """

        def run(index: int) -> Any:
            return session.run([output], {PIXELS: pixels[index : index + 1]})[0]

        if len(pixels) == 1:
            return [run(0)]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(run, range(len(pixels))))
