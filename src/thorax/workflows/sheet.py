"""`sheet`: a contact sheet of random images with their labels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from thorax.atomic_io import StrPath, atomic_write
from thorax.errors import DataError, ImageError
from thorax.findings import NO_FINDING, Findings, parse_findings
from thorax.imaging import image_files, prepare, read_guarded
from thorax.outputs import check_output
from thorax.randomness import permutation
from thorax.recipe.schema import Preparation
from thorax.reporting.contact_sheet import CELL, SheetImage, contact_sheet

if TYPE_CHECKING:
    from thorax.datasets.table import SampleTable

__all__ = ["MOST_IMAGES", "SheetSummary", "sheet"]

MOST_IMAGES: Final = 400
"""Largest number of images on a sheet: 20 x 20 are 4,800 pixels wide."""

_CELL: Final = Preparation(size=CELL, fit="pad")


@dataclass(frozen=True, slots=True)
class SheetSummary:
    """The result of `sheet`.

    Attributes:
        path: The picture.
        num_shown: Images on it.
        num_images: Images that it was drawn from.
        notices: Notices to the user, among them one for each image that could not be read.
        num_failed: Images that could not be read.
    """

    path: Path
    num_shown: int
    num_images: int
    notices: tuple[str, ...]
    num_failed: int


def sheet(
    source: StrPath,
    out: StrPath,
    *,
    count: int = 25,
    seed: int = 0,
    findings: Sequence[str] = (),
    overwrite: bool = False,
) -> SheetSummary:
    """Draw random images with their labels into one PNG.

    Args:
        source: A store, a data set as `prepare` reads it, or a folder of images without labels.
        out: The picture, a name that ends in .png.
        count: Images on the sheet, from 1 to `MOST_IMAGES`; all if there are fewer.
        seed: Seed of the choice: the same one chooses the same images.
        findings: Choose only images in which one of these findings is present.
        overwrite: Whether an existing picture may be replaced.

    Raises:
        DataError: The source is not one of these or has no such image, a finding is not labeled in it, or the
            picture exists.
        MissingExtra: The source has labels, and pandas to read them is not installed.
    """
    path, folder = Path(out), Path(source)
    if path.suffix.lower() != ".png":
        raise DataError(f"{path} does not end in .png, the only kind of contact sheet; give a name that does")
    if not 1 <= count <= MOST_IMAGES:
        raise DataError(f"`count` is {count}; give a number of images from 1 to {MOST_IMAGES}")
    check_output(path, overwrite=overwrite)
    images = _opened(folder, parse_findings(tuple(findings)) if findings else ())
    if not images.rows:
        wanted = f" with {' or '.join(findings)}" if findings else ""
        raise DataError(
            f"{folder} has no image{wanted}; give another source{', or other `findings`' if findings else ''}"
        )
    chosen = permutation(seed, "sheet", epoch=0, length=len(images.rows))[:count]
    failures: list[str] = []
    cells = [images.cell(images.rows[number], failures.append) for number in chosen.tolist()]
    listed = (
        f", with {' or '.join(finding.label for finding in images.chosen_by)}" if images.chosen_by else ""
    )
    title = f"{folder.name or folder}: {len(cells):,} of {len(images.rows):,} images{listed}, seed {seed}"
    with atomic_write(path) as temporary:
        temporary.write_bytes(contact_sheet(cells, title=title))
    return SheetSummary(
        path=path,
        num_shown=len(cells),
        num_images=len(images.rows),
        notices=(*images.notices, *failures),
        num_failed=len(failures),
    )


@dataclass(frozen=True)
class _Images:
    """The images to choose from: their rows, and a function that draws one."""

    rows: Sequence[int]
    cell: Callable[[int, Callable[[str], None]], SheetImage]
    chosen_by: Findings = ()
    notices: tuple[str, ...] = ()


def _opened(source: Path, findings: Findings) -> _Images:
    if (source / "store.json").is_file():
        from thorax.store import open_store

        store = open_store(source)

        def from_store(row: int, _failed: Callable[[str], None]) -> SheetImage:
            (pixels,) = store.pixels(np.array([row], dtype=np.int64))
            resized = Image.fromarray(pixels).resize((CELL, CELL), Image.Resampling.LANCZOS)
            return _labeled_cell(store.table, row, np.asarray(resized))

        return _Images(_rows_with(store.table, findings), from_store, findings)
    if source.is_dir() and not _has_tables(source):
        return _unlabeled_images(source, findings)
    from thorax.datasets.sources import open_source

    data = open_source(source)

    def from_file(row: int, failed: Callable[[str], None]) -> SheetImage:
        return _labeled_cell(data.table, row, _read(data.root / str(data.table.frame["path"][row]), failed))

    return _Images(_rows_with(data.table, findings), from_file, findings, data.notices)


def _has_tables(folder: Path) -> bool:
    """Return whether a folder, or one in it, holds a CSV: labels that a data set is read from."""
    tables = (
        path for pattern in ("*.csv", "*.csv.gz", "*/*.csv", "*/*.csv.gz") for path in folder.glob(pattern)
    )
    return next(tables, None) is not None


def _unlabeled_images(folder: Path, findings: Findings) -> _Images:
    if findings:
        raise DataError(
            f"{folder} has images and no CSV, so {', '.join(map(str, findings))} is not labeled there; leave "
            "out `findings`"
        )
    notices: list[str] = []
    files = list(image_files([folder], failed=lambda path, reason: notices.append(f"{path}: {reason}")))

    def from_file(row: int, failed: Callable[[str], None]) -> SheetImage:
        pixels = _read(files[row], failed)
        place = files[row].relative_to(folder)
        parent = "" if place.parent == Path() else str(place.parent)
        return SheetImage(pixels=pixels, labels=[files[row].name], note=parent)

    return _Images(range(len(files)), from_file, notices=tuple(notices))


def _read(path: Path, failed: Callable[[str], None]) -> Any:
    """Return an image as a square for the sheet, or None if it cannot be read."""
    try:
        return prepare(read_guarded(path), _CELL)
    except (ImageError, OSError) as error:
        failed(str(error))
        return None


def _rows_with(table: "SampleTable", findings: Findings) -> Sequence[int]:
    if not findings:
        return range(len(table))
    if unlabeled := [finding for finding in findings if finding not in table.findings]:
        raise DataError(
            f"{', '.join(map(str, unlabeled))} is not labeled in this data set; choose `findings` from "
            f"{', '.join(map(str, table.findings))}"
        )
    present = (table.targets(findings) == 1).any(axis=1)
    return [int(row) for row in np.flatnonzero(present)]


def _labeled_cell(table: "SampleTable", row: int, pixels: Any) -> SheetImage:
    described = table.frame.iloc[row]
    labels = list(_labels(table.findings, table.targets(table.findings)[row].tolist()))
    facts = [str(described["image"]), *_person(described)]
    return SheetImage(
        pixels=pixels, labels=labels if pixels is not None else ["cannot be read"], note=", ".join(facts)
    )


def _labels(findings: Findings, values: Sequence[int]) -> Iterator[str]:
    """Yield the findings that are present or, with a question mark, uncertain; without any, say so."""
    named = [
        f"{finding.label}{'?' if value == -1 else ''}"
        for finding, value in zip(findings, values, strict=True)
        if value in {1, -1}
    ]
    if named:
        yield from named
    elif all(value < 0 for value in values):
        yield "not labeled"
    else:
        absent = sum(
            value == 0 for finding, value in zip(findings, values, strict=True) if finding != NO_FINDING
        )
        yield f"none of {absent} findings"


def _person(described: Any) -> Iterator[str]:
    ages = [
        f"{age:.0f}" for age in (described["age"],) if isinstance(age, int | float | np.integer) and age >= 0
    ]
    known = f"{described['sex']}{''.join(ages)}"
    if known:
        yield known
    if described["view"]:
        yield str(described["view"])
