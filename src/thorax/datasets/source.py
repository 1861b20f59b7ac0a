"""Opening a data set by the shape of its files."""

from pathlib import Path

from thorax.datasets.folder import read_folder
from thorax.datasets.nih import LABEL_FILES, find_label_file, read_nih
from thorax.datasets.table import Source
from thorax.errors import DataError

__all__ = ["open_source"]


def open_source(path: Path, *, view: str | None = None, dataset: str = "") -> Source:
    """Read the tables of a data set: a folder in NIH's layout, a CSV, or a folder with one CSV.

    Args:
        path: The folder or the CSV.
        view: Keep only images of this view position, "PA" or "AP".
        dataset: Name of a data set that a CSV describes; patients are told apart within it.

    Raises:
        DataError: There is no data set there, or its files are malformed.
    """
    if path.is_file():
        return read_folder(path, view=view, dataset=dataset)
    if not path.is_dir():
        raise DataError(f"{path} is not there; give a folder in NIH's layout, or a CSV with a column 'path'")
    if find_label_file(path):
        if dataset:
            raise DataError(f"{path} is in NIH's layout and has its own name; leave --dataset {dataset} out")
        return read_nih(path, view=view)
    tables = sorted([*path.glob("*.csv"), *path.glob("*.csv.gz")])
    if len(tables) != 1:
        raise DataError(
            f"{path} has none of {', '.join(LABEL_FILES)} and {len(tables)} other CSV files; "
            "give the CSV itself, or download NIH's label file into the folder"
        )
    return read_folder(tables[0], view=view, dataset=dataset)
