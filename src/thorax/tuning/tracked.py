"""What a tracking service is sent about a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thorax.run_files import RECIPE
from thorax.tracking.contents import flattened
from thorax.tracking.service import Point
from thorax.tuning.trials import StudyResult

__all__ = ["StudyContents"]


@dataclass
class StudyContents:
    """A study, of which each trial is a run of its own below it.

    Attributes:
        study: The study as it was after its latest trial.
        same: Its identity.
    """

    study: StudyResult
    same: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.study.folder

    @property
    def name(self) -> str:
        """The recipe's name."""
        return f"study of {self.study.recipe.name.removesuffix('-tuned')}"

    def params(self) -> Mapping[str, str]:
        """Return the recipe's own settings, and what is searched."""
        searched = {
            f"search.{dimension.key}": dimension.as_text() for dimension in self.study.space.dimensions
        }
        return flattened(self.study.recipe.model_dump(mode="json")) | searched

    def tags(self) -> Mapping[str, str]:
        """Return what identifies the study."""
        return {f"thorax.{key}": str(value) for key, value in self.same.items()}

    def points(self) -> Sequence[Point]:
        """Return the value of each trial that finished, and the best so far."""
        better = max if self.study.metric == "macro-auc" else min
        points: list[Point] = []
        for trial in self.study.trials:
            if trial.value is not None and trial.ended is not None:
                best = better(points[-1].values["best"], trial.value) if points else trial.value
                values = {"value": trial.value, "best": best}
                points.append(Point(trial.number, round(trial.ended.timestamp() * 1000), values))
        return points

    def files(self) -> Sequence[tuple[Path, str]]:
        """Return page, recipes and space."""
        names = ("study.html", "best.toml", RECIPE, "space.toml")
        return [(self.folder / name, "") for name in names if (self.folder / name).exists()]
