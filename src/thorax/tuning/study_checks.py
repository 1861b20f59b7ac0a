"""Whether a folder may hold a study: known before torch and Optuna are imported."""

from pathlib import Path
from typing import Final

from thorax.errors import DataError
from thorax.run_files import RECIPE, STUDY

__all__ = ["refuse_used_study"]

"""The file that makes a folder the folder of a study."""

_BEFORE: Final = frozenset({RECIPE, "space.toml"})
"""What it may have before."""


def refuse_used_study(path: Path, *, resume: bool) -> None:
    """Refuse the folder of a study that holds something else, or a study that is not to be resumed.

    Raises:
        DataError: It is a file, or holds a study and `resume` is false, or something else.
    """
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file; give a folder for the study, `out`")
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    if STUDY in names:
        if not resume:
            raise DataError(
                f"{path} already holds a study; set `resume` to continue it, or give another folder as `out`"
            )
        return
    foreign = sorted(name for name in names if name not in _BEFORE and not name.endswith(".partial"))
    if foreign:
        raise DataError(
            f"{path} is not empty and does not hold a study, but {foreign[0]}; give an empty folder, or the "
            "folder of a study with `resume`"
        )
