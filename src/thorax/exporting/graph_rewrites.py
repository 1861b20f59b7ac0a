"""Rewrites of an exported graph: batch norms, pooling, int8."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from thorax.arrays import PixelsBatch
from thorax.inference.onnx_engine import PIXELS

__all__ = ["average_first", "norms_as_convolutions", "quantize"]

_EPSILON = 1e-5
"""Where a node does not state it (ONNX's own default)."""

_MAP = 4
"""Axes of a map: image, channel, height, width."""


def norms_as_convolutions(model: onnx.ModelProto) -> None:
    """Put a depthwise 1 x 1 convolution in the place of each batch norm of a map, in place.

    Args:
        model: A net in evaluation mode, its numbers within it.
    """
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*inferred.value_info, *inferred.input)
    }
    values = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in values:  # equal numbers are written once
            values[node.output[0]] = values[node.input[0]]
        elif node.op_type == "BatchNormalization" and ranks.get(node.input[0]) == _MAP:
            _replace(graph, node, [onnx.numpy_helper.to_array(values[name]) for name in node.input[1:]])
    read = {name for node in graph.node for name in node.input}
    for unread in [each for each in graph.initializer if each.name not in read]:
        graph.initializer.remove(unread)


def _replace(graph: Any, node: Any, numbers: list[Any]) -> None:
    gamma, beta, mean, variance = (each.astype(np.float64) for each in numbers)
    settings = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    factor = gamma / np.sqrt(variance + settings.get("epsilon", _EPSILON))
    weights = {
        f"{node.output[0]}_factor": factor.reshape(-1, 1, 1, 1),
        f"{node.output[0]}_summand": beta - mean * factor,
    }
    for name, value in weights.items():
        graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    convolution = onnx.helper.make_node(
        "Conv",
        [node.input[0], *weights],
        [node.output[0]],
        name=node.name,
        group=len(factor),
        kernel_shape=[1, 1],
    )
    node.CopyFrom(convolution)


_DEFAULTS: Final[dict[str, Any]] = {"strides": [1, 1], "pads": [0, 0, 0, 0], "auto_pad": b"NOTSET"}


def average_first(graph: bytes) -> bytes:
    """Return an ONNX file in which each 1 x 1 convolution that only an average reads comes after it.

    Args:
        graph: An ONNX file.
    """
    model = onnx.load_model_from_string(graph)
    nodes = model.graph.node
    makers = {output: node for node in nodes for output in node.output}
    readers = Counter(name for node in nodes for name in node.input)
    readers.update(output.name for output in model.graph.output)
    for pool in [node for node in nodes if node.op_type == "AveragePool"]:
        conv = makers.get(pool.input[0])
        if conv is not None and readers[pool.input[0]] == 1 and _commute(conv, pool):
            _swap(nodes, conv, pool)
    onnx.checker.check_model(model)
    swapped: bytes = model.SerializeToString(deterministic=True)
    return swapped


def _commute(conv: Any, pool: Any) -> bool:
    """Return whether the two may change places: each output place of the convolution is one input place.

    An average that counts a margin of zeros would lose part of the convolution's bias there.
    """
    settings = _DEFAULTS | _settings(conv)
    in_place = all(settings[name] == default for name, default in _DEFAULTS.items())
    pointwise = conv.op_type == "Conv" and settings.get("kernel_shape") == [1, 1] and in_place
    pooling = _settings(pool)
    counts_margin = pooling.get("count_include_pad", 0) and (
        any(pooling.get("pads", ())) or pooling.get("ceil_mode", 0)
    )
    return pointwise and not counts_margin


def _settings(node: Any) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def _swap(nodes: Any, conv: Any, pool: Any) -> None:
    """Let the average read what the convolution read, and the convolution the average."""
    between, last = f"{conv.output[0]}_averaged", pool.output[0]
    pool.input[0], pool.output[0] = conv.input[0], between
    conv.input[0], conv.output[0] = between, last
    # Nodes stand in the order of computing.
    later = onnx.NodeProto()
    later.CopyFrom(conv)
    nodes.remove(conv)
    nodes.insert(list(nodes).index(pool) + 1, later)


def quantize(graph: Path, target: Path, images: PixelsBatch) -> None:
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
