"""Quantised nets: weights and activations as 8-bit whole numbers, with scales from training images."""

import logging
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from thorax.arrays import PixelsBatch
from thorax.export.norms import norms_as_convolutions
from thorax.inference.onnx_engine import PIXELS

__all__ = ["quantise"]


def quantise(graph: Path, target: Path, images: PixelsBatch) -> None:
    """Write a quantised copy of a float32 ONNX graph.

    Each output channel has its own scale. What stands before the net (resize, views, normalisation) and the
    activation map stay float32.

    Args:
        graph: The graph that `export.onnx` made.
        target: The file to write.
        images: Prepared images of the training part; the ranges of their activations become the scales.
    """
    model = onnx.load(graph)
    norms_as_convolutions(model)
    onnx.save(model, target)
    # The parts of the net are named /features/..., what `MemberGraph` itself does /MatMul and so on.
    own = [node.name for node in model.graph.node if node.name.count("/") <= 1]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a step for other graphs than these
    try:
        quantize_static(
            target,
            target,
            _Reader(images),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # 7 bits of weight: on CPUs without VNNI sums of products of 8 bits overflow, and the same file
            # would give other numbers there.
            reduce_range=True,
            nodes_to_exclude=own,
        )
    finally:
        root.setLevel(level)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands out images one by one, None at the end."""

    def __init__(self, images: PixelsBatch) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, PixelsBatch] | None:
        image = next(self._images, None)
        return None if image is None else {PIXELS: image[None]}
