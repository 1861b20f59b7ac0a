"""Progress of long-running work, as values passed to a callback."""

import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any, Final

from thorax.errors import MissingExtra

__all__ = [
    "CountCallback",
    "Progress",
    "ProgressCallback",
    "epoch_lines",
    "stage_progress",
    "throttled",
    "tqdm",
]

_INTERVAL: Final = 0.1
"""Least time in seconds between two calls of a callback, so that a notebook is not flooded."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of one stage of some work.

    Attributes:
        stage: What is being done, such as "predicting".
        done: Units done.
        total: Units of the whole stage.
        rate: Units per second in this process; 0 while unknown, as until the end of a second batch.
        remaining: Seconds until the stage ends at that rate; None while unknown.
        unit: What is counted, such as "images".
        detail: Further information, such as the training loss; "" without.
    """

    stage: str
    done: int
    total: int
    rate: float
    remaining: float | None
    unit: str = "images"
    detail: str = ""


ProgressCallback = Callable[[Progress], None]
"""Receives progress, at most ten times a second and once at the end of each stage."""

CountCallback = Callable[[int, int], None]
"""Receives the units done and the total from within a loop, after each unit or batch."""


def stage_progress(
    progress: ProgressCallback | None, stage: str, *, unit: str = "images"
) -> CountCallback | None:
    """Return a counter for one stage, which may be called with units done and total at any rate.

    Args:
        progress: Receives the progress; None returns None.
        stage: What is being done.
        unit: What is counted.
    """
    if progress is None:
        return None
    report, started = throttled(progress), time.monotonic()
    before: int | None = None

    def count(done: int, total: int) -> None:
        nonlocal before, started
        now = time.monotonic()
        if before is None:
            before = 0
            if done > 1:  # a batch, or the units of an earlier run, which took no time of this one
                before, started = done, now
        rate = (done - before) / max(now - started, 1e-9)
        remaining = 0.0 if done >= total else (total - done) / rate if rate > 0 else None
        report(Progress(stage, done, total, rate, remaining, unit))

    return count


def throttled(progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that may be called at any rate and forwards at most ten calls a second.

    The end of a stage is always forwarded.

    Args:
        progress: The callback to forward to.
    """
    last = float("-inf")

    def report(now: Progress) -> None:
        nonlocal last
        moment = time.monotonic()
        if now.done >= now.total or moment - last >= _INTERVAL:
            last = moment
            progress(now)

    return report


def tqdm(bar_class: Callable[..., Any] | None = None) -> ProgressCallback:
    """Return a callback that draws a tqdm bar for each stage.

    Args:
        bar_class: Class of the bars; by default that of a notebook if ipywidgets is installed, and otherwise
            that of a terminal.

    Raises:
        MissingExtra: tqdm is not installed.

    Example:
        progress = thorax.progress.tqdm()
    """
    if bar_class is None:
        from importlib.util import find_spec  # noqa: PLC0415  (3 ms)

        try:
            # Without ipywidgets, tqdm.auto warns in every notebook that it cannot draw.
            bar_class = import_module("tqdm.auto" if find_spec("ipywidgets") else "tqdm").tqdm
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "progress bars need tqdm, which is not installed; install it with pip install tqdm"
            ) from error
    new_bar = bar_class
    bars: dict[str, Any] = {}

    def update(now: Progress) -> None:
        if now.stage not in bars:
            bars[now.stage] = new_bar(desc=now.stage, total=now.total, unit=f" {now.unit}")
        bar = bars[now.stage]
        bar.total = now.total
        bar.set_postfix_str(now.detail, refresh=False)
        bar.update(now.done - bar.n)
        if now.done >= now.total:
            bar.close()
            del bars[now.stage]

    return update


_LABEL: Final = 12
_WIDTH: Final = 80
"""Columns of a line, so that it fits into a terminal of that width."""


def epoch_lines(say: Callable[[str], None] | None = None) -> Callable[[Mapping[str, Any]], None]:
    """Return a function for the `watch` of `train`, which prints a line per epoch.

    Before the first epoch, it prints what is trained on which images, and where.

    Args:
        say: Receives each line; by default, `print`, flushed at once.

    Example:
        run = thorax.train("small-cpu", store, "run", watch=thorax.progress.epoch_lines())
    """
    write, is_first = say or partial(print, flush=True), True

    def watch(event: Mapping[str, Any]) -> None:
        nonlocal is_first
        if event["event"] == "run":
            for line in [*([] if is_first else [""]), *_run_lines(event), "", _epoch_header(event)]:
                write(line)
            is_first = False
        elif event["event"] == "epoch":
            write(_epoch_line(event))

    return watch


def _run_lines(run: Mapping[str, Any]) -> list[str]:
    """Return what a run trains, on what and where: one fact per line."""
    epochs, steps, done = run["epochs"], run["steps_per_epoch"], run["done_steps"]
    threads = f", {_plural(run['threads'], 'thread')}" if run["device"] == "cpu" else ""
    several = run.get("processes", 1)
    processes = f", in each of {several} processes" if several > 1 else ""
    settings = [
        f"{key} = {_setting(new)} (instead of {_setting(old)})" for key, (old, new) in run["changed"].items()
    ]
    facts = [
        ("recipe", run["recipe"]),
        *zip(("settings", *[""] * len(settings)), settings, strict=False),
        ("split", _split(run)),
        ("training", _counted(run["train_images"], run["train_patients"])),
        ("validation", _counted(run["val_images"], run["val_patients"])),
        ("device", f"{run['device']}{threads}, {run['precision']}{processes}"),
        ("epochs", f"{epochs}, each of {_plural(steps, 'step')} of {run['batch_size']} images"),
        ("folder", f"{run['folder']} (watch report.html in it)"),
    ]
    if done:
        last = f"epoch {run['done_epochs']}, " if run["done_epochs"] else ""
        facts.append(("resumed", f"after {last}step {done:,} of {epochs * steps:,}"))
    return [line for name, fact in facts for line in _fact_lines(name, fact)]


def _split(run: Mapping[str, Any]) -> str:
    """Return the split, and why its name is not the one that a setting gave."""
    _, asked = run["changed"].get("data.split", (None, None))
    if asked is None or asked == run["split"] or str(asked).startswith("file:"):
        return str(asked or run["split"])
    return f"{run['split']}, which {asked} means for this data set"


def _fact_lines(name: str, fact: str) -> list[str]:
    """Return a fact with its name; a long one continues below itself, and no word is broken."""
    return textwrap.wrap(
        fact,
        _WIDTH,
        initial_indent=name.ljust(_LABEL),
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _epoch_header(run: Mapping[str, Any]) -> str:
    metric = "AUC" if run["metric"] == "macro-auc" else "val loss"
    places = len(str(run["epochs"]))
    best = f"best {metric}".ljust(15 + places)
    return f"{'':{7 + 2 * places}}  {'loss':>6}  {'val loss':>8}  {'AUC':>5}  {best}  images/s   time left"


def _epoch_line(epoch: Mapping[str, Any]) -> str:
    """Return the line of an epoch; what does not exist is n/a."""
    epochs = str(epoch["epochs"])
    number = f"epoch {epoch['epoch']:>{len(epochs)}}/{epochs}"
    best_epoch, left = epoch["best_epoch"], epoch["seconds_left"]
    best = f"{_number(epoch['best'], 3)} (epoch {best_epoch:>{len(epochs)}})" if best_epoch else "n/a"
    rate = epoch["images_per_second"]
    return (
        f"{number}  {_number(epoch['train_loss'], 4):>6}  {_number(epoch['val_loss'], 4):>8}  "
        f"{_number(epoch['macro_auc'], 3):>5}  {best:{15 + len(epochs)}}  {rate:8,.0f}  "
        f"{'n/a' if left is None else str(timedelta(seconds=round(left))):>10}"
    )


def _number(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _setting(value: Any) -> str:
    return "none" if value is None else str(value)


def _counted(images: int, patients: int) -> str:
    return f"{_plural(images, 'image')} of {_plural(patients, 'patient')}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
