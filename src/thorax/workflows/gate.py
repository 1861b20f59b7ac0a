"""`gate`: fit the input gate of a bundle, and note how validation images are predicted behind it."""

from contextlib import nullcontext
from pathlib import Path
from typing import Final

from thorax import starter
from thorax.arrays import Rows
from thorax.atomic_io import StrPath
from thorax.bundle import (
    Bundle,
    attach_gate,
    copy_bundle,
    load_bundle,
    new_bundle_folder,
)
from thorax.bundle.input_gate import gate_bytes
from thorax.bundle.writing import refuse_copy
from thorax.errors import BundleError, DataError
from thorax.gating import fit_store_gate, too_few
from thorax.gating.fit import FittedGate
from thorax.image_set import ImageSet
from thorax.inference.engines import open_predictor
from thorax.inference.ensemble import ValidationPart, validation_part
from thorax.inference.validation import with_distribution
from thorax.outputs import refuse_full
from thorax.progress import ProgressCallback, stage_progress
from thorax.store import open_store
from thorax.workflows.bundles import WrittenBundle

__all__ = ["gate"]

_SPARE: Final = 2**20
"""Bytes that are surely enough for a gate."""


def gate(
    bundle: StrPath,
    store: StrPath,
    *,
    split: str | None = None,
    out: StrPath | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> WrittenBundle:
    """Fit an input gate on the training part, set its limits on validation, and add it to a bundle.

    The gate recognizes what is not an upright frontal chest radiograph like those of the training part. The
    bundle also gets the distribution of its probabilities, decisions and gate scores on validation, which
    monitoring compares with; one that has a gate and lacks this alone keeps its gate. `train` does both by
    itself. Probabilities stay as they are.

    Args:
        bundle: A bundle, or the run that made it.
        store: A store prepared as the bundle requires.
        split: Name of the split; the bundle's own if None.
        out: Folder of a copy that gets the gate; the bundle itself gets it if None.
        overwrite: Fit anew the gate that the bundle has, or replace an existing bundle in `out`.
        progress: Receives the numbers of pictures, steps and images.

    Raises:
        BundleError: There is no bundle, it is the starter and `out` is None, or no split is given and it was
            not trained on exactly one.
        DataError: The store is prepared otherwise or has too few images, the bundle has both already and
            neither `out` nor `overwrite` is given, or `out` holds something else.
        LeakError: Training saw patients of the validation part; see `calibrate`.
    """
    opened, images = load_bundle(bundle), open_store(store)
    copy = None if out is None else Path(out)
    if copy is None:
        _refuse_change(opened, overwrite=overwrite)
    part = validation_part(opened, images, split)
    fits = opened.manifest.gate is None or opened.manifest.distribution is not None or overwrite
    if fits:
        _refuse_too_few(part)
    refuse_full(copy or opened.folder, needed=_SPARE)
    with nullcontext() if copy is None else new_bundle_folder(copy, overwrite=overwrite, sources=[opened]):
        images.verify()
        fitted = _fitted(part, progress) if fits else None
        if copy is not None:
            opened = copy_bundle(opened, copy)
        if fitted is not None:
            opened = attach_gate(opened, fitted.section, gate_bytes(fitted.numbers))
        return WrittenBundle(_with_distribution(opened, part, progress))


def _refuse_change(bundle: Bundle, *, overwrite: bool) -> None:
    refuse_copy(bundle)
    if starter.is_starter(bundle.folder):
        raise BundleError(
            f"{bundle.folder} is part of the installation, which stays as it is; name the folder of a copy "
            "with `out`"
        )
    manifest = bundle.manifest
    if manifest.gate is not None and manifest.distribution is not None and not overwrite:
        raise DataError(
            f"{bundle.folder} has an input gate already; set `overwrite` to replace it, or give a folder for "
            "a copy as `out`"
        )


def _refuse_too_few(part: ValidationPart) -> None:
    reason = too_few(len(part.split.rows("train")), len(part.rows))
    if reason:
        raise DataError(f"{part.store.location}: {reason}; give the store that the bundle was trained on")


def _fitted(part: ValidationPart, progress: ProgressCallback | None) -> FittedGate:
    store, train = part.store, part.split.rows("train")
    return fit_store_gate(
        store,
        train=(train, _images(part, "train", train)),
        val=(part.rows, _images(part, "val", part.rows)),
        progress=progress,
    )


def _with_distribution(bundle: Bundle, part: ValidationPart, progress: ProgressCallback | None) -> Bundle:
    """Return the bundle with the distribution of its validation images, as it predicts them now."""
    count = stage_progress(progress, "predicting")
    predictor = open_predictor(bundle)
    probabilities = predictor.predict_rows(part.store.pixels, part.rows, progress=count)
    return with_distribution(
        bundle, part.store, part.rows, probabilities, measured_on=_images(part, "val", part.rows)
    )


def _images(part: ValidationPart, name: str, rows: Rows) -> ImageSet:
    return part.split.image_set(name, rows, dataset=part.store.dataset)
