"""Sending the report of `thorax evaluate` to the run that the model was trained in."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thorax.errors import DataError
from thorax.evaluation.evaluate import Evaluation
from thorax.tracking.follow import read_sent, warning_text
from thorax.tracking.service import Point, Target, parse_target

__all__ = ["TrackedReport", "tracked_report"]

_FILES = ("metrics.json", "report.md", "report.html")
_logger = logging.getLogger("thorax.tracking")


@dataclass(frozen=True, slots=True)
class TrackedReport:
    """Where a report is sent.

    Attributes:
        target: The service.
        run: The identifier of the run there.
    """

    target: Target
    run: str

    def send(self, folder: Path, evaluation: Evaluation, *, part: str) -> None:
        """Send the report's files and AUCs; a service that fails is a warning.

        Args:
            folder: The folder of the report.
            evaluation: Its numbers.
            part: The part of the split that was evaluated: the first word of each metric's name.
        """
        point = Point(0, round(time.time() * 1000), _metrics(evaluation, part))
        try:
            service = self.target.connect()
            service.send(self.run, params={}, tags={}, points=[point])
            for name in _FILES:
                service.send_files(self.run, folder / name, f"report-{part}")
        except Exception as error:  # noqa: BLE001  (a service may raise anything; the report is written)
            _logger.warning("%s; the report is in %s", warning_text(self.target, str(error)), folder)


def _metrics(evaluation: Evaluation, part: str) -> Mapping[str, float]:
    ranking = evaluation.ranking
    values = {"macro_auc": ranking.macro_auc.value} | {
        f"auc/{result.finding.name}": result.auc.value for result in ranking.findings
    }
    return {f"{part}/{name}": value for name, value in values.items() if not math.isnan(value)}


def tracked_report(track: str, model: Path | None) -> TrackedReport:
    """Find the run that a report belongs to, before anything is computed.

    Args:
        track: The service, as in `thorax.train`.
        model: The run that was tracked there, or the bundle inside it; None if there is only a file of
            predictions, which belongs to no run.

    Raises:
        RecipeError: The service is unknown, or its address is missing.
        DataError: The run was not tracked there.
    """
    target = parse_target(track)
    for folder in (model, model.parent) if model else ():
        sent = read_sent(folder, target)
        if sent is not None:
            return TrackedReport(target, sent.run)
    raise DataError(
        f"the report cannot be tracked: {model or 'a file of predictions'} has no run at the service of "
        "`track`, since it was not trained with it; leave out `track`, or give a run that was trained with "
        "the same address"
    )
