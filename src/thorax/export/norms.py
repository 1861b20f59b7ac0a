"""Batch norms as depthwise 1 x 1 convolutions, which can be quantised: the same numbers.

What a batch norm does to a map is a factor and a summand for each channel. The exporter folds it into the
convolution before it. Where there is none, as in DenseNet, it stays, and onnxruntime has no quantised one: it
goes to float32 and back to 8 bits, 62 times in DenseNet-121, a quarter of the quantised net's time.
"""

from typing import Any

import numpy as np
import onnx

__all__ = ["norms_as_convolutions"]

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
