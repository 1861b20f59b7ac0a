"""An exported ONNX graph as OpenVINO's own files, float32 or quantized."""

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
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from torch import Tensor, nn

from thorax.arrays import PixelsBatch
from thorax.errors import BundleError
from thorax.inference.exported_engines import CAM, LOGITS, PIXELS, import_openvino
from thorax.models import Classifier
from thorax.models.heads import feature_map
from thorax.models.tensors import PixelsTensor
from thorax.models.views import View, seen, views
from thorax.recipe.sections import TestTime

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
    """Write a quantized copy of a float32 ONNX graph.

    Each output channel has its own scale. What stands before the net (resize, views, normalization) and the
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


OPSET = 18
"""Known to every onnxruntime since 1.14 (2023)."""

_LINES = 32
"""Lines that are looked at together: 34 MB of float32 at 512 pixels."""


class MemberGraph(nn.Module):
    """A classifier with its views: prepared pixels to logits, and to the exact activation map.

    Args:
        classifier: In evaluation mode, on the CPU.
        side: Of the prepared images.
        input_size: Side of the net's input.
        test_time: Which views.

    Attributes:
        cam: Whether there is an exact activation map.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, classifier: Classifier, *, side: int, input_size: int, test_time: TestTime) -> None:
        super().__init__()
        self.classifier = classifier
        self.cam = classifier.exact_cam and test_time.is_plain
        self._size = input_size
        shown = views(test_time)
        # Plain numbers: a graph with constant shapes is smaller, and says how many views it has.
        self._num_views = len(shown)
        self._num_findings = list(classifier.head.parameters())[-1].shape[0]
        lines = cache(lambda view: line_weights(view, side, input_size))
        rows = [lines(View(view.side, view.y)) for view in shown]
        columns = [lines(View(view.side, view.x, mirrored=view.mirrored)) for view in shown]
        self.register_buffer("rows", torch.stack(rows)[:, None])
        self.register_buffer("columns", torch.stack(columns)[:, None].transpose(2, 3).contiguous())

    def forward(self, pixels: PixelsTensor) -> tuple[Tensor, ...]:
        """Return the logits (view, n, k), and the map (n, k, h, w) where there is one."""
        shown = self.rows @ (pixels.float() / 255) @ self.columns
        features = self.classifier.features(shown.reshape(-1, 1, self._size, self._size))
        logits = self.classifier.classify(features)
        per_view = logits.reshape(self._num_views, -1, self._num_findings)
        if not self.cam:
            return (per_view,)
        weight = self.classifier.get_parameter("head.weight")[:, :, None, None]
        return per_view, nn.functional.conv2d(feature_map(self.classifier.backbone, features), weight)


def line_weights(view: View, side: int, size: int) -> Tensor:
    """Return how the pixels of a line become those that the net sees: (size, side).

    Args:
        view: Its `x` says where on the line it lies.
        side: Pixels of the line.
        size: Pixels that the net sees of it.
    """
    single = torch.eye(side, dtype=torch.uint8) * 255
    found = [
        seen(columns[:, None, :].expand(-1, side, -1), view, size)[:, 0, size // 2]
        for columns in torch.split(single, _LINES)
    ]
    return torch.cat(found).T.contiguous()


def onnx_bytes(graph: MemberGraph) -> bytes:
    """Return the graph as an ONNX file: input `pixels`, outputs `logits` and, where it is exact, `cam`.

    The number of images is open; everything else is constant. The same net gives the same bytes.

    Raises:
        BundleError: The net does something that ONNX, or torch's exporter, does not know.
    """
    side = graph.columns.shape[2]
    outputs = [LOGITS, CAM] if graph.cam else [LOGITS]
    # Its signature knows no files but those with a name.
    file: Any = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Of the exporter that traces: it calls itself old, and each check of a shape in timm a constant,
            # which it is. The newer one takes ten times as long (8 s for DenseNet-121) and writes paths of
            # this machine into the file.
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
            f"the net cannot be written as an ONNX graph by torch {torch.__version__} "
            f"({str(error).partition(chr(10))[0]}); it works with torch all the same"
        ) from error
    return average_first(file.getvalue())


def convert(graph: Path) -> tuple[Path, Path]:
    """Write the graph beside the ONNX file, and return the XML file and the weights.

    OpenVINO could read the ONNX file each time; its own files open faster.

    Raises:
        MissingExtra: OpenVINO is not installed.
    """
    openvino = import_openvino()
    target = graph.with_suffix(".xml")
    # The default would round weights to float16.
    openvino.save_model(openvino.convert_model(graph), target, compress_to_fp16=False)
    return target, target.with_suffix(".bin")
