"""Recognizes what a path holds, by its content."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from thorax.atomic_io import StrPath, is_remote, open_regular
from thorax.bundle.absent import is_run, seed_runs
from thorax.bundle.files import MANIFEST, STARTER, bundle_folder
from thorax.errors import DataError, RecipeError, UnsupportedImage
from thorax.imaging.read import image_format
from thorax.inspection.data import finished_store_info, image_info, store_info, table_info
from thorax.inspection.info import Fact, Info, counted
from thorax.inspection.models import bundle_info, run_info, seeds_info, study_info
from thorax.inspection.results import RESULTS, result_info
from thorax.objects.client import described
from thorax.objects.place import Place, place_of
from thorax.outputs import text_size
from thorax.quoting import shell_word
from thorax.recipe.load import load_recipe
from thorax.run_files import STUDY
from thorax.store.manifest import MANIFEST as STORE
from thorax.store.manifest import PLAN

__all__ = ["info"]

_HEAD: Final = 1 << 10
_NIH: Final = "Data_Entry_2017_v2020.csv"
_WEIGHTS: Final = frozenset(
    {".pth", ".pt", ".ckpt", ".bin", ".tar", ".safetensors", ".h5", ".hdf5", ".keras"}
)
_ENDINGS: Final = _WEIGHTS | {
    ".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".csv", ".tsv", ".json", ".jsonl", ".toml", ".txt", ".zip",
    ".gz", ".html", ".md", ".svg", ".pdf", ".onnx",
}  # fmt: skip
"""Endings of files that are shown; in others, such as that of a DICOM file without one, is part of a name."""

_MOST_FILES: Final = 100_000


def info(path: StrPath) -> Info:
    """Say what a path holds, and what is known about it; nothing about a patient.

    Args:
        path: A bundle, a run, a folder of runs, a study, a store, a report, a folder of images; a bundle, a
            finished run or a store at s3://; or a file of a result, of predictions or labels, a recipe, an
            image or a DICOM file.

    Raises:
        DataError: The path does not exist, or the file is nothing that Thorax reads.
        BundleError: It is a bundle that this version cannot use.
        ImageError: It is an image that cannot be used as a chest radiograph; the message says why.

    Example:
        print(thorax.info("run").summary)
    """
    given = Path(path)
    if given == Path(STARTER) and not given.exists():
        return bundle_info(bundle_folder(given))
    if is_remote(given):
        return _far(place_of(given))
    if not given.exists():
        raise DataError(f"{given} does not exist; correct the path")
    return _folder(given) if given.is_dir() else _file(given)


def _far(place: Place) -> Info:
    """Describe a store or a bundle at s3://, by its copy."""
    if described(place / STORE) is not None:
        from thorax.store import open_store  # noqa: PLC0415  (pyarrow, which the base does not have)

        return finished_store_info(open_store(str(place)))
    copied = bundle_info(bundle_folder(str(place)))
    step = f"thorax predict {shell_word(str(place))} IMAGE"
    return replace(copied, path=Path(str(place)), next_step=step)


def _folder(path: Path) -> Info:
    known: tuple[tuple[bool, Callable[[Path], Info]], ...] = (
        (is_run(path), run_info),
        ((bundle_folder(path) / MANIFEST).is_file(), bundle_info),
        ((path / STORE).is_file() or (path / PLAN).is_file(), store_info),
        ((path / STUDY).is_file(), study_info),
        (bool(seed_runs(path)), seeds_info),
        (any((path / name).is_file() for name in RESULTS), result_info),
    )
    return next((describe for is_one, describe in known if is_one), _other_folder)(path)


def _other_folder(path: Path) -> Info:
    endings: Counter[str] = Counter()
    for number, file in enumerate(path.rglob("*")):
        if number >= _MOST_FILES:
            break
        if file.is_file():
            ending = file.suffix.lower()
            endings[ending if ending in _ENDINGS else "another ending" if ending else "no ending"] += 1
    facts = (Fact("num_files", endings.total()), Fact("endings", dict(endings.most_common(8))))
    if (path / _NIH).is_file():
        return Info(
            path, "data set", "a data set in the layout of NIH ChestX-ray14", facts,
            next_step=f"thorax prepare {shell_word(path)} --out STORE",
        )  # fmt: skip
    parts = [part for part in ("train", "val", "test") if (path / part).is_dir()]
    if parts:
        return Info(
            path, "data set", f"a data set with the folders {', '.join(parts)}", facts,
            next_step=f"thorax prepare {shell_word(path)} --out STORE",
        )  # fmt: skip
    return Info(
        path, "folder", f"a folder with {counted(endings.total(), 'file')}", facts,
        next_step=f"thorax predict {shell_word(path)}",
    )  # fmt: skip


def _file(path: Path) -> Info:
    try:
        with open_regular(path) as opened:
            head = opened.read(_HEAD)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a file or folder") from error
    if path.name in {MANIFEST, STORE, PLAN}:
        return _folder(path.parent)
    name = path.name.lower()
    known: tuple[tuple[bool, Callable[[Path], Info]], ...] = (
        (name.endswith(".toml"), _recipe),
        (name.endswith((".csv", ".csv.gz", ".tsv")), table_info),
        (path.suffix.lower() in _WEIGHTS, _weights),
        (head.lstrip().startswith(b"{"), result_info),
    )
    for is_one, describe in known:
        if is_one:
            return describe(path)
    try:
        image_format(head, path.name)
    except UnsupportedImage as error:
        raise DataError(f"{path} is nothing that Thorax reads, and no image either ({error})") from error
    return image_info(path)


def _recipe(path: Path) -> Info:
    try:
        recipe = load_recipe(str(path))
    except RecipeError as error:
        return Info(path, "TOML", "a TOML file that is not a recipe", warnings=(str(error),))
    facts = (
        Fact("name", recipe.name),
        Fact("split", recipe.data.split),
        Fact("size", recipe.store.size),
        Fact("backbone", recipe.model.backbone),
        Fact("epochs", recipe.training.epochs),
    )
    return Info(path, "recipe", "a recipe", facts, next_step=f"thorax recipes show {shell_word(path)}")


def _weights(path: Path) -> Info:
    size = path.stat().st_size
    return Info(
        path,
        "weights",
        "a file of weights, to be imported as a bundle",
        (Fact("bytes", size, text_size(size), "on disk"),),
        next_step=f"thorax import {shell_word(path)} --as SOURCE --out BUNDLE",
    )
