"""What is at a path that holds no bundle, so that a message can say what to give instead."""

from pathlib import Path

from thorax.bundle.files import MANIFEST
from thorax.quoting import shell_word
from thorax.run_files import LOG, RECIPE, STUDY

__all__ = ["is_run", "no_bundle", "seed_runs"]


def is_run(path: Path) -> bool:
    """Return whether a folder is that of a training run, finished or not."""
    return (path / RECIPE).is_file() and (path / LOG).is_file()


def seed_runs(path: Path) -> list[Path]:
    """Return the runs in a folder that several seeds were trained in, in their order."""
    folders = [folder for folder in path.glob("seed-*") if folder.name[5:].isdecimal() and is_run(folder)]
    return sorted(folders, key=lambda folder: int(folder.name[5:]))


def no_bundle(path: Path) -> str:
    """Return what is wrong with a path that was given as a bundle and holds none, and what to do."""
    what = "give a bundle, or the folder of a run that `thorax train` has finished"
    runs = seed_runs(path)
    if runs:
        return (
            f"{path} holds no bundle itself but {len(runs)} runs with other seeds; give one of them, such as "
            f"{runs[0]}, or join them with `thorax ensemble`"
        )
    if is_run(path):
        return (
            f"{path} holds no bundle: its run is not finished; continue with "
            f"`thorax train --resume --store STORE --out {shell_word(path)}`"
        )
    if not path.exists():
        return f"{path} does not exist; {what}"
    return f"{path} {_instead(path)} and holds no bundle; {what}"


def _instead(path: Path) -> str:
    """Return what a path is, to follow its name."""
    if path.is_file():
        return "is a file"
    known = {
        "store.json": "is a store, which has images and labels,",
        "plan.json": "is an unfinished store",
        STUDY: "is the folder of a hyperparameter search",
        "metrics.json": "is a report",
    }
    return next((what for name, what in known.items() if (path / name).is_file()), f"has no {MANIFEST}")
