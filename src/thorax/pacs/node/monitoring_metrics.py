"""What monitoring says, in Prometheus's text format: numbers about groups of images."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Final

from thorax.bundle import Bundle
from thorax.errors import DataError
from thorax.evaluation.inputs.reader_words import ReaderAgreement
from thorax.evaluation.monitoring.monitor import Monitoring, monitor
from thorax.evaluation.monitoring.weekly import Comparison, Window
from thorax.evaluation.statistics.intervals import Interval
from thorax.pacs.node.metrics import quoted, with_head
from thorax.pacs.node.monitoring import monitored_images

__all__ = ["LiveMonitoring", "agreement_lines", "monitoring_lines"]

_SECONDS: Final = 300.0
_MOST_IMAGES: Final = 20_000


class LiveMonitoring:
    """The monitoring of a running node's images, computed again at most every five minutes.

    Args:
        folder: Folder of the queue.
        bundle: The model that predicts.
    """

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self._folder = folder
        self._bundle = bundle
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._computed = -_SECONDS

    def lines(self) -> list[str]:
        """Return the metrics; none before the model has predicted an image, or if validation is not known."""
        with self._lock:
            if time.monotonic() - self._computed >= _SECONDS:
                self._lines = list(self._compute())
                self._computed = time.monotonic()
            return self._lines

    def _compute(self) -> Iterator[str]:
        if self._bundle.manifest.distribution is None:
            return
        with suppress(DataError):  # nothing was predicted yet
            today = date.today()  # noqa: DTZ011  (the days of this machine)
            images = monitored_images(self._folder, today=today, bundle=self._bundle, most=_MOST_IMAGES)
            yield from monitoring_lines(monitor(images.observations, images.reference, today=today))


def monitoring_lines(monitoring: Monitoring) -> Iterator[str]:
    """Yield what the last look says; the window "1w" is the last week or 300 images, and so on."""
    compared = [(window, each) for window, many in monitoring.latest for each in many]
    yield from with_head(
        "thorax_monitor_images", "gauge", "Images that are compared with validation, by window.",
        (
            f'thorax_monitor_images{{window="{_name(window)}"}} {window.images}'
            for window, _ in monitoring.latest
        ),
    )  # fmt: skip
    yield from with_head(
        "thorax_monitor_share",
        "gauge",
        "Share of images with its interval, and validation's.",
        _shares(compared),
    )
    yield from with_head(
        "thorax_monitor_stability_index", "gauge", "Population stability index with its interval.",
        _indices(compared),
    )  # fmt: skip
    yield from with_head(
        "thorax_monitor_alarm", "gauge", "Whether a difference from validation is an alarm.",
        (f"thorax_monitor_alarm{{{_labels(*one)}}} {int(one[1].is_alarm)}" for one in compared),
    )  # fmt: skip
    yield from with_head(
        "thorax_monitor_images_to_show_doubling", "gauge",
        "Images after which a doubled prevalence would be an alarm.",
        (
            f'thorax_monitor_images_to_show_doubling{{name="{quoted(each.finding)}"}} {each.images}'
            for each in monitoring.detections
            if each.images is not None
        ),
    )  # fmt: skip


def agreement_lines(readers: Iterable[ReaderAgreement]) -> Iterator[str]:
    """Yield how readers who had not seen what the model says lately agreed with it."""
    yield from with_head(
        "thorax_monitor_reader_images", "gauge", "Images that readers and the model called, in 13 weeks.",
        (
            f'thorax_monitor_reader_images{{name="{quoted(each.finding)}",agreed="{word}"}} {count}'
            for each in readers
            for word, count in (
                ("yes", each.since.agreed),
                ("no", each.since.images - each.since.agreed),
            )
        ),
    )  # fmt: skip


def _shares(compared: Sequence[tuple[Window, Comparison]]) -> Iterator[str]:
    for window, one in compared:
        if one.quantity.is_share and one.value.exists:
            labels = _labels(window, one)
            yield from _interval("thorax_monitor_share", labels, one.value)
            yield f'thorax_monitor_share{{{labels},of="validation"}} {one.expected:.6g}'


def _indices(compared: Sequence[tuple[Window, Comparison]]) -> Iterator[str]:
    for window, one in compared:
        if not one.quantity.is_share and one.value.exists:
            yield from _interval("thorax_monitor_stability_index", _labels(window, one), one.value)


def _interval(name: str, labels: str, value: Interval) -> Iterator[str]:
    for of, number in (("value", value.value), ("low", value.low), ("high", value.high)):
        yield f'{name}{{{labels},of="{of}"}} {number:.6g}'


def _labels(window: Window, one: Comparison) -> str:
    return f'quantity="{one.quantity.kind}",name="{quoted(one.quantity.name)}",window="{_name(window)}"'


def _name(window: Window) -> str:
    return f"{window.size.weeks}w"
