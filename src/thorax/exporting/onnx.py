"""An exported ONNX graph as OpenVINO's own files, float32 or quantised."""

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thorax.errors import BundleError
from thorax.exporting.graph_rewrites import average_first
from thorax.inference.onnx_engine import CAM, LOGITS, PIXELS
from thorax.inference.openvino_engine import import_openvino
from thorax.models import Classifier
from thorax.models.heads import feature_map
from thorax.models.tensors import PixelsTensor
from thorax.models.views import View, seen, views
from thorax.recipe.sections import TestTime

__all__ = ["OPSET", "MemberGraph", "convert", "line_weights", "onnx_bytes"]

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
