"""JSON and Parquet of our own formats: bundles, stores, reports, logs."""

import gzip
import shutil
from pathlib import Path

from tests.long.targets.case import Context, Reader, tried
from thorax.bundle import load_bundle
from thorax.evaluation.inputs.metrics_json import read_metrics, tuned_marks
from thorax.store import open_store
from thorax.training.logbook import read_log

GOLDEN = Path(__file__).parents[2] / "data" / "golden"


def write_samples(folder: Path) -> None:
    """Copy the committed bundle's, store's, run's and report's files."""
    for file in (
        "run/bundle/bundle.json",
        "run/bundle/patients.json",
        "store/store.json",
        "store/table.parquet",
    ):
        shutil.copy(GOLDEN / file, folder)
    shutil.copy(GOLDEN / "run" / "log.jsonl", folder)
    (folder / "metrics.json").write_bytes(gzip.decompress((GOLDEN / "metrics.json.gz").read_bytes()))


def run(context: Context, number: int) -> tuple[dict[str, str], bytes]:
    """Read a case: a task of a `DecodePool`."""
    return tried(context, number, _read), b""


def _read(sample: str) -> tuple[str, Reader]:
    readers: dict[str, Reader] = {
        "bundle.json": _bundle,
        "patients.json": _bundle,
        "store.json": _store,
        "table.parquet": _store,
        "log.jsonl": read_log,
        "metrics.json": lambda path: tuned_marks(read_metrics(path, any_format=True)),
    }
    return sample, readers[sample]


def _beside(path: Path, whole: Path) -> None:
    for file in whole.iterdir():
        if file.name != path.name:
            shutil.copy(file, path.parent)


def _bundle(path: Path) -> object:
    _beside(path, GOLDEN / "run" / "bundle")
    return load_bundle(path.parent)


def _store(path: Path) -> object:
    _beside(path, GOLDEN / "store")
    return open_store(path.parent)
