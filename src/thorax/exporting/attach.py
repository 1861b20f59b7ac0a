"""Adds an exported engine to a bundle if it passes the parity gate."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from thorax.arrays import PixelsBatch, Rows
from thorax.bundle.folder import Bundle
from thorax.bundle.manifest import EngineKind, Exported, ExportedFile, ExportedNet, Parity
from thorax.bundle.writing import attach_engine
from thorax.errors import BundleError
from thorax.evaluation.abstention import choose_bands
from thorax.evaluation.inputs.join import labeled_images
from thorax.evaluation.rates import measure_rates
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

__all__ = ["CHECKED_IMAGES", "evenly_spaced", "export_float32", "export_if_possible", "export_int8"]

CHECKED_IMAGES = 64
"""Images that a float32 engine is compared on.

Its arithmetic differs everywhere or nowhere, and torch needs about 5 s for this many.
"""

_CALIBRATION_IMAGES = 128
"""Images whose activations determine the scales of a quantized network."""


def evenly_spaced(rows: Rows, count: int) -> Int64[np.ndarray, " chosen"]:
    """Return `count` evenly spaced rows, or all of them if there are fewer."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def export_float32(
    bundle: Bundle, pixels: PixelsBatch, *, to: EngineKind = "onnx", compared_on: ImageSet
) -> Bundle:
    """Add the float32 engine to a bundle on disk.

    Args:
        bundle: The bundle, from `load_bundle`.
        pixels: Prepared validation images to compare on, chosen for example by `evenly_spaced`.
        to: The kind of engine.
        compared_on: Describes these images.

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


def export_if_possible(
    bundle: Bundle, pixels: PixelsBatch, *, compared_on: ImageSet
) -> tuple[Bundle, tuple[str, ...]]:
    """Add the float32 engine if possible; otherwise return the bundle unchanged, and the reason.

    Args:
        bundle: The bundle, from `load_bundle`.
        pixels: Prepared validation images to compare on.
        compared_on: Describes these images.

    Returns:
        The bundle, and either nothing or one sentence that gives the reason.
    """
    try:
        return export_float32(bundle, pixels, compared_on=compared_on), ()
    except BundleError as error:
        return bundle, (f"the bundle can only run on torch: {error}",)


def export_int8(
    bundle: Bundle,
    part: ValidationPart,
    *,
    to: EngineKind = "onnx",
    gated: Sequence[str] = (),
    progress: ProgressCallback | None = None,
) -> Bundle:
    """Add the quantized engine to a bundle on disk that has the float32 engine of the same kind.

    The scales come from training images of the same split. On every validation image, the engine is compared
    with the float32 engine, which itself was compared with torch.

    Args:
        bundle: The bundle, from `load_bundle`.
        part: Validation images that the bundle may be calibrated on.
        to: The kind of engine.
        gated: Names of the findings to judge by; empty: all. The others get no operating point in the engine.
        progress: Receives the number of images predicted by each engine.

    Raises:
        BundleError: There is too little validation data, the bundle was calibrated on other images, or the
            engine differs too much from the float32 one. The bundle is unchanged.
        MissingExtra: OpenVINO is not installed.
    """
    store, findings = part.store, bundle.findings
    names = tuple(gated) or bundle.manifest.findings
    targets = store.table.targets(findings)[part.rows]
    refuse_few_positives(targets, findings, names)
    _refuse_other_calibration(bundle, part)
    reference = Predictor(bundle, open_engine(bundle, device="cpu", engine=to))
    train = evenly_spaced(part.split.rows("train"), _CALIBRATION_IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        nets, graphs = _write_graphs(bundle, Path(folder))
        images = store.pixels(train)
        for graph in graphs:
            quantize(graph, graph, images)
        files = _converted(graphs, to)
        comparison = EngineComparison(
            reference.predict_rows(
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
        cohort = labeled_images(store.table.take(part.rows), findings)
        if refitted is not None and points is not None and points.measured is not None:
            rates = measure_rates(
                cohort, comparison.found, refitted.thresholds, measured_on=comparison.compared_on
            )
            refitted = refitted.model_copy(update={"measured": rates})
        old = bundle.manifest.bands
        bands = old and choose_bands(
            cohort,
            comparison.found,
            chosen_on=comparison.compared_on,
            chose_checkpoint=old.chose_checkpoint,
            level=old.level,
        )
        changes = {
            "precision": "int8",
            "operating_points": refitted,
            "bands": bands if refitted else None,
            "quantised_with": part.split.image_set("train", train, dataset=store.dataset),
        }
        return attach_engine(bundle, _exported(to, nets, parity).model_copy(update=changes), files)


def _write_graphs(bundle: Bundle, folder: Path) -> tuple[list[ExportedNet], list[Path]]:
    """Write each member's ONNX graph, and return its entry for the manifest."""
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
        # Names and checksums are filled in when the files are copied into the bundle.
        nets.append(ExportedNet(files=(ExportedFile(name="", sha256=""),), cam=graph.cam))
    return nets, files


def _converted(graphs: Sequence[Path], to: EngineKind) -> list[tuple[Path, ...]]:
    """Return each member's files for an engine, the graph first."""
    return [(graph,) if to == "onnx" else convert(graph) for graph in graphs]


def _engine(files: Sequence[Sequence[Path]], to: EngineKind) -> Engine:
    graphs = [graph for graph, *_ in files]
    return OnnxEngine(graphs) if to == "onnx" else OpenVinoEngine(graphs)


def _exported(to: EngineKind, nets: Sequence[ExportedNet], parity: Parity) -> Exported:
    runtime = "onnxruntime" if to == "onnx" else "openvino"
    used = versions("thorax", "torch", runtime)
    return Exported(kind=to, precision="float32", nets=tuple(nets), parity=parity, versions=used)


def _refuse_other_calibration(bundle: Bundle, part: ValidationPart) -> None:
    """Refuse to refit operating points on images that the bundle was not calibrated on."""
    calibration = bundle.manifest.calibration
    reference = part.split.image_set("val", part.rows, dataset=part.store.dataset)
    if calibration is None or calibration.fitted_on.sha256 != reference.sha256:
        fitted = (
            "is not calibrated" if calibration is None else f"was calibrated on {calibration.fitted_on.split}"
        )
        raise BundleError(
            "the operating points of a quantized network are fitted where the bundle was calibrated, but it "
            f"{fitted}, not on {part.split.name}; calibrate the bundle with this split first"
        )
