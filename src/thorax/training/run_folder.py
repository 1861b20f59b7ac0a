"""The folder of a run: its identity, its summary, and the checks before a run is resumed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch

import thorax
from thorax.atomic_io import exclusive_lock
from thorax.errors import DataError, RecipeError
from thorax.notebook import Html, notes, page, shortened
from thorax.recipe.changes import changed_settings, changes_from_shipped, describe_changes
from thorax.recipe.load import load_recipe, recipe_sha256, write_recipe
from thorax.recipe.schema import Recipe
from thorax.reporting.epoch_curves import run_curves_svg
from thorax.reporting.run_log import RunLog, read_log
from thorax.run_files import LOG, RECIPE
from thorax.store import Store
from thorax.training.batches import Part
from thorax.training.checkpoint import Checkpoint, load_checkpoint, run_state
from thorax.training.checks import refuse_used_run
from thorax.training.compute import ComputeConfig
from thorax.training.launched import Launched
from thorax.training.plan import TrainingPlan
from thorax.training.ranks import Ranks
from thorax.training.selection_bias import SelectionBias

__all__ = [
    "CHECKPOINTS",
    "PROCESSES",
    "RunFolder",
    "RunSummary",
    "describe_start",
    "identity",
    "lock_run",
    "open_run",
    "open_shared_run",
    "shared_summary",
]

CHECKPOINTS = "checkpoints"

PROCESSES = "processes"
"""The log event of a run that is resumed with another number of processes."""


@dataclass(frozen=True, slots=True, repr=False)
class RunSummary:
    """The result of a run.

    Attributes:
        folder: The run's folder.
        bundle: The bundle's folder.
        epochs: Number of trained epochs.
        stopped_early: Whether early stopping ended the run.
        selected_epoch: The epoch of the bundle's weights, counted from 1.
        macro_auc: Mean AUC of these weights on validation; None if no finding has an AUC there.
        loss: The recipe's loss of these weights on the certain labels of validation, before calibration.
        temperature: The fitted temperature.
        notices: Notices to the user, one sentence each.
        premium: How optimistic selection on the test part would have been, if recorded.
    """

    folder: Path
    bundle: Path
    epochs: int
    stopped_early: bool
    selected_epoch: int
    macro_auc: float | None
    loss: float
    temperature: float
    notices: tuple[str, ...]
    premium: SelectionBias | None = None

    def __fspath__(self) -> str:
        """Return the run's folder, so that a summary can be passed wherever a bundle's path can."""
        return str(self.folder)

    def __repr__(self) -> str:
        return f"RunSummary({shortened(str(self.folder))!r}: {self._outcome()})"

    def _outcome(self) -> str:
        early = ", stopped early" if self.stopped_early else ""
        metric = "n/a" if self.macro_auc is None else f"{self.macro_auc:.3f}"
        return f"epoch {self.selected_epoch} of {self.epochs}{early}, mean AUC {metric} on validation"

    def _repr_html_(self) -> str:
        log = self.folder / LOG
        events = read_log(log) if log.is_file() else []
        curves = run_curves_svg(RunLog(events), chosen=self.selected_epoch)
        images = "{train_images:,} training and {val_images:,} validation images of {split}.".format
        bias = self.premium
        return page(
            f"Run {self.folder}: {self._outcome()}",
            Html(curves),
            notes(
                [
                    images(**events[0]) if events else "",
                    "The dotted line marks the epoch whose weights were kept.",
                    "Validation images selected and calibrated it; evaluate the test part for a result.",
                    *self.notices,
                    f"Selection on the test part would have reported {bias.excess:.3f} more." if bias else "",
                ]
            ),
        )

    def as_fields(self) -> dict[str, Any]:
        """Return the fields of the log's last event: everything except the folders."""
        fields = asdict(self)
        del fields["folder"], fields["bundle"]
        return fields


@dataclass(frozen=True)
class RunFolder:
    """A folder to train in, after the checks.

    Attributes:
        path: The folder.
        checkpoint: The checkpoint to resume from, or None.
        threads: Threads of each process of the run to resume; None for a new run.
        processes: Its number of processes.
        finished: The summary of a run that has finished, or None.
    """

    path: Path
    checkpoint: Checkpoint | None = None
    threads: int | None = None
    processes: int = 1
    finished: RunSummary | None = None

    def threads_of(self, processes: int) -> int | None:
        """Return the threads of each process of the run to resume, if it had so many processes."""
        return self.threads if self.processes == processes else None


def identity(recipe: Recipe, store: Store, plan: TrainingPlan, compute: ComputeConfig) -> dict[str, Any]:
    """Return what must be unchanged to resume a run, by its key in the log's first event."""
    same = {
        "recipe_sha256": recipe_sha256(recipe),
        "store_fingerprint": store.fingerprint,
        "split_sha256": plan.trained_on.sha256,
        "train_images_sha256": plan.trained_on.images_sha256,
        "val_images_sha256": plan.selected_on.images_sha256,
        "started_from": plan.origin.sha256 if plan.origin else None,
        "test_curve": plan.test is not None,
    }
    if recipe.loss.kind != "bce" or recipe.schedule.kind == "plateau":
        # Runs of these recipes were once steered by cross-entropy, or by improvements of any size.
        same["val_loss"] = recipe.loss.kind
    if plan.initial_weights is not None:
        same["initial_weights_sha256"] = plan.initial_weights.sha256
    if recipe.training.determinism == "exact":
        same |= {"device": compute.name, **_versions()}
    return same


def describe_start(
    recipe: Recipe,
    plan: TrainingPlan,
    compute: ComputeConfig,
    same: Mapping[str, Any],
    *,
    launched: Launched | None = None,
) -> dict[str, Any]:
    """Return the fields of the log's first event."""
    several = {"processes": launched.size, "job": launched.job} if launched else {}
    return {
        "recipe": recipe.name,
        "changed": {key: list(values) for key, values in changes_from_shipped(recipe).items()},
        "val_loss": recipe.loss.kind,
        **_versions(),
        **same,
        "split": plan.trained_on.split,
        "train_images": len(plan.train),
        "train_patients": len(set(plan.patients(plan.train))),
        "val_images": len(plan.val),
        "val_patients": len(set(plan.patients(plan.val))),
        "test_images": plan.num_test,
        "epochs": recipe.training.epochs,
        "steps_per_epoch": plan.steps,
        "batch_size": recipe.training.batch_size,
        "metric": recipe.selection.metric,
        "checkpoint": recipe.selection.checkpoint,
        "findings": [finding.name for finding in plan.findings],
        "train_positives": _positives(plan, plan.train),
        "val_positives": _positives(plan, plan.val),
        "device": compute.name,
        "threads": compute.threads,
        **several,
        "precision": str(compute.dtype).removeprefix("torch."),
        "notices": list(plan.notices),
    }


def _versions() -> dict[str, str]:
    return {"torch": torch.__version__, "timm": version("timm"), "thorax": thorax.__version__}


def _positives(plan: TrainingPlan, part: Part) -> dict[str, int]:
    """Return the number of positive images of each finding in a part."""
    counts = (part.targets == 1).sum(axis=0)
    return {finding.name: int(count) for finding, count in zip(plan.findings, counts, strict=True)}


@contextmanager
def lock_run(path: Path) -> Iterator[None]:
    """Create the folder of a run if it is missing, and lock it against other runs.

    Raises:
        DataError: The path is a file, or another process is training in the folder.
    """
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file; give a folder for the run, `out`")
    path.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(path, doing="training in"):
        yield


def open_run(path: Path, recipe: Recipe, same: Mapping[str, Any], *, resume: bool) -> RunFolder:
    """Prepare the folder of a new run, or load the state of an earlier one.

    Args:
        path: The folder, which must exist; `lock_run` creates it.
        recipe: Written into it.
        same: The run's `identity`.
        resume: Whether a run in the folder may be resumed.

    Raises:
        DataError: The folder holds a run and `resume` is false, a different run, or something else; or it is
            damaged.
    """
    refuse_used_run(path, resume=resume)
    events = read_log(path / LOG) if (path / LOG).exists() else []
    if not events:
        _remove_partial(path)
        write_recipe(recipe, path / RECIPE)
        return RunFolder(path)
    start = events[0]
    _refuse_other(path, start, same, recipe)
    _remove_partial(path)
    if events[-1].get("event") == "end" and (path / "bundle" / "bundle.json").is_file():
        return RunFolder(path, finished=_summary(path, events[-1]))
    latest = [event for event in events if event.get("event") in {"start", PROCESSES}][-1]
    return RunFolder(
        path,
        load_checkpoint(path / CHECKPOINTS),
        threads=int(latest["threads"]),
        processes=int(latest.get("processes", 1)),
    )


def open_shared_run(
    path: Path, recipe: Recipe, same: Mapping[str, Any], *, resume: bool, ranks: Ranks
) -> RunFolder:
    """Open the folder of a run in the first of its processes; the others receive what it has.

    Args:
        path: The folder; the other processes may be on machines without it.
        recipe: Written into it.
        same: The run's `identity`.
        resume: Whether a run in the folder may be resumed.
        ranks: The processes.

    Raises:
        DataError: As `open_run`, or a process has another store, split, version or kind of device.
    """
    folder = open_run(path, recipe, same, resume=resume) if ranks.is_first else RunFolder(path)
    if ranks.size == 1:
        return folder
    checkpoint = folder.checkpoint
    first = ranks.from_first(
        lambda: {
            "same": dict(same),
            "threads": folder.threads,
            "processes": folder.processes,
            "finished": folder.finished and folder.finished.as_fields(),
            "state": checkpoint and asdict(checkpoint.state),
            "extra": checkpoint and dict(checkpoint.extra),
        }
    )
    for key, value in first["same"].items():
        if same.get(key) != value:
            raise DataError(
                f"process {ranks.rank} (from 0) of {ranks.size} does not train the same run: {_NAMES[key]} "
                f"is {_short(same.get(key))} there and {_short(value)} in process 0; give all machines the "
                "same store, files and versions"
            )
    if first["state"] is not None:
        tensors = ranks.tensors_from_first(checkpoint.tensors if checkpoint else None)
        checkpoint = checkpoint or Checkpoint(run_state(first["state"]), first["extra"], tensors, best=None)
    finished = first["finished"]
    return RunFolder(
        path,
        checkpoint,
        threads=first["threads"],
        processes=first["processes"],
        finished=_summary(path, finished) if finished else None,
    )


def shared_summary(summary: RunSummary | None, path: Path, *, ranks: Ranks) -> RunSummary:
    """Return the summary of a run in each process, as soon as the first one knows it."""
    fields = ranks.from_first(lambda: summary and summary.as_fields())
    return summary or _summary(path, fields)


def _remove_partial(path: Path) -> None:
    """Remove what interrupted writes left behind."""
    for folder in (path, path / CHECKPOINTS, path / "bundle"):
        for partial in folder.glob(".*.partial"):
            partial.unlink()


_NAMES: Final = {
    "recipe_sha256": "the recipe",
    "store_fingerprint": "the store",
    "split_sha256": "the split",
    "train_images_sha256": "the list of training images",
    "val_images_sha256": "the list of validation images",
    "started_from": "the bundle with the first weights",
    "initial_weights_sha256": "the file with the first weights",
    "val_loss": "the loss on validation that the run follows",
    "test_curve": "whether the test curve is recorded (`record_test_curve`)",
    "device": "the kind of device",
    "torch": "the version of torch",
    "timm": "the version of timm",
    "thorax": "the version of Thorax",
}
"""What must be the same, in words, by its key in `identity`."""


def _refuse_other(path: Path, start: Mapping[str, Any], same: Mapping[str, Any], recipe: Recipe) -> None:
    for key, value in same.items():
        if start.get(key) != value:
            change = _changed(path, recipe) if key == "recipe_sha256" else ""
            change = change or f"{_short(start.get(key))} when it started, now {_short(value)}"
            raise DataError(
                f"{path} cannot be resumed: {_NAMES[key]} has changed ({change}); "
                "use the original one, or start again in another folder"
            )


def _changed(path: Path, recipe: Recipe) -> str:
    """Return which settings differ from those that a run started with; "" if its recipe cannot be read."""
    try:
        changes = changed_settings(load_recipe(str(path / RECIPE)), recipe)
    except RecipeError:
        return ""
    return describe_changes(changes)


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text  # noqa: PLR2004  (hexadecimal digits of a SHA-256)


def _summary(path: Path, end: Mapping[str, Any]) -> RunSummary:
    fields = {key: value for key, value in end.items() if key not in {"event", "time"}}
    bias = fields.pop("premium")
    return RunSummary(
        folder=path,
        bundle=path / "bundle",
        notices=tuple(fields.pop("notices")),
        premium=SelectionBias(**bias) if bias else None,
        **fields,
    )
