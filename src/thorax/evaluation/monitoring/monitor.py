"""All that monitoring says of a site's images: every week's alarms, the last comparisons, what would show."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from thorax.distributions import ValidationDistribution
from thorax.errors import DataError
from thorax.evaluation.monitoring.detection import Detection, detection
from thorax.evaluation.monitoring.weekly import (
    FEWEST_IMAGES,
    Comparer,
    Comparison,
    Look,
    Observations,
    Quantity,
    Window,
    looks,
)

__all__ = ["Alarm", "Monitoring", "Week", "monitor"]

_WEEKS: Final = 26
"""Weeks that are shown."""

_PRESENT: Final = 4
"""Weeks whose mean is the number of images of a week at the site."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A comparison that is an alarm, and its images."""

    window: Window
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Week:
    """What a look at the end of a week says.

    Attributes:
        look: The look.
        images: Images that came in that week.
        held_back: Those that the gate holds back.
        called: Share of the images of the first window in which each finding is called, by its name; empty
            where there are too few.
        alarms: The alarms.
    """

    look: Look
    images: int
    held_back: int
    called: dict[str, Comparison]
    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Monitoring:
    """What monitoring says of a site's images.

    Attributes:
        reference: Validation.
        observations: The images.
        weeks: The last weeks with images, the latest one last; at least one.
        latest: All comparisons of the last look, each with its window.
        detections: When a doubled prevalence would show, of the findings of which validation says it.
        weekly: Images of a week, on average over the last four.
    """

    reference: ValidationDistribution
    observations: Observations
    weeks: tuple[Week, ...]
    latest: tuple[tuple[Window, tuple[Comparison, ...]], ...]
    detections: tuple[Detection, ...]
    weekly: int

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms of the last look."""
        return self.weeks[-1].alarms

    def latest_of(self, quantity: Quantity) -> Iterator[tuple[Window, Comparison]]:
        """Yield the comparisons of a quantity in the windows of the last look."""
        for window, compared in self.latest:
            yield from ((window, each) for each in compared if each.quantity == quantity)


def monitor(observations: Observations, reference: ValidationDistribution, *, today: date) -> Monitoring:
    """Compare a site's images with validation, at the end of each of the last weeks, and now.

    Args:
        observations: The images, at least one.
        reference: Validation; it has the same findings.
        today: Today.

    Raises:
        DataError: The images do not have the findings of validation.
    """
    if set(reference.findings) - set(observations.names):
        raise DataError("the images were predicted for other findings than validation; give another bundle")
    comparer = Comparer(observations, reference)
    made = looks(observations.days, today=today)[-_WEEKS:]
    last = made[-1]
    latest = tuple(
        (window, tuple(comparer.comparison(quantity, window) for quantity in comparer.quantities))
        for window in last.windows
        if window is not None
    )
    weekly = _weekly(observations, last)
    found = (detection(reference, name, weekly=weekly) for name in reference.findings)
    return Monitoring(
        reference=reference,
        observations=observations,
        weeks=tuple(_week(comparer, observations, look) for look in made),
        latest=latest,
        detections=tuple(each for each in found if each is not None),
        weekly=weekly,
    )


def _weekly(observations: Observations, last: Look) -> int:
    """Return the images of a week: the mean of the last four whole weeks, or of what there is."""
    end = last.monday.toordinal() + (7 if last.is_complete else 0)
    begin = max(int(observations.days[0]), end - 7 * _PRESENT)
    whole = int(np.sum((observations.days >= begin) & (observations.days < end)))
    days = end - begin
    return max(1, round(7 * whole / days)) if days > 0 and whole else max(1, len(observations))


def _week(comparer: Comparer, observations: Observations, look: Look) -> Week:
    monday = look.monday.toordinal()
    first, stop = np.searchsorted(observations.days, [monday, monday + 7])
    window = look.windows[0]
    called = {}
    if window is not None:
        compared = (
            comparer.comparison(each, window) for each in comparer.quantities if each.kind == "positive"
        )
        called = {each.quantity.name: each for each in compared if each.images >= FEWEST_IMAGES}
    return Week(
        look=look,
        images=int(stop - first),
        held_back=int(observations.held_back[first:stop].sum()),
        called=called,
        alarms=tuple(Alarm(*alarm) for alarm in comparer.alarms(look)),
    )
