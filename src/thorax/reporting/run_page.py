"""The page of a training run: one HTML file that loads no other, written anew while the run goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

from thorax.findings import Finding
from thorax.recipe.changes import changes_from_shipped, setting_text
from thorax.recipe.load import recipe_as_toml
from thorax.recipe.schema import Recipe
from thorax.reporting.epoch_curves import EpochFigure, epoch_figure_svg, finding_figures, main_figures
from thorax.reporting.next_commands import evaluate_command, resume_command
from thorax.reporting.report import page_templates
from thorax.reporting.run_log import Event, RunLog
from thorax.run_files import FITTING_THE_GATE

__all__ = ["RunState", "render_run"]

State = Literal["running", "stopped", "failed", "finished"]

_SHORTEST_RELOAD: Final = 15
_LONGEST_RELOAD: Final = 300
"""Seconds after which a browser reads the page of a running run again: about those of an epoch."""

_HEADER: Final = (
    "Epoch",
    "Training loss",
    "Validation loss",
    "Mean AUC",
    "Learning rate",
    "Images/s",
    "Time",
)

_PROVENANCE: Final = {
    "recipe_sha256": "Recipe",
    "store_fingerprint": "Store",
    "split_sha256": "Split",
    "train_images_sha256": "Training images",
    "val_images_sha256": "Validation images",
    "started_from": "Bundle with the first weights",
    "initial_weights_sha256": "File with the first weights",
}


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run is.

    Attributes:
        state: "running" as long as its process writes the page: after a kill, the page still says so.
        reason: Why it stopped or failed; "" otherwise.
    """

    state: State
    reason: str = ""


def render_run(log: RunLog, recipe: Recipe, state: RunState, *, folder: Path, store: Path) -> str:
    """Return the page of a run, which is also well-formed XML.

    Args:
        log: Its log so far.
        recipe: Its recipe.
        state: Where it is.
        folder: Its folder, for the commands that may follow.
        store: Its store, likewise.
    """
    kept = log.kept_epoch
    epoch = log.epochs[kept - 1] if 0 < kept <= len(log.epochs) else {}
    page = (
        page_templates()
        .get_template("run.html.j2")
        .render(
            log=log,
            start=log.start,
            started=log.moment(log.start),
            state=state,
            title=_title(log, state),
            reload=_reload(log) if state.state == "running" else None,
            kept=kept,
            epoch=epoch,
            selection=recipe.selection,
            stopping=recipe.early_stopping,
            time=_duration(log.seconds),
            main=_drawn(main_figures(log), log, kept) if log.epochs else [],
            by_finding=_drawn(finding_figures(log, chosen=kept), log, kept, small=True) if log.epochs else [],
            header=_HEADER,
            rows=[_row(event) for event in reversed(log.epochs)],
            test_curve=[event for event in log.events if event.get("event") == "test-curve"],
            changes=[
                (key, setting_text(old), setting_text(new))
                for key, (old, new) in changes_from_shipped(recipe).items()
            ],
            recipe=recipe,
            toml=recipe_as_toml(recipe).strip(),
            positives=_positives(log),
            provenance=[(name, log.start[key]) for key, name in _PROVENANCE.items() if log.start.get(key)],
            versions=[(name, log.start[name]) for name in ("thorax", "torch", "timm") if log.start.get(name)],
            # "cpu" may have been asked for where there is a GPU, and the device must stay the same.
            resume=resume_command(
                store,
                folder,
                device="cpu" if log.start.get("device") == "cpu" else "auto",
                processes=log.start.get("processes", 1),
            ),
            evaluate=evaluate_command(folder, store),
        )
    )
    return page.rstrip() + "\n"


def _title(log: RunLog, state: RunState) -> str:
    done, planned = len(log.epochs), log.planned_epochs
    of = f" of {planned}" if planned else ""
    match state.state:
        case "finished":
            early = " (stopped early)" if log.end and log.end.get("stopped_early") else ""
            return f"Finished after {_epochs(done)}{of}{early}."
        case "stopped":
            return f"Stopped after {_epochs(done)}{of}; it can be continued."
        case "failed":
            return f"Failed after {_epochs(done)}{of}."
        case "running" if log.is_finishing:
            return (
                f"{_epochs(done).capitalize()}{of} {'is' if done == 1 else 'are'} done, and the run is "
                f"{FITTING_THE_GATE}, which takes a minute or two."
            )
        case "running":
            return (
                f"{_epochs(done).capitalize()}{of} {'is' if done == 1 else 'are'} done, and training goes on."
            )


def _epochs(count: int) -> str:
    return f"{count or 'no'} epoch{'' if count == 1 else 's'}"


def _reload(log: RunLog) -> int:
    seconds = float(log.epochs[-1].get("seconds") or 0) if log.epochs else 0.0
    return round(min(max(seconds, _SHORTEST_RELOAD), _LONGEST_RELOAD))


def _drawn(figures: Sequence[EpochFigure], log: RunLog, chosen: int, *, small: bool = False) -> list[str]:
    return [epoch_figure_svg(figure, last=log.last_epoch, chosen=chosen, small=small) for figure in figures]


def _row(event: Event) -> list[str]:
    rate, seconds = event.get("images_per_second"), event.get("seconds")
    return [
        str(event["epoch"]),
        _text(event.get("train_loss"), ".4f"),
        _text(event.get("val_loss"), ".4f"),
        _text(event.get("macro_auc"), ".3f"),
        _text(event.get("lr"), ".3g"),
        _text(rate, ",.0f"),
        "n/a" if seconds is None else _duration(seconds),
    ]


def _text(value: Any, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))  # noqa: PLR2004


def _positives(log: RunLog) -> list[tuple[str, int, int]]:
    """Return the name of each finding, with its positive images in training and validation."""
    train, val = log.start.get("train_positives", {}), log.start.get("val_positives", {})
    return [(Finding(name).label, train[name], val[name]) for name in log.findings if name in train]
