"""The page of a study: one HTML file that loads no other, with its figures as SVG."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from thorax.reporting.report import page_templates
from thorax.tuning.best_of import FEWEST
from thorax.tuning.trials import StudyResult, Trial

__all__ = ["render_study"]


def render_study(study: StudyResult, *, importances: Mapping[str, float], same: Mapping[str, Any]) -> str:
    """Return the page of a study, which is also well-formed XML.

    Args:
        study: The study, which may be unfinished.
        importances: How much each setting decides, summing to 1; empty if unknown.
        same: The study's identity, shown as its provenance.
    """
    own = study.space.own_values(study.recipe) or {}
    page = (
        page_templates()
        .get_template("study.html.j2")
        .render(
            study=study,
            best=study.best,
            own=study.own,
            gain=study.gain,
            flattery=study.flattery,
            fewest=FEWEST,
            importances=importances,
            same=same,
            keys=[dimension.key for dimension in study.space.dimensions],
            settings=[
                (dimension.key, dimension.as_text(), _text(own[dimension.key]) if own else "outside")
                for dimension in study.space.dimensions
            ],
            history=_history_svg(study),
            curves=_curves_svg(study),
            metric={"macro-auc": "mean AUC", "loss": "loss"}[study.metric],
            text=_text,
        )
    )
    return page.rstrip() + "\n"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_LEFT: Final = 52.0
_TOP: Final = 12.0
_WIDTH: Final = 640.0
_HEIGHT: Final = 240.0
"""The area of a figure, within a view box of 710 by 300."""

_Place = Callable[[float, float], tuple[str, str]]


def _history_svg(study: StudyResult) -> str:
    """Return the value of each trial against its number, and the best value so far as a line.

    Trials that finished are dots, pruned ones rings at the last value of their curve.
    """
    shown = [(trial, value) for trial in study.trials if (value := _last_value(trial)) is not None]
    if not shown:
        return ""
    last = max(trial.number for trial in study.trials)
    frame, place = _axes([value for _, value in shown], last=max(last, 1), first=0, label="trial")
    marks = [frame]
    steps: list[tuple[float, float]] = []
    better = max if study.metric == "macro-auc" else min
    for trial in study.trials:
        if trial.value is not None:
            best = trial.value if not steps else better(steps[-1][1], trial.value)
            steps += [(trial.number, steps[-1][1])] if steps else []
            steps.append((trial.number, best))
    if steps:
        marks.append(f'<path class="curve" d="{_path(place, [*steps, (last, steps[-1][1])])}"/>')
    for trial, value in shown:
        x, y = place(trial.number, value)
        kind = "dot" if trial.outcome == "finished" else "ring"
        marks.append(
            f'<circle class="{kind}" cx="{x}" cy="{y}" r="4"><title>{_title(trial, value)}</title></circle>'
        )
    return _svg(marks)


def _curves_svg(study: StudyResult) -> str:
    """Return the curves on validation of all trials over the epochs; that of the best is on top."""
    best = study.best
    drawn = [trial for trial in study.trials if trial.curve]
    if not drawn:
        return ""
    values = [value for trial in drawn for value in trial.curve.values()]
    last = max(epoch for trial in drawn for epoch in trial.curve)
    frame, place = _axes(values, last=max(last, 2), first=1, label="epoch")
    marks = [frame]
    for trial in sorted(drawn, key=lambda trial: best is not None and trial.number == best.number):
        kind = "curve" if best is not None and trial.number == best.number else f"trial {trial.outcome}"
        points = list(trial.curve.items())
        x, y = place(*points[-1])
        title = f"<title>{_title(trial, points[-1][1])}</title>"
        marks.append(f'<path class="{kind}" d="{_path(place, points)}">{title}</path>')
        if trial.outcome == "pruned" or len(points) == 1:
            marks.append(f'<circle class="ring" cx="{x}" cy="{y}" r="3">{title}</circle>')
    return _svg(marks)


def _last_value(trial: Trial) -> float | None:
    if trial.value is not None:
        return trial.value
    return list(trial.curve.values())[-1] if trial.outcome == "pruned" and trial.curve else None


def _title(trial: Trial, value: float) -> str:
    return f"trial {trial.number}, {trial.outcome}: {value:.4f}"


def _axes(values: Iterable[float], *, last: int, first: int, label: str) -> tuple[str, _Place]:
    """Return grid and labels, and the function that places a point."""
    values = list(values)
    low, high = min(values), max(values)
    if high - low < 1e-9:  # noqa: PLR2004  (equal values)
        low, high = low - 0.05, high + 0.05

    def place(x: float, y: float) -> tuple[str, str]:
        left = _LEFT + _WIDTH * (x - first) / (last - first)
        return _number(left), _number(_TOP + _HEIGHT * (high - y) / (high - low))

    marks = []
    for value in (low, (low + high) / 2, high):
        y = place(first, value)[1]
        marks.append(f'<path class="grid" d="M{_number(_LEFT)} {y}h{_number(_WIDTH)}"/>')
        marks.append(f'<text x="{_number(_LEFT - 8)}" y="{y}" dy="4" text-anchor="end">{value:.3f}</text>')
    bottom = _number(_TOP + _HEIGHT + 20)
    marks += [
        f'<text x="{place(x, low)[0]}" y="{bottom}" text-anchor="middle">{x}</text>'
        for x in _ticks(first, last)
    ]
    middle = _number(_LEFT + _WIDTH / 2)
    marks.append(f'<text x="{middle}" y="{_number(_TOP + _HEIGHT + 38)}" text-anchor="middle">{label}</text>')
    return "".join(marks), place


def _ticks(first: int, last: int) -> list[int]:
    """Return about ten whole numbers from `first` to `last`, at distances of 1, 2 or 5 times 10^n."""
    steps = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    step = next(step for step in steps if (last - first) / step <= 10)  # noqa: PLR2004  (labels side by side)
    inner = range(-(-first // step) * step, last + 1, step)
    return sorted({first, *(tick for tick in inner if tick - first >= step / 2 or tick == first)})


def _path(place: _Place, points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(" ".join(place(x, y)) for x, y in points)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _svg(marks: Sequence[str]) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 710 300" role="img">{"".join(marks)}</svg>'
