"""`gate`: fit the input gate of a bundle, on the images that it was trained on."""

from contextlib import nullcontext
from pathlib import Path
from typing import Final

from thorax import starter
from thorax.atomic_io import StrPath
from thorax.bundle import Bundle, attach_gate, copy_bundle, load_bundle, new_bundle_folder
from thorax.bundle.input_gate import gate_bytes
from thorax.errors import BundleError, DataError
from thorax.gating import fit_store_gate, too_few
from thorax.inference.ensemble import validation_part
from thorax.outputs import refuse_full
from thorax.progress import ProgressCallback
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

    The gate recognizes what is not an upright frontal chest radiograph like those of the training part.
    `train` fits one by itself. Probabilities stay as they are.

    Args:
        bundle: A bundle, or the run that made it.
        store: A store prepared as the bundle requires.
        split: Name of the split; the bundle's own if None.
        out: Folder of a copy that gets the gate; the bundle itself gets it if None.
        overwrite: Replace the gate that the bundle has, or an existing bundle in `out`.
        progress: Receives the number of steps.

    Raises:
        BundleError: There is no bundle, it is the starter and `out` is None, or no split is given and it was
            not trained on exactly one.
        DataError: The store is prepared otherwise or has too few images, the bundle has a gate and neither
            `out` nor `overwrite` is given, or `out` holds something else.
        LeakError: Training saw patients of the validation part; see `calibrate`.
    """
    opened, images = load_bundle(bundle), open_store(store)
    copy = None if out is None else Path(out)
    if copy is None:
        _refuse_change(opened, overwrite=overwrite)
    part = validation_part(opened, images, split)
    train = part.split.rows("train")
    reason = too_few(len(train), len(part.rows))
    if reason:
        raise DataError(f"{images.path}: {reason}; give the store that the bundle was trained on")
    refuse_full(copy or opened.folder, needed=_SPARE)
    with nullcontext() if copy is None else new_bundle_folder(copy, overwrite=overwrite, sources=[opened]):
        images.verify()
        fitted = fit_store_gate(
            images,
            train=(train, part.split.image_set("train", train, dataset=images.dataset)),
            val=(part.rows, part.split.image_set("val", part.rows, dataset=images.dataset)),
            progress=progress,
        )
        if copy is not None:
            opened = copy_bundle(opened, copy)
        return WrittenBundle(attach_gate(opened, fitted.section, gate_bytes(fitted.numbers)))


def _refuse_change(bundle: Bundle, *, overwrite: bool) -> None:
    if starter.is_starter(bundle.folder):
        raise BundleError(
            f"{bundle.folder} is part of the installation, which stays as it is; name the folder of a copy "
            "with `out`"
        )
    if bundle.manifest.gate is not None and not overwrite:
        raise DataError(
            f"{bundle.folder} has an input gate already; set `overwrite` to replace it, or give a folder for "
            "a copy as `out`"
        )
