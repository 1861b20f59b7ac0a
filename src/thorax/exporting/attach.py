"""From a bundle to the same bundle with an exported engine, if that passes its gate."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from thorax.arrays import PixelsBatch, Rows
from thorax.bundle.folder import Bundle, attach_engine
from thorax.bundle.manifest import EngineKind, Exported, ExportedFile, ExportedNet, Parity
from thorax.errors import BundleError
from thorax.exporting.onnx import MemberGraph, convert, onnx_bytes, quantize
from thorax.exporting.parity import EngineComparison, float_parity, quantized_parity, refuse_few_positives
from thorax.image_set import ImageSet
from thorax.inference.engines import open_engine
from thorax.inference.ensemble import ValidationPart
from thorax.inference.exported_engines import OnnxEngine, OpenVinoEngine
from thorax.inference.predictor import Engine, Predictor
from thorax.inference.torch_engine import TorchEngine, load_member
from thorax.packages import versions
from thorax.progress import ProgressCallback, stage_progress

__all__ = ["CHECKED_IMAGES", "export_float32", "export_int8", "export_or_say", "spread"]

CHECKED_IMAGES = 64
"""Images that a float32 engine is compared on: its arithmetic differs everywhere or nowhere, and torch takes
some 5 s for them."""

_CALIBRATION_IMAGES = 128
"""Images whose activations choose the scales of a quantized net."""


def spread(rows: Rows, count: int) -> Int64[np.ndarray, " chosen"]:
    """Return `count` of the rows, evenly spread; all where there are fewer."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def export_float32(
    bundle: Bundle, pixels: PixelsBatch, *, to: EngineKind = "onnx", compared_on: ImageSet
) -> Bundle:
    """Add the float32 engine to a bundle on disk.

    Args:
        bundle: As `load_bundle` gave it.
        pixels: Prepared validation images to compare on, such as `spread` chooses.
        to: Which engine.
        compared_on: The part that they are of.

    Raises:
        BundleError: The engine's probabilities differ from torch's by more than 1e-4.
        MissingExtra: OpenVINO is not installed.
    """
    rows = np.arange(len(pixels))
    with tempfile.TemporaryDirectory() as folder:
        nets, graphs = _write_graphs(bundle, Path(folder))
        files = _converted(graphs, to)
        comparison = EngineComparison(
            Predictor(bundle, TorchEngine(bundle, device="cpu")).predict_rows(pixels.__getitem__, rows),
            Predictor(bundle, _engine(files, to)).predict_rows(pixels.__getitem__, rows),
            compared_with=f"torch {torch.__version__}",
            compared_on=compared_on,
        )
        exported = _exported(to, nets, float_parity(comparison))
        return attach_engine(bundle, exported, files)


def export_or_say(
    bundle: Bundle, pixels: PixelsBatch, *, compared_on: ImageSet
) -> tuple[Bundle, tuple[str, ...]]:
    """Add the float32 engine where that can be; where not, return the bundle as it is, and why in a sentence.

    Args:
        bundle: As `load_bundle` gave it.
        pixels: Prepared validation images to compare on.
        compared_on: The part that they are of.
    """
    try:
        return export_float32(bundle, pixels, compared_on=compared_on), ()
    except BundleError as error:
        return bundle, (f"the bundle has no engine without torch: {error}",)


def export_int8(
    bundle: Bundle,
    part: ValidationPart,
    *,
    to: EngineKind = "onnx",
    gated: Sequence[str] = (),
    progress: ProgressCallback | None = None,
) -> Bundle:
    """Add the quantized engine to a bundle on disk that has the float32 one of the same kind.

    The scales come from training images of the part's split. It is compared with the float32 engine, which
    itself was compared with torch, on every validation image.

    Args:
        bundle: As `load_bundle` gave it.
        part: Validation images that the bundle may be calibrated on.
        to: Which engine.
        gated: Names of the findings to judge it by; none: all. The others get no operating point in it.
        progress: Receives how many images are predicted, by the one engine and by the other.

    Raises:
        BundleError: There is too little validation data, or the engine is too far from the float32 one. The
            bundle stays as it was.
        MissingExtra: OpenVINO is not installed.
        LeakError: The bundle was calibrated on other images than these.
    """
    store, findings = part.store, bundle.findings
    names = tuple(gated) or bundle.manifest.findings
    targets = store.table.targets(findings)[part.rows]
    refuse_few_positives(targets, findings, names)
    _refuse_other_calibration(bundle, part)
    trusted = Predictor(bundle, open_engine(bundle, device="cpu", engine=to))
    train = spread(part.split.rows("train"), _CALIBRATION_IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        nets, graphs = _write_graphs(bundle, Path(folder))
        images = store.pixels(train)
        for graph in graphs:
            quantize(graph, graph, images)
        files = _converted(graphs, to)
        comparison = EngineComparison(
            trusted.predict_rows(
                store.pixels, part.rows, progress=stage_progress(progress, f"predicting by {to} float32")
            ),
            Predictor(bundle, _engine(files, to)).predict_rows(
                store.pixels, part.rows, progress=stage_progress(progress, f"predicting by {to} int8")
            ),
            compared_with=f"{to} float32",
            compared_on=part.split.image_set("val", part.rows, dataset=store.dataset),
        )
        points = bundle.manifest.operating_points
        parity, refitted = quantized_parity(
            comparison, targets, findings=findings, gated=names, points=points
        )
        changes = {
            "precision": "int8",
            "operating_points": refitted,
            "quantised_with": part.split.image_set("train", train, dataset=store.dataset),
        }
        return attach_engine(bundle, _exported(to, nets, parity).model_copy(update=changes), files)


def _write_graphs(bundle: Bundle, folder: Path) -> tuple[list[ExportedNet], list[Path]]:
    """Write each member's ONNX graph, and say what the manifest is to say of it."""
    nets, files = [], []
    for number, member in enumerate(bundle.manifest.members):
        graph = MemberGraph(
            load_member(bundle, member).eval(),
            side=bundle.manifest.preparation.size,
            input_size=member.model.input_size,
            test_time=member.test_time,
        )
        file = folder / f"{number}.onnx"
        file.write_bytes(onnx_bytes(graph))
        files.append(file)
        # Names and checksums are filled in where the files are copied into the bundle.
        nets.append(ExportedNet(files=(ExportedFile(name="", sha256=""),), cam=graph.cam))
    return nets, files


def _converted(graphs: Sequence[Path], to: EngineKind) -> list[tuple[Path, ...]]:
    """Return the files of each member for an engine, the graph first."""
    return [(graph,) if to == "onnx" else convert(graph) for graph in graphs]


def _engine(files: Sequence[Sequence[Path]], to: EngineKind) -> Engine:
    graphs = [each[0] for each in files]
    return OnnxEngine(graphs) if to == "onnx" else OpenVinoEngine(graphs)


def _exported(to: EngineKind, nets: Sequence[ExportedNet], parity: Parity) -> Exported:
    runtime = "onnxruntime" if to == "onnx" else "openvino"
    used = versions("thorax", "torch", runtime)
    return Exported(kind=to, precision="float32", nets=tuple(nets), parity=parity, versions=used)


def _refuse_other_calibration(bundle: Bundle, part: ValidationPart) -> None:
    """Refuse to refit operating points on images that the bundle does not list as seen."""
    calibration = bundle.manifest.calibration
    reference = part.split.image_set("val", part.rows, dataset=part.store.dataset)
    if calibration is None or calibration.fitted_on.sha256 != reference.sha256:
        fitted = (
            "is not calibrated" if calibration is None else f"was calibrated on {calibration.fitted_on.split}"
        )
        raise BundleError(
            "the operating points of a quantized net are fitted where the bundle was calibrated, and it "
            f"{fitted}, not on {part.split.name}; run thorax calibrate with this split first"
        )
