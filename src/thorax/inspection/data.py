"""What is known about stores, tables and images."""

import csv
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thorax.errors import DataError
from thorax.evaluation.inputs.prediction_csv import read_predictions, usable_predictions
from thorax.imaging import read_guarded
from thorax.inspection.info import Fact, Info
from thorax.outputs import text_size
from thorax.quoting import shell_word
from thorax.store.manifest import DOUBTS, MANIFEST, PLAN, StorePlan, load_section
from thorax.tabular import read_table
from thorax.wording import counted

if TYPE_CHECKING:
    from thorax.store import Store

__all__ = ["finished_store_info", "image_info", "store_info", "table_info"]


def store_info(path: Path) -> Info:
    """Describe a store, finished or not.

    Raises:
        DataError: It is damaged.
    """
    if not (path / MANIFEST).is_file():
        return _unfinished(path)
    from thorax.store import open_store  # noqa: PLC0415  (pyarrow, which the base does not have)

    return finished_store_info(open_store(path))


def finished_store_info(store: "Store") -> Info:
    """Describe a finished store, on this disk or at s3://."""
    from thorax.datasets.splits import build_split  # noqa: PLC0415  (pandas, as above)

    path, table, plan = store.location, store.table, store.manifest
    targets = table.targets(table.findings)
    positives = {
        finding.name: int(count)
        for finding, count in zip(table.findings, (targets == 1).sum(axis=0), strict=True)
    }
    splits = {}
    for name in store.split_sha256:
        with suppress(DataError):
            built = build_split(name, table, dataset=store.dataset, whole_sha256=store.split_sha256)
            splits[built.name] = {part: len(rows) for part, rows in built.parts.items()}
    named = {finding.name: finding.label for finding in table.findings}
    views = {str(view) or "unknown": int(n) for view, n in table.frame["view"].value_counts().items()}
    side = plan.preparation.size
    size = sum(map(plan.shard_bytes, range(plan.num_shards)))
    size += sum(file.stat().st_size for file in store.path.iterdir() if file.suffix != ".npy")
    doubts = _num_lines(store.path / DOUBTS)
    return Info(
        path,
        "store",
        f"a store of {counted(len(store), 'image')} of {counted(store.num_patients, 'patient')}",
        (
            Fact("data_set", store.dataset),
            Fact("num_images", len(store)),
            Fact("num_patients", store.num_patients),
            Fact("size", side, f"{side} x {side}"),
            Fact("fit", plan.preparation.fit),
            Fact("views", views),
            Fact(
                "positives",
                positives,
                ", ".join(f"{named[name]} {count:,}" for name, count in positives.items()),
                "images with",
            ),
            Fact("splits", splits, _splits(splits)),
            Fact("num_rejected", store.num_rejected, _listed(store.num_rejected, path / "rejected.csv")),
            Fact("num_in_doubt", doubts, _listed(doubts, path / DOUBTS)),
            Fact("fingerprint", store.fingerprint),
            Fact("made_with", dict(plan.software)),
            Fact("bytes", size, text_size(size), "on disk"),
        ),
        next_step=f"thorax train RECIPE --store {shell_word(path)} --out RUN",
    )


def _unfinished(path: Path) -> Info:
    plan = load_section(StorePlan, path / PLAN)
    done = [number for number in range(plan.num_shards) if _shard_record(path, number).is_file()]
    rows = sum(len(plan.rows_of(number)) for number in done)
    side = plan.preparation.size
    return Info(
        path,
        "store",
        f"a store that is not finished ({rows:,} of {counted(plan.num_rows, 'image')} are safe)",
        (
            Fact("data_set", plan.dataset),
            Fact("images_planned", plan.num_rows),
            Fact("images_done", rows),
            Fact("size", side, f"{side} x {side}"),
            Fact("fit", plan.preparation.fit),
        ),
        next_step=(
            f"thorax prepare SOURCE --size {side} --fit {plan.preparation.fit} --out {shell_word(path)}"
        ),
    )


def _shard_record(path: Path, number: int) -> Path:
    return path / f"pixels-{number:05d}.json"


def _num_lines(path: Path) -> int:
    """Return how many images a list of the store names."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    except FileNotFoundError:
        return 0


def _listed(number: int, path: Path) -> str:
    return f"{number:,}, listed in {path}" if number else "0"


def _splits(splits: dict[str, dict[str, int]]) -> str:
    return "; ".join(
        f"{name} ({', '.join(f'{part} {count:,}' for part, count in parts.items())})"
        for name, parts in splits.items()
    )


def table_info(path: Path) -> Info:
    """Describe a CSV: predictions, NIH's labels, or another table. No row of it is shown.

    Raises:
        DataError: It cannot be read as CSV.
    """
    table = read_table(path)
    rows = Fact("num_rows", len(table.rows))
    columns = Fact("columns", list(table.header))
    count = counted(len(table.rows), "image")
    if "Finding Labels" in table.header:
        summary, step = (
            f"NIH's label file, of {count}",
            f"thorax prepare {shell_word(path.parent)} --out STORE",
        )
        return Info(path, "labels", summary, (rows, columns), next_step=step)
    try:
        file = read_predictions(path)
        scored, _ = usable_predictions(file)
    except DataError:  # whose message may name an image
        if "path" in table.header:
            summary, step = (
                f"a table of {count} with their paths",
                f"thorax prepare {shell_word(path)} --out STORE",
            )
            return Info(path, "labels", summary, (rows, columns), next_step=step)
        # Without the names of its columns: of a table without a header they are a patient's.
        return Info(
            path,
            "table",
            f"a table of {counted(len(table.rows), 'row')}, not of probabilities",
            (rows, Fact("num_columns", len(table.header))),
        )
    findings = counted(len(file.findings), "finding")
    if "path" in table.header and np.isin(file.values, (-1.0, 0.0, 1.0)).all(where=~np.isnan(file.values)):
        summary = f"labels of {findings} for {count}, with their paths"
        step = f"thorax prepare {shell_word(path)} --out STORE"
        return Info(path, "labels", summary, (rows, columns), next_step=step)
    return Info(
        path,
        "predictions",
        f"predictions of {findings} for {counted(len(scored.images), 'image')}",
        (
            Fact("num_images", len(scored.images)),
            Fact("num_rows_left_out", len(file.images) - len(scored.images), label="rows left out"),
            Fact("findings", [finding.name for finding in file.findings]),
            Fact("columns_not_used", list(file.ignored)),
            Fact("sha256", file.sha256, label="SHA-256"),
        ),
        next_step=f"thorax evaluate --predictions {shell_word(path)} --store STORE --out REPORT",
    )


def image_info(path: Path) -> Info:
    """Describe how an image is read. The patient's age and sex, and all names, are left out.

    Raises:
        ImageError: It cannot be used as a chest radiograph.
    """
    radiograph = read_guarded(path)
    height, width = radiograph.pixels.shape
    origin = radiograph.origin
    spacing = radiograph.spacing_mm
    return Info(
        path,
        "image",
        f"a {origin.format} image",
        (
            Fact("width", width, f"{width:,} pixels"),
            Fact("height", height, f"{height:,} pixels"),
            Fact("bits", origin.bits, f"{origin.bits} as stored, {radiograph.pixels.itemsize * 8} as read"),
            Fact("gray_values", origin.intensity),
            Fact("view", radiograph.view.value or None, radiograph.view.value or "not stated"),
            Fact("laterality", radiograph.laterality or None, radiograph.laterality or "not stated"),
            Fact(
                "spacing_mm",
                None if spacing is None else list(spacing),
                "not stated" if spacing is None else f"{spacing[0]:.3f} x {spacing[1]:.3f}",
                "spacing in mm",
            ),
            Fact("bytes", path.stat().st_size, text_size(path.stat().st_size), "on disk"),
        ),
        origin.doubts,
        f"thorax predict {shell_word(path)}",
    )
