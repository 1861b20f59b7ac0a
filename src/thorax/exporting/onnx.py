"""Exports a member as an ONNX graph, rewrites it, quantizes it, and converts it to OpenVINO's files."""

import io
import logging
import warnings
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from thorax.arrays import PixelsBatch
from thorax.errors import BundleError
from thorax.inference.exported_engines import CAM, LOGITS, PIXELS, import_openvino
from thorax.models import Classifier
from thorax.models.heads import feature_map
from thorax.models.tensors import PixelsTensor
from thorax.models.test_time_views import View, apply_view, views
from thorax.recipe.sections import TestTime
from thorax.telemetry import import_unreported

__all__ = [
    "OPSET",
    "MemberGraph",
    "average_first",
    "convert",
    "line_weights",
    "norms_as_convolutions",
    "onnx_bytes",
    "quantize",
]

_EPSILON = 1e-5
"""ONNX's default, for nodes that do not state it."""

_MAP_RANK = 4
"""A map has the axes image, channel, height and width."""


def norms_as_convolutions(model: onnx.ModelProto) -> None:
    """Replace each batch norm of a map by a depthwise 1 x 1 convolution, in place.

    Args:
        model: A network exported in evaluation mode, with its weights in the file.
    """
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*inferred.value_info, *inferred.input)
    }
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in values:  # equal tensors are stored once
            values[node.output[0]] = values[node.input[0]]
        elif node.op_type == "BatchNormalization" and ranks.get(node.input[0]) == _MAP_RANK:
            _replace(graph, node, [onnx.numpy_helper.to_array(values[name]) for name in node.input[1:]])
    used = {name for node in graph.node for name in node.input}
    for unused in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(unused)


def _replace(graph: Any, node: Any, parameters: list[Any]) -> None:
    gamma, beta, mean, variance = (parameter.astype(np.float64) for parameter in parameters)
    factor = gamma / np.sqrt(variance + _attributes(node).get("epsilon", _EPSILON))
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
    """Move each 1 x 1 convolution that feeds only an average pooling behind it; the result is the same.

    Args:
        graph: An ONNX file.

    Returns:
        The rewritten ONNX file.
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
    """Return whether the two may be swapped: each output of the convolution depends on one location.

    A pooling that averages over padding would lose some of the convolution's bias there.
    """
    attributes = _DEFAULTS | _attributes(conv)
    plain = all(attributes[name] == default for name, default in _DEFAULTS.items())
    pointwise = conv.op_type == "Conv" and attributes.get("kernel_shape") == [1, 1] and plain
    pooling = _attributes(pool)
    counts_padding = pooling.get("count_include_pad", 0) and (
        any(pooling.get("pads", ())) or pooling.get("ceil_mode", 0)
    )
    return pointwise and not counts_padding


def _attributes(node: Any) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _swap(nodes: Any, conv: Any, pool: Any) -> None:
    """Feed the convolution's input to the pooling, and the pooling's output to the convolution."""
    between, last = f"{conv.output[0]}_averaged", pool.output[0]
    pool.input[0], pool.output[0] = conv.input[0], between
    conv.input[0], conv.output[0] = between, last
    # Nodes must be in topological order.
    moved = onnx.NodeProto()
    moved.CopyFrom(conv)
    nodes.remove(conv)
    nodes.insert(list(nodes).index(pool) + 1, moved)


def quantize(graph: Path, target: Path, images: PixelsBatch) -> None:
    """Write a quantized copy of a float32 ONNX graph.

    Each output channel has its own scale. Everything before the network (resizing, views, normalization) and
    the activation map stay float32.

    Args:
        graph: The graph, from `onnx_bytes`.
        target: The file to write.
        images: Prepared training images; the ranges of their activations determine the scales.
    """
    quantization = import_unreported("onnxruntime.quantization")
    model = onnx.load(graph)
    norms_as_convolutions(model)
    onnx.save(model, target)
    # Nodes of the network are named /features/..., those of `MemberGraph` itself /MatMul and so on.
    own_nodes = [node.name for node in model.graph.node if node.name.count("/") <= 1]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends preprocessing that these graphs do not need
    try:
        quantization.quantize_static(
            target,
            target,
            _Reader(images),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # 7-bit weights: on CPUs without VNNI, sums of 8-bit products overflow, and the same file would
            # give other results there.
            reduce_range=True,
            nodes_to_exclude=own_nodes,
        )
    finally:
        root.setLevel(level)


class _Reader:
    """Returns one image at a time, then None, as onnxruntime's `CalibrationDataReader` does."""

    def __init__(self, images: PixelsBatch) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, PixelsBatch] | None:
        image = next(self._images, None)
        return None if image is None else {PIXELS: image[None]}


OPSET = 18
"""Supported by onnxruntime since 1.14 (2023)."""

_LINES = 32
"""Lines processed together: 34 MB of float32 at 512 pixels."""


class MemberGraph(nn.Module):
    """A classifier with its views: from prepared pixels to logits and the exact activation map.

    Args:
        classifier: The network, in evaluation mode, on the CPU.
        side: Side of the prepared images.
        input_size: Side of the network's input.
        test_time: Gives the views.

    Attributes:
        cam: Whether the graph has an exact activation map.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, classifier: Classifier, *, side: int, input_size: int, test_time: TestTime) -> None:
        super().__init__()
        self.classifier = classifier
        self.cam = classifier.exact_cam and test_time.is_plain
        self._size = input_size
        all_views = views(test_time)
        # Plain numbers, since a graph with constant shapes is smaller and states its number of views.
        self._num_views = len(all_views)
        self._num_findings = list(classifier.head.parameters())[-1].shape[0]
        lines = cache(lambda view: line_weights(view, side, input_size))
        rows = [lines(View(view.side, view.y)) for view in all_views]
        columns = [lines(View(view.side, view.x, mirrored=view.mirrored)) for view in all_views]
        self.register_buffer("rows", torch.stack(rows)[:, None])
        self.register_buffer("columns", torch.stack(columns)[:, None].transpose(2, 3).contiguous())

    def forward(self, pixels: PixelsTensor) -> tuple[Tensor, ...]:
        """Return the logits (view, n, k), and the map (n, k, h, w) if there is one."""
        images = self.rows @ (pixels.float() / 255) @ self.columns
        features = self.classifier.features(images.reshape(-1, 1, self._size, self._size))
        logits = self.classifier.classify(features)
        per_view = logits.reshape(self._num_views, -1, self._num_findings)
        if not self.cam:
            return (per_view,)
        weight = self.classifier.get_parameter("head.weight")[:, :, None, None]
        return per_view, nn.functional.conv2d(feature_map(self.classifier.backbone, features), weight)


def line_weights(view: View, side: int, size: int) -> Tensor:
    """Return the weights (size, side) that turn the pixels of a line into those of a view.

    Args:
        view: The view; its `x` is the position on the line.
        side: Number of pixels of the line.
        size: Number of pixels of the network's input.
    """
    impulses = torch.eye(side, dtype=torch.uint8) * 255
    responses = [
        apply_view(columns[:, None, :].expand(-1, side, -1), view, size)[:, 0, size // 2]
        for columns in torch.split(impulses, _LINES)
    ]
    return torch.cat(responses).T.contiguous()


def onnx_bytes(graph: MemberGraph) -> bytes:
    """Return the graph as an ONNX file: input `pixels`, outputs `logits` and, if it is exact, `cam`.

    The number of images is free; everything else is constant. The same network gives the same bytes.

    Raises:
        BundleError: ONNX or torch's exporter does not support an operation of the network.
    """
    side = graph.columns.shape[2]
    outputs = [LOGITS, CAM] if graph.cam else [LOGITS]
    # Any, because torch.onnx.export is annotated to accept only named files.
    file: Any = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # The tracing exporter warns that it is deprecated, and that timm's shape checks become constants,
            # as they should. The newer one takes ten times as long (8 s for DenseNet-121) and writes local
            # paths into the file.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph.eval(),
                (torch.zeros(2, side, side, dtype=torch.uint8),),
                file,
                dynamo=False,
                input_names=[PIXELS],
                output_names=outputs,
                dynamic_axes={PIXELS: {0: "n"}, LOGITS: {1: "n"}, CAM: {0: "n"}},
                opset_version=OPSET,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise BundleError(
            f"the network cannot be exported to ONNX by torch {torch.__version__} "
            f"({str(error).partition(chr(10))[0]}); use the bundle with torch"
        ) from error
    return average_first(file.getvalue())


def convert(graph: Path) -> tuple[Path, Path]:
    """Convert an ONNX file to OpenVINO's files in the same folder; return the XML file and the weights.

    OpenVINO could also read the ONNX file, but opens its own files faster.

    Raises:
        MissingExtra: OpenVINO is not installed.
    """
    openvino = import_openvino()
    target = graph.with_suffix(".xml")
    # By default, OpenVINO would round weights to float16.
    openvino.save_model(openvino.convert_model(graph), target, compress_to_fp16=False)
    return target, target.with_suffix(".bin")
