"""`monitor`: compare what a node predicts with validation, and what readers say with what it calls."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from thorax.atomic_io import StrPath, refuse_existing, write_text
from thorax.bundle import load_bundle
from thorax.evaluation.inputs.reader_words import agreement_with_model
from thorax.evaluation.monitoring.monitor import Monitoring
from thorax.evaluation.monitoring.monitor import monitor as compare_with_validation
from thorax.pacs.node.monitoring import monitored_images
from thorax.pacs.node.monitoring_metrics import agreement_lines, monitoring_lines
from thorax.reporting.monitor import MonitorContext, MonitorFiles, write_monitor

__all__ = ["MonitoringResult", "monitor"]

_RECENT: Final = timedelta(weeks=13)
_METRICS: Final = "monitor.prom"


@dataclass(frozen=True, slots=True, eq=False)
class MonitoringResult:
    """What monitoring says, and what its page says besides.

    Attributes:
        monitoring: The comparisons and alarms.
        context: The model, other images of the queue, days, and readers.
    """

    monitoring: Monitoring
    context: MonitorContext

    def write(self, out: StrPath, *, overwrite: bool = False) -> MonitorFiles:
        """Write `report.html`, `monitor.json` and `monitor.prom`, which Prometheus's node exporter reads.

        Raises:
            DataError: `out` exists and is not to be overwritten, or is a file.
        """
        folder = Path(out)
        refuse_existing(folder, overwrite=overwrite, folder=True)
        files = write_monitor(self.monitoring, self.context, out=folder)
        lines = [*monitoring_lines(self.monitoring), *agreement_lines(self.context.readers or ())]
        write_text(folder / _METRICS, "".join(f"{line}\n" for line in lines))
        return files


def monitor(
    queue: StrPath,
    *,
    bundle: StrPath | None = None,
    assessments: StrPath | None = None,
    today: date | None = None,
) -> MonitoringResult:
    """Compare the images that a node has predicted with the validation images of its model.

    The node may run meanwhile. Images of other models in the queue are counted and left out.

    Args:
        queue: Folder of the node's queue.
        bundle: The model to monitor, or the run that made it; None: the one that predicted last.
        assessments: The file of assessments of `thorax serve`, or the CSV that it exports.
        today: Its week has not ended, and images of later days are left out; None: today.

    Raises:
        DataError: There is no queue, it has no image of the model, the bundle does not keep how validation
            was predicted, or the assessments cannot be read.
        BundleError: `bundle` cannot be opened.
        ServiceError: The queue cannot be opened or read.
    """
    opened = None if bundle is None else load_bundle(bundle, check_nets=False)
    day = today or date.today()  # noqa: DTZ011  (the days of this machine)
    images = monitored_images(Path(queue), today=day, bundle=opened)
    since = day - _RECENT
    readers = None
    if assessments is not None:
        readers = agreement_with_model(Path(assessments), images.sha256, since=since)
    return MonitoringResult(
        compare_with_validation(images.observations, images.reference, today=day),
        MonitorContext(
            model=images.model,
            sha256=images.sha256,
            of_others=images.of_others,
            of_later_days=images.of_later_days,
            daily=images.daily,
            readers=readers,
            since=since,
        ),
    )
