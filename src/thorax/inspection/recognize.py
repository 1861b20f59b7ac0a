"""Recognizes what a path holds, by its content."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final

from thorax.atomic_io import StrPath, is_remote, open_regular
from thorax.bundle.absent import is_run, seed_runs
from thorax.bundle.files import MANIFEST, STARTER, bundle_folder
from thorax.errors import DataError, RecipeError, UnsupportedImage
from thorax.imaging.read import image_format
from thorax.inspection.data import finished_store_info, image_info, store_info, table_info
from thorax.inspection.elsewhere import is_trained_here, telling
from thorax.inspection.info import Fact, Info
from thorax.inspection.models import bundle_info, run_info, seeds_info, study_info
from thorax.inspection.results import RESULTS, result_info
from thorax.objects.client import Listed, described, list_below
from thorax.objects.mirror import brought
from thorax.objects.place import Place, place_of
from thorax.outputs import text_size
from thorax.quoting import shell_word
from thorax.recipe.load import load_recipe
from thorax.run_files import STUDY
from thorax.store.manifest import MANIFEST as STORE
from thorax.store.manifest import PLAN
from thorax.wording import counted

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
_PARTS: Final = ("train", "val", "test")


def info(path: StrPath) -> Info:
    """Say what a path holds, and what is known about it; nothing about a patient.

    Args:
        path: A bundle, a run, a folder of runs, a study, a store, a report, a folder of images; or a file of
            a result, of predictions or labels, a recipe, an image or a DICOM file; also at s3://.

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
    """Describe what is at s3://, by copies of what tells it; of a store, no pixels are copied."""
    if described(place / STORE) is not None:
        from thorax.store import open_store  # noqa: PLC0415  (pyarrow, which the base does not have)

        return finished_store_info(open_store(str(place)))
    listed = list_below(place)
    if listed:
        return _far_folder(place, listed)
    file = described(place)
    if file is None:
        raise DataError(
            f"{place} does not exist: no object has this name, or is in a folder of this name; correct the "
            "address"
        )
    if place.name in {MANIFEST, STORE, PLAN}:
        return _far(place.parent)
    with brought(place.parent, [file]) as folder:
        known = _of_place(_file(folder / place.name), place)
        return known if known.kind == "image" else replace(known, next_step="")  # which takes a file here


def _far_folder(place: Place, listed: list[Listed]) -> Info:
    names = {each.name for each in listed}
    has_bundle = f"bundle/{MANIFEST}" in names
    with brought(place, telling(listed)) as here:
        if is_run(here):
            if has_bundle:
                (here / "bundle").symlink_to(bundle_folder(str(place)))
            running = is_trained_here(place)
            known = _of_place(run_info(here, running=running), place)
            doubt = "another machine may be training it now, of which its storage does not know"
            return known if has_bundle or running else replace(known, warnings=(*known.warnings, doubt))
        if seed_runs(here) or (here / PLAN).is_file():
            return _of_place(_folder(here), place)
    if has_bundle or MANIFEST in names:
        return _of_place(bundle_info(bundle_folder(str(place))), place)
    folders = {name.partition("/")[0] for name in names if "/" in name}
    return _files(Path(str(place)), names, folders=folders, is_nih=_NIH in names)


def _of_place(known: Info, place: Place) -> Info:
    """Return what is known of a copy as known of the place that it was copied from."""
    near, far = str(known.path), str(place)
    return replace(
        known,
        path=Path(far),
        warnings=tuple(warning.replace(near, far) for warning in known.warnings),
        next_step=known.next_step.replace(near, far),
    )


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
    files = (file.name for file in islice(path.rglob("*"), _MOST_FILES) if file.is_file())
    folders = {part for part in _PARTS if (path / part).is_dir()}
    return _files(path, files, folders=folders, is_nih=(path / _NIH).is_file())


def _files(path: Path, names: Iterable[str], *, folders: Collection[str], is_nih: bool) -> Info:
    """Describe a folder that is nothing else, by the names of its files."""
    endings: Counter[str] = Counter()
    for name in names:
        ending = PurePosixPath(name).suffix.lower()
        endings[ending if ending in _ENDINGS else "another ending" if ending else "no ending"] += 1
    facts = (Fact("num_files", endings.total()), Fact("endings", dict(endings.most_common(8))))
    parts = [part for part in _PARTS if part in folders]
    if is_nih or parts:
        layout = "in the layout of NIH ChestX-ray14" if is_nih else f"with the folders {', '.join(parts)}"
        return Info(
            path, "data set", f"a data set {layout}", facts,
            next_step=f"thorax prepare {shell_word(str(path))} --out STORE",
        )  # fmt: skip
    return Info(
        path, "folder", f"a folder with {counted(endings.total(), 'file')}", facts,
        next_step=f"thorax predict {shell_word(str(path))}",
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
