"""Where to find the split that a bundle was trained on."""

from pathlib import Path
from typing import Final

from thorax.atomic_io import parse_toml, read_toml_text
from thorax.bundle.folder import Bundle
from thorax.errors import BundleError
from thorax.run_files import RECIPE

__all__ = ["split_source"]

_FILE: Final = "file:"


def split_source(bundle: Bundle) -> str | None:
    """Return the split that a bundle was trained on; None where there is not exactly one.

    A bundle keeps only the name of a split's file. The recipe of the run that made it has the path; otherwise
    the file must be in the working folder.

    Raises:
        BundleError: The file is in neither place.
    """
    name = bundle.split
    if name is None or not name.startswith(_FILE):
        return name
    file = name.removeprefix(_FILE)
    given = _of_recipe(bundle.folder.parent / RECIPE)
    for path in (given, file):
        if Path(path).name == file and Path(path).is_file():
            return f"{_FILE}{path}"
    raise BundleError(
        f"{bundle.folder} was trained on the split {name}, and {given or file} is not a file here; name the "
        f"split with the path of its file, such as `split=file:lists/{file}`"
    )


def _of_recipe(file: Path) -> str:
    """Return the path of the split's file in the recipe of a run; "" without one."""
    try:
        data = parse_toml(read_toml_text(file)).get("data")
    except (OSError, ValueError):
        return ""
    split = data.get("split") if isinstance(data, dict) else None
    return split.removeprefix(_FILE) if isinstance(split, str) and split.startswith(_FILE) else ""
