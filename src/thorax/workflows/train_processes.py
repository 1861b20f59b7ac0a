"""`train_processes`: `thorax train` in several processes of this machine."""

import os
from collections.abc import Sequence
from pathlib import Path

from thorax.atomic_io import StrPath, is_remote
from thorax.bundle.signature import required_keys
from thorax.errors import RecipeError
from thorax.reporting.next_commands import resume_command
from thorax.training.checks import refuse_small_batches
from thorax.training.launched import Launched, launched
from thorax.workflows.train import continued_by, opened

__all__ = ["train_processes"]


def train_processes(
    recipe: StrPath | None,
    store: StrPath,
    out: StrPath,
    *,
    processes: int,
    settings: Sequence[str] = (),
    seeds: int = 1,
    resume: bool = False,
    device: str = "auto",
    record_test_curve: bool = False,
    track: str | None = None,
    place: StrPath = "",
) -> int:
    """Train as `thorax train` does, in several processes that share each batch.

    The processes print what one process prints. Each takes a GPU of its own, or its share of the cores.

    Args:
        recipe: As in `train`, like everything else that is not named here.
        store: The store.
        out: The folder of the run, or of the runs with several seeds.
        processes: How many there are, at least 2.
        settings: Settings of the recipe to change, such as "optim.lr=3e-4".
        seeds: Number of runs, one after the other.
        resume: Whether to resume.
        device: "auto", "cpu" or "cuda".
        record_test_curve: Whether to record the test curve.
        track: Where to track the run.
        place: Where the run will be, if that is at s3://; `out` stands for it.

    Returns:
        The exit code of the command.

    Raises:
        TrainingInterrupted: Ctrl-C or SIGTERM stopped them; they have said so.
        RecipeError: The recipe, the device or the number of processes does not fit.
        DataError: As in `train`.
        ProcessLost: A process was killed; the run can be resumed.
    """
    started = launched()
    if started is not None:
        raise RecipeError(
            f"torchrun has started {started.size} processes, so `processes={processes}` cannot be set; leave "
            "it out, or start the command without torchrun"
        )
    loaded, _ = opened(
        recipe,
        store,
        Path(out),
        settings=settings,
        resume=resume,
        seeds=seeds if seeds > 1 else None,
        device=device,
    )
    refuse_small_batches(loaded.training.batch_size, processes)
    arguments = ["train", *([os.fspath(recipe)] if recipe is not None else [])]
    arguments += ["--store", os.fspath(store), "--out", os.fspath(out), "--device", device]
    arguments += ["--seeds", str(seeds), "--processes", "1"]
    arguments += [word for setting in settings for word in ("--set", setting)]
    arguments += ["--resume"] if resume else []
    arguments += ["--record-test-curve"] if record_test_curve else []
    arguments += ["--track", track] if track else []
    arguments += [word for key in required_keys() for word in ("--require-signature", os.fspath(key))]
    again = resume_command(store, Path(out), seeds=seeds, device=device, track=track, processes=processes)
    # Only now: torch takes two seconds to import, and an invalid setting is reported at once.
    from thorax.training import TrainingInterrupted
    from thorax.training.compute import own_device
    from thorax.training.launcher import start_processes
    from thorax.training.ranks import ProcessLost

    address = os.fspath(place) if is_remote(place) else ""
    own_device(device, Launched(rank=0, size=processes, local_rank=0, local_size=processes))
    with continued_by(again, ProcessLost):
        code = start_processes(["-m", "thorax", *arguments], processes=processes, place=address)
    if code == TrainingInterrupted.exit_code:
        stopped = TrainingInterrupted("training was stopped")
        stopped.said_elsewhere = True
        raise stopped
    return code
