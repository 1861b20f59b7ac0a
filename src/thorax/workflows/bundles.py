"""`calibrate`, `ensemble`, `export` and `import_checkpoint`: make bundles from bundles and checkpoints."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from thorax.atomic_io import StrPath, write_bytes
from thorax.bundle import Bundle, load_bundle, merged_images, new_bundle_folder, seen_images, write_bundle
from thorax.bundle.manifest import EngineKind
from thorax.bundle.split_source import split_source
from thorax.bundle.writing import copy_bundle, refuse_copy
from thorax.errors import BundleError, RecipeError
from thorax.evaluation.abstention import check_level
from thorax.findings import Finding, parse_findings, select_findings
from thorax.hardware import refuse_unknown_device
from thorax.inference.engines import open_predictor
from thorax.inference.ensemble import (
    Fitting,
    ValidationPart,
    build_ensemble,
    validation_part,
    with_test_time,
    write_calibrated,
)
from thorax.inference.predictor import Predictor
from thorax.notebook import facts, notes, page, shortened
from thorax.outputs import refuse_full
from thorax.packages import require
from thorax.progress import ProgressCallback
from thorax.recipe.literals import (
    STANDARD_LEVEL,
    CalibrationKind,
    Fit,
    ForeignKind,
    MeanOf,
    MemberWeights,
    OperatingPointRule,
)
from thorax.recipe.load import load_test_time
from thorax.store import open_store
from thorax.workflows.storeless_export import phantom_pixels, refuse_without_store

__all__ = ["WrittenBundle", "calibrate", "ensemble", "export", "import_checkpoint"]


_IDLE: Final = 0.0005
"""A weight that is shown as 0.000."""


@dataclass(frozen=True, slots=True, repr=False)
class WrittenBundle:
    """A bundle that was just written or changed.

    Attributes:
        bundle: The bundle in its folder.
        notices: Notices for the user, one sentence each.
    """

    bundle: Bundle
    notices: tuple[str, ...] = ()

    def __fspath__(self) -> str:
        """Return the bundle's folder, so that this may be given wherever a bundle's path may."""
        return str(self.bundle.folder)

    def __repr__(self) -> str:
        return (
            f"WrittenBundle({shortened(str(self.bundle.folder))!r}: {self._calibration()}, {self._engines()})"
        )

    def _repr_html_(self) -> str:
        manifest = self.bundle.manifest
        points = manifest.operating_points
        return page(
            f"Bundle {manifest.name}",
            facts(
                [
                    ("Folder", str(self.bundle.folder)),
                    ("Findings", ", ".join(finding.label for finding in self.bundle.findings)),
                    ("Members", str(len(manifest.members))),
                    ("Probabilities", self._calibration()),
                    ("Thresholds", points.rule if points else "none"),
                    ("Not decided", manifest.bands.promise if manifest.bands else "no bands"),
                    ("Engines", self._engines()),
                ]
            ),
            notes(self.notices),
        )

    def _calibration(self) -> str:
        calibration = self.bundle.manifest.calibration
        return "not calibrated" if calibration is None else f"calibrated ({calibration.kind})"

    def _engines(self) -> str:
        return ", ".join(
            [
                *(["torch"] if self.bundle.manifest.has_weights else []),
                *(f"{each.kind} {each.precision}" for each in self.bundle.manifest.engines),
            ]
        )


def calibrate(
    bundle: StrPath,
    store: StrPath,
    out: StrPath,
    *,
    split: str | None = None,
    kind: CalibrationKind = "temperature",
    rule: OperatingPointRule = "f1-optimal",
    level: float = STANDARD_LEVEL,
    test_time: Sequence[str] = (),
    device: str = "auto",
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> WrittenBundle:
    """Write a bundle with calibration, operating points and bands set anew on the validation part.

    Args:
        bundle: A bundle, or the run that made it.
        store: A store with the preparation of the bundle.
        out: Folder of the calibrated bundle.
        split: Name of the split; the bundle's own if None.
        kind: One temperature, or Platt's scaling of each finding.
        rule: Rule that chooses the thresholds.
        level: Level of the bands in which a finding is not decided, at least 0.5 and below 1: on average at
            most the rest of the patients with a finding get a no, and of those without it a yes. At 0.9 a
            band needs 9 validation patients with the finding and 9 without it, at 0.8 four.
        test_time: Changes to test-time augmentation, such as "flip=true".
        device: "auto", "cpu", "cuda" or "cuda:N".
        overwrite: Replace an existing bundle in `out`.
        progress: Receives the number of predicted images.

    Raises:
        BundleError: There is no bundle, it has no weights, or no split is given and it was not trained on
            exactly one.
        DataError: The store is prepared otherwise, `out` holds something else, or the level is out of range.
        LeakError: Training saw patients of the part, or a split that a member was trained on tests on them.
        RecipeError: A setting of the views is unknown.
        MissingExtra: Torch, which makes the engine of the calibrated bundle, is not installed.

    Example:
        calibrated = thorax.calibrate("run", store, "calibrated", kind="platt")
    """
    require("torch", "the engine of a calibrated bundle")
    check_level(level)
    refuse_unknown_device(device)
    opened, images, folder = load_bundle(bundle), open_store(store), Path(out)
    opened.require_weights("a calibrated bundle")
    refuse_full(folder, needed=_copy_size([opened]))
    with new_bundle_folder(folder, overwrite=overwrite, sources=[opened]):
        changed = with_test_time(opened, lambda current: load_test_time(current, test_time))
        part = validation_part(changed, images, split)
        images.verify()
        # On a CPU, this is the exported engine if test-time augmentation did not change.
        predictor = open_predictor(changed, device=device)
        fitting = Fitting(kind=kind, rule=rule, level=level)
        written = write_calibrated(predictor, part, folder, fitting=fitting, progress=progress)
        return _with_engine(written, part)


def ensemble(
    bundles: Sequence[StrPath],
    out: StrPath,
    *,
    name: str = "ensemble",
    mean_of: MeanOf = "probabilities",
    store: StrPath | None = None,
    split: str | None = None,
    weights: MemberWeights = "equal",
    rule: OperatingPointRule = "f1-optimal",
    device: str = "auto",
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> WrittenBundle:
    """Average the outputs of several bundles; weights and calibration are fitted on validation.

    Args:
        bundles: Two or more bundles, or the runs that made them.
        out: Folder of the ensemble's bundle.
        name: Name of the ensemble.
        mean_of: What is averaged.
        store: A store to calibrate it on; without one it stays uncalibrated.
        split: Name of the split; the members' own if None.
        weights: Equal weights, or weights fitted on validation.
        rule: Rule that chooses the thresholds.
        device: "auto", "cpu", "cuda" or "cuda:N".
        overwrite: Replace an existing bundle in `out`.
        progress: Receives the number of predicted images.

    Raises:
        BundleError: The bundles cannot be averaged, or were not trained on one split and none is given.
        DataError: The store is prepared otherwise, or `out` holds something else.
        LeakError: As for `calibrate`.
        RecipeError: Weights are to be fitted without a store.

    Example:
        ensemble = thorax.ensemble(["run", calibrated], "ensemble", store=store)
    """
    if store is None and weights == "validation":
        raise RecipeError("`weights=validation` needs `store`: the weights are fitted on its images")
    refuse_unknown_device(device)
    members, folder = [load_bundle(path) for path in bundles], Path(out)
    refuse_full(folder, needed=_copy_size(members))
    with new_bundle_folder(folder, overwrite=overwrite, sources=members):
        combined = build_ensemble(members, folder, name=name, mean_of=mean_of)
        seen = merged_images([seen_images(member) for member in members])
        gate = members[0].manifest.gate
        if gate and all(member.manifest.gate for member in members):  # each of much the same images
            write_bytes(folder / gate.name, (members[0].folder / gate.name).read_bytes())
            changes = {"gate": gate, "format": 2}
            combined = replace(combined, manifest=combined.manifest.model_copy(update=changes))
        if store is None:
            written = write_bundle(
                folder,
                combined.manifest,
                weights=combined.weights,
                patients=combined.patients,
                seen=seen,
                gate=combined.gate_file,
            )
            return WrittenBundle(written)
        images = open_store(store)
        part = validation_part(combined, images, split or (combined.split and split_source(members[0])))
        images.verify()
        # Only now: torch takes seconds to import, and the errors above are reported at once.
        from thorax.inference.torch_engine import TorchEngine

        predictor = Predictor(combined, TorchEngine(combined, device=device))
        fitting = Fitting(rule=rule, ensemble_weights=weights == "validation")
        calibrated = write_calibrated(predictor, part, folder, fitting=fitting, seen=seen, progress=progress)
        finished = _with_engine(calibrated, part)
        return replace(finished, notices=(*finished.notices, *_idle_members(finished.bundle)))


def _idle_members(bundle: Bundle) -> tuple[str, ...]:
    """Return a notice of the members of an ensemble whose weight makes no difference."""
    weights = () if bundle.manifest.ensemble is None else bundle.manifest.ensemble.weights
    idle = [str(number) for number, weight in enumerate(weights, start=1) if weight < _IDLE]
    if not idle:
        return ()
    which = f"member {idle[0]} has" if len(idle) == 1 else f"members {', '.join(idle)} have"
    return (f"{which} a weight below {_IDLE:g} and changes nothing, but costs time in every prediction",)


def _copy_size(bundles: Sequence[Bundle]) -> int:
    """Return about how many bytes bundles take: their weights, and a graph that is as large."""
    files = {file for bundle in bundles for file in bundle.weights.values()}
    return 2 * sum(file.stat().st_size for file in files)


def _with_engine(bundle: Bundle, part: ValidationPart) -> WrittenBundle:
    """Add the engine without torch to a calibrated bundle, or a notice that says why it has none."""
    from thorax.exporting import CHECKED_IMAGES, evenly_spaced, export_if_possible

    assert bundle.manifest.calibration is not None
    pixels = part.store.pixels(evenly_spaced(part.rows, CHECKED_IMAGES))
    return WrittenBundle(
        *export_if_possible(bundle, pixels, compared_on=bundle.manifest.calibration.fitted_on)
    )


def export(
    bundle: StrPath,
    store: StrPath | None = None,
    *,
    to: EngineKind = "onnx",
    int8: bool = False,
    gated: Sequence[str] = (),
    split: str | None = None,
    on_phantoms: bool = False,
    out: StrPath | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> WrittenBundle:
    """Add an exported engine to a bundle, if it agrees with torch on validation images.

    Args:
        bundle: A bundle, or the run that made it.
        store: A store prepared as the bundle requires, for the comparison; None only with `on_phantoms`.
        to: The engine to add.
        int8: Also add a quantized engine, if it agrees well enough with the exact one. It is used only if
            named.
        gated: Names of the findings that the quantized engine is judged by; empty means all.
        split: Name of the split; the bundle's own if None.
        on_phantoms: Whether to compare on radiographs drawn by `phantom`, without a store. It is then not
            known whether the engine agrees on images like those that it will predict.
        out: Folder of a copy that gets the engine; the bundle itself gets it if None.
        overwrite: Replace an existing bundle in `out`.
        progress: Receives the number of images predicted to judge the quantized engine.

    Raises:
        BundleError: The bundle has no weights, or an engine is too far from what it is compared with. An
            exact one that agrees is kept.
        DataError: The store is prepared otherwise, or there is none and `on_phantoms` is false or `int8` is
            set; or `out` holds something else.
        LeakError: The quantized engine would be fitted on other images than the bundle was calibrated on.
        RecipeError: `gated` is given without `int8`.

    Example:
        exported = thorax.export("run", store, out="exported")
    """
    if gated and not int8:
        raise RecipeError("`gated` says what a quantized engine is judged by; set `int8` too")
    copy = None if out is None else Path(out)
    opened = load_bundle(bundle)
    opened.require_weights("an export")
    select_findings(gated, opened.findings, setting="gated")
    if store is None:
        refuse_without_store(opened, int8=int8, on_phantoms=on_phantoms)
    # Weights and graph of a copy, or the graph alone, which is as large as the weights.
    if copy is None:
        refuse_copy(opened)
    refuse_full(copy or opened.folder, needed=_copy_size([opened]) // (1 if copy else 2))
    part = None if store is None else validation_part(opened, open_store(store), split)
    with nullcontext() if copy is None else new_bundle_folder(copy, overwrite=overwrite, sources=[opened]):
        if part is not None:
            part.store.verify()
        if copy is not None:
            opened = copy_bundle(opened, copy)
        # Only now: torch takes seconds to import, and the errors above are reported at once.
        from thorax.exporting import CHECKED_IMAGES, evenly_spaced, export_float32, export_int8

        if part is None:
            pixels, compared_on = phantom_pixels(opened.manifest.preparation, CHECKED_IMAGES // 4)
        else:
            compared_on = part.split.image_set("val", part.rows, dataset=part.store.dataset)
            pixels = part.store.pixels(evenly_spaced(part.rows, CHECKED_IMAGES))
        opened = export_float32(opened, pixels, to=to, compared_on=compared_on)
        if int8 and part is not None:
            opened = export_int8(opened, part, to=to, gated=gated, progress=progress)
        return WrittenBundle(opened)


def import_checkpoint(
    file: StrPath,
    kind: ForeignKind,
    out: StrPath,
    *,
    name: str | None = None,
    findings: Sequence[str] | str | None = None,
    backbone: str | None = None,
    input_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    fit: Fit | None = None,
    overwrite: bool = False,
) -> WrittenBundle:
    """Convert another project's checkpoint into a bundle, without running its code; every tensor must match.

    Args:
        file: The checkpoint: safetensors, what `torch.save` wrote, or an HDF5 file of Keras.
        kind: The project that it comes from.
        out: Folder of the bundle.
        name: Name of the model; the file's name if None.
        findings: Findings of the outputs, in order: names, empty where an output is left out; or "NIH14" or
            "NIH15".
        backbone: The network's name in its project, such as "densenet121-res224-nih" or "resnet50".
        input_size: Side of the network's input in pixels.
        mean: Mean of each channel that the network was trained with, for pixels in [0, 1].
        std: Standard deviation of each channel.
        fit: How its training images became square.
        overwrite: Replace an existing bundle in `out`.

    Raises:
        BundleError: The file cannot be read, holds more than weights, or gives other logits than in its own
            architecture.
        DataError: `out` holds something else.
        RecipeError: Something that only the user can know was not given, or is impossible.
    """
    source = Path(file)
    if not source.is_file():
        raise BundleError(f"{source} is not a file that exists; give the checkpoint of another project")
    refuse_full(Path(out), needed=source.stat().st_size)
    with new_bundle_folder(Path(out), overwrite=overwrite):
        from thorax.checkpoints.foreign_net import ForeignOptions
        from thorax.checkpoints.importer import read_foreign, write_imported

        options = ForeignOptions(
            findings=None if findings is None else _parse_outputs(findings),
            backbone=backbone,
            input_size=input_size,
            mean=None if mean is None else tuple(mean),
            std=None if std is None else tuple(std),
            fit=fit,
        )
        checkpoint = read_foreign(Path(file), kind, options)
        written = write_imported(checkpoint, Path(out), name=name or Path(file).stem.split(".")[0])
        return WrittenBundle(written, checkpoint.notes)


def _parse_outputs(findings: Sequence[str] | str) -> tuple[Finding | None, ...]:
    """Return the finding of each output, or None where its name is empty."""
    if isinstance(findings, str):
        return parse_findings(findings)
    names = [name.strip() for name in findings]
    named = iter(parse_findings([name for name in names if name]))
    return tuple(next(named) if name else None for name in names)
