"""Commands that may follow a training run, as they are typed in a shell."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from thorax.atomic_io import StrPath
from thorax.reporting.run_log import read_start

__all__ = ["ensemble_command", "evaluate_command", "resume_command", "train_command"]


def evaluate_command(run: Path, store: StrPath) -> str:
    """Return the command that evaluates a run; one that predicts an image if its split has no test images.

    Args:
        run: The folder of the run.
        store: The store that it was trained on.
    """
    if read_start(run).get("test_images") == 0:
        return f"thorax predict {_quoted(run)} IMAGE"
    return f"thorax evaluate {_quoted(run)} --store {_quoted(store)} --out {_quoted(_free(f'{run}-report'))}"


def ensemble_command(runs: Sequence[Path], store: StrPath, out: Path) -> str:
    """Return the command that combines runs which differ in their seed, and calibrates what comes of it.

    Args:
        runs: The folders of the runs.
        store: The store that they were trained on.
        out: The folder that has them.
    """
    folder = _quoted(_free(f"{out}-ensemble"))
    return f"thorax ensemble {' '.join(map(_quoted, runs))} --store {_quoted(store)} --out {folder}"


def resume_command(
    store: StrPath, out: Path, *, seeds: int = 1, device: str = "auto", track: str | None = None
) -> str:
    """Return the command that resumes a run, or several, with the recipe that they were started with."""
    words = ["thorax train --resume --store", _quoted(store), "--out", _quoted(out)]
    words += [f"--seeds {seeds}"] if seeds > 1 else []
    words += [f"--device {_quoted(device)}"] if device != "auto" else []
    words += [f"--track {_quoted(track)}"] if track else []
    return " ".join(words)


def train_command(recipe: Path, store: StrPath, study: Path) -> str:
    """Return the command that trains the best recipe of a study.

    Args:
        recipe: The recipe.
        store: The store of the study.
        study: The folder of the study.
    """
    folder = _quoted(_free(f"{study}-best"))
    return f"thorax train {_quoted(recipe)} --store {_quoted(store)} --out {folder}"


def _quoted(path: StrPath) -> str:
    return shlex.quote(str(path))


def _free(name: str) -> str:
    """Return the name of a folder that does not exist: this one, or this one with a number."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in range(1, 1_000_000))
    return next(free for free in numbered if not Path(free).exists())
