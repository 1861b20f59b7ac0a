"""`audit`: check a split, a store and a model's results for errors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from thorax.atomic_io import StrPath, sha256_of_file
from thorax.auditing import (
    Audit,
    Evidence,
    Lists,
    Locator,
    Problem,
    audit_predictions,
    lists_of_split,
    locate_parts,
    only_of_part,
    read_boxed_images,
    read_image_list,
    read_listed_labels,
    read_part_lists,
)
from thorax.auditing import audit as run_audit
from thorax.calibration import sigmoid
from thorax.datasets.split_files import is_plain_list
from thorax.datasets.splits import PARTS, build_split
from thorax.errors import DataError
from thorax.evaluation.inputs.metrics_json import read_metrics
from thorax.evaluation.inputs.prediction_csv import PredictionFile, read_predictions
from thorax.progress import ProgressCallback
from thorax.store import Store
from thorax.workflows.predictions import (
    BundleLike,
    PartPredictions,
    StoreLike,
    StorePart,
    labels_of,
    opened_bundle,
    opened_store,
)

__all__ = ["audit", "audit_bundle", "audit_file"]

_NOT_COMPARED: Final = (
    "note",
    "Not looked at: identical, nearly identical and blank images. `thorax audit` searches for them.",
)


def audit(
    store: StoreLike,
    *,
    split: str = "",
    lists: Mapping[str, StrPath] | None = None,
    part: str = "test",
    predictions: StrPath | None = None,
    bundle: BundleLike | None = None,
    metrics: StrPath | None = None,
    boxes: StrPath | None = None,
    pixels: bool = True,
    progress: ProgressCallback | None = None,
) -> Audit:
    """Check what is given for every error that can be detected.

    Args:
        store: A store with the images and labels, or its folder.
        split: Name of the split, or "file:PATH" of a list of its parts; or
        lists: A file that lists the images of each part, by "train", "val" and "test".
        part: The part that is, or will be, evaluated.
        predictions: CSV of a model's probabilities.
        bundle: The model: a bundle, its folder, or the run that made it.
        metrics: A `metrics.json` of an evaluation.
        boxes: CSV of boxes; None means the store's own.
        pixels: Whether to search for identical and nearly identical images, which reads every image.
        progress: Called while images are compared.

    Raises:
        DataError: Neither a split nor lists are given, or both; or one of the files cannot be read.
        BundleError: The bundle is damaged.

    Example:
        audit = thorax.audit(store, split="folder-official", bundle="run")
        audit.failed
    """
    files = {name: Path(file) for name, file in (lists or {}).items()}
    opened = opened_store(store)
    locator = Locator(opened.table, opened.dataset)
    listed = _read_lists(opened, locator, split, files)
    if part not in PARTS:
        raise DataError(f"there is no part {part!r} in {listed.name}; the parts are {', '.join(PARTS)}")
    if split.startswith("file:"):
        files = {"": Path(split.removeprefix("file:"))}
    labels = [read_listed_labels(file) for file in files.values()]
    evidence = Evidence(
        part=part,
        predictions=read_predictions(Path(predictions), findings=opened.table.findings)
        if predictions
        else None,
        bundle=opened_bundle(bundle) if bundle else None,
        metrics=read_metrics(Path(metrics), any_format=True) if metrics else None,
        labels=tuple(listed_labels for listed_labels in labels if listed_labels is not None),
        boxed=read_boxed_images(Path(boxes), locator) if boxes else None,
        pixels=pixels,
    )
    return run_audit(opened, listed, evidence, progress=progress)


def _read_lists(store: Store, locator: Locator, split: str, files: Mapping[str, Path]) -> Lists:
    """Return the lists of the named split, of its file, or of one file per part."""
    if bool(split) == bool(files):
        raise DataError(
            f"{store.location} can be audited with `split` or with lists of its images, and "
            f"{'both are' if split else 'neither is'} given; give one, such as `split=nih-official`"
        )
    if files:
        return locate_parts("lists", {part: read_image_list(file) for part, file in files.items()}, locator)
    file = Path(split.removeprefix("file:"))
    if split.startswith("file:") and not is_plain_list(file):
        return locate_parts(f"file:{file.name}", read_part_lists(file), locator)
    built = build_split(split, store.table, dataset=store.dataset, whole_sha256=store.split_sha256)
    return lists_of_split(built, store.dataset)


# ---- within `evaluate` -----------------------------------------------------------------------------------


def audit_bundle(part: StorePart, *, pixels: bool = True) -> tuple[tuple[str, str], ...]:
    """Audit a bundle on the part that it is evaluated on; return severity and text of each problem.

    Args:
        part: The part, with its store and bundle.
        pixels: Whether to search for identical and nearly identical images; a note says where it was not.
    """
    evidence = Evidence(part=part.selection.part, bundle=part.bundle, pixels=pixels)
    return _evaluated(part.store, lists_of_split(part.split, part.store.dataset), evidence)


def audit_file(
    rows: PredictionFile,
    data: Store | Path,
    predicted: PartPredictions,
    *,
    part: str,
    logits: bool = False,
    pixels: bool = True,
) -> tuple[tuple[str, str], ...]:
    """Audit a file of predictions: with a store and a split as `audit` does, else what shows without.

    Args:
        rows: The predictions as read.
        data: A store, or a label file.
        predicted: What is evaluated.
        part: The part that it is evaluated on.
        logits: Whether the predictions are logits.
        pixels: Whether to search a store for identical and nearly identical images.

    Returns:
        Severity and text of each problem.
    """
    known = labels_of(data)
    if logits:
        rows = replace(rows, values=sigmoid(rows.values))
    if isinstance(data, Store) and predicted.split is not None:
        lists = lists_of_split(predicted.split, known.dataset)
        # The evaluation leaves out rows for images of other parts.
        rows = only_of_part(rows, Locator(data.table, data.dataset), lists, part)
        return _evaluated(data, lists, Evidence(part=part, predictions=rows, pixels=pixels))
    label_files = {data.name: sha256_of_file(data)} if isinstance(data, Path) else {}
    problems = audit_predictions(rows, known.table, known.dataset, label_files=label_files)
    looked = "Looked at: the predictions' values and ranking, and the version of the labels. Not looked at: "
    rest = "the split, its patients and images. Give a store and a split for these."
    return (*_lines(problems), ("note", looked + rest))


def _evaluated(store: Store, lists: Lists, evidence: Evidence) -> tuple[tuple[str, str], ...]:
    lines = _lines(run_audit(store, lists, evidence).problems)
    return lines if evidence.pixels else (*lines, _NOT_COMPARED)


def _lines(problems: Sequence[Problem]) -> tuple[tuple[str, str], ...]:
    """Return severity and text of each problem, for a report."""
    lines = []
    for problem in problems:
        examples = f" ({', '.join(problem.examples)})" if problem.examples else ""
        remedy = f"{problem.remedy[0].upper()}{problem.remedy[1:]}"
        lines.append((problem.severity, f"{problem.what}{examples}. {remedy}."))
    return tuple(lines)
