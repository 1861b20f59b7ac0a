"""Commands that may follow a training run, as they are typed in a shell."""

from collections.abc import Sequence
from pathlib import Path

from thorax.atomic_io import StrPath, is_remote
from thorax.quoting import shell_word
from thorax.reporting.run_log import read_start

__all__ = ["ensemble_command", "evaluate_command", "resume_command", "train_command"]


def evaluate_command(run: Path, store: StrPath) -> str:
    """Return the command that evaluates a run; one that predicts an image if its split has no test images.

    Args:
        run: The folder of the run.
        store: The store that it was trained on.
    """
    if read_start(run).get("test_images") == 0:
        return f"thorax predict {shell_word(run)} IMAGE"
    # A report is written to this disk, also that of a run at s3://.
    report = shell_word(_free(f"{run.name if is_remote(run) else run}-report"))
    return f"thorax evaluate {shell_word(run)} --store {shell_word(store)} --out {report}"


def ensemble_command(runs: Sequence[Path], store: StrPath, out: Path) -> str:
    """Return the command that combines runs which differ in their seed, and calibrates what comes of it.

    Args:
        runs: The folders of the runs.
        store: The store that they were trained on.
        out: The folder that has them.
    """
    folder = shell_word(_free(f"{out}-ensemble"))
    return f"thorax ensemble {' '.join(map(shell_word, runs))} --store {shell_word(store)} --out {folder}"


def resume_command(
    store: StrPath,
    out: Path,
    *,
    seeds: int = 1,
    device: str = "auto",
    track: str | None = None,
    processes: int = 1,
) -> str:
    """Return the command that resumes a run, or several, with the recipe that they were started with."""
    words = ["thorax train --resume --store", shell_word(store), "--out", shell_word(out)]
    words += [f"--processes {processes}"] if processes > 1 else []
    words += [f"--seeds {seeds}"] if seeds > 1 else []
    words += [f"--device {shell_word(device)}"] if device != "auto" else []
    words += [f"--track {shell_word(track)}"] if track else []
    return " ".join(words)


def train_command(recipe: Path, store: StrPath, study: Path) -> str:
    """Return the command that trains the best recipe of a study.

    Args:
        recipe: The recipe.
        store: The store of the study.
        study: The folder of the study.
    """
    folder = shell_word(_free(f"{study}-best"))
    return f"thorax train {shell_word(recipe)} --store {shell_word(store)} --out {folder}"


def _free(name: str) -> str:
    """Return the name of a folder that does not exist: this one, or this one with a number."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in range(1, 1_000_000))
    return next(free for free in numbered if not Path(free).exists())
