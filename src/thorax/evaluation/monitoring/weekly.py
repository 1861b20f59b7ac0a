"""The weekly rule: which images are compared with validation's, in what, and when that is an alarm."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int16, Int64

from thorax.distributions import GATE_SCORES, CountedShare, Histogram, ValidationDistribution
from thorax.evaluation.monitoring.changes import (
    expected_share,
    share_interval_of,
    share_p_value,
    stability,
    stability_p_value,
)
from thorax.evaluation.monitoring.describe import bin_of
from thorax.evaluation.statistics.intervals import Interval

__all__ = [
    "FEWEST_IMAGES",
    "WINDOWS",
    "Comparer",
    "Comparison",
    "Look",
    "Observations",
    "Quantity",
    "Window",
    "WindowSize",
    "level_of",
    "looks",
    "quantities",
]

FEWEST_IMAGES: Final = 100
"""With fewer images nothing is compared."""

_Bins = Int16[np.ndarray, " n"]

QuantityKind = Literal["held back", "warned", "gate score", "positive", "probability"]

_BUDGET: Final[dict[QuantityKind, float]] = {
    "held back": 0.015,
    "warned": 0.005,
    "gate score": 0.005,
    "positive": 0.0125,
    "probability": 0.0125,
}
"""False alarms a week, on average, of all quantities of a kind together: .05 of all kinds."""


@dataclass(frozen=True, slots=True)
class WindowSize:
    """How far back a comparison reaches.

    Attributes:
        weeks: Whole weeks, the last one of which ends at the look.
        fewest: Images at least: where the weeks have fewer, it reaches back further.
        part: Part of the budget of false alarms.
    """

    weeks: int
    fewest: int
    part: float


WINDOWS: Final = (WindowSize(1, 300, 0.5), WindowSize(4, 1200, 0.25), WindowSize(13, 4000, 0.25))
"""A quick change shows in the first, a slow one in the last."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observations:
    """What a model and its gate said of the images of a site, in the order in which they came.

    Attributes:
        days: The day of each image, as `date.toordinal` counts days.
        probabilities: Of the findings of `names`; NaN for images that the gate holds back.
        names: Names of the findings.
        held_back: Which images the gate holds back.
        warned: Which of the others it lets pass with a warning.
        scores: The gate's scores, in the order of `GATE_SCORES`; NaN where there are none.
    """

    days: Int64[np.ndarray, " n"]
    probabilities: Float64[np.ndarray, "n k"]
    names: tuple[str, ...]
    held_back: Bool[np.ndarray, " n"]
    warned: Bool[np.ndarray, " n"]
    scores: Float64[np.ndarray, "n 3"]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.days)


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that is compared.

    Attributes:
        kind: Its kind.
        name: The finding or the gate's score; "" for the other kinds.
    """

    kind: QuantityKind
    name: str = ""

    @property
    def is_share(self) -> bool:
        """Whether it is a share of images; otherwise a distribution."""
        return self.kind in {"held back", "warned", "positive"}


@dataclass(frozen=True, slots=True)
class Window:
    """The images of one comparison.

    Attributes:
        size: What decides how many they are.
        first: Position of the first one.
        stop: Position after the last one.
        begins: The day of the first one.
        ends: The last day.
    """

    size: WindowSize
    first: int
    stop: int
    begins: date
    ends: date

    @property
    def images(self) -> int:
        """Number of images."""
        return self.stop - self.first


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity of the images of a window, beside validation's.

    Attributes:
        quantity: What is compared.
        images: Images that have it.
        value: The share, or the population stability index; with its 95 % interval.
        expected: The share that validation lets expect; 0 for an index.
        p_value: Probability of so large a difference if nothing has changed.
        level: The p value below which it is an alarm.
    """

    quantity: Quantity
    images: int
    value: Interval
    expected: float
    p_value: float
    level: float

    @property
    def is_alarm(self) -> bool:
        """Whether it is an alarm."""
        return self.p_value < self.level


@dataclass(frozen=True, slots=True)
class Look:
    """What is compared at the end of a week, or before.

    Attributes:
        monday: The first day of the week.
        is_complete: Whether the week has ended.
        windows: The images, by size in the order of `WINDOWS`; None for a window of too few images, or of
            the same images as a smaller one.
    """

    monday: date
    is_complete: bool
    windows: tuple[Window | None, ...]


def looks(days: Int64[np.ndarray, " n"], *, today: date) -> list[Look]:
    """Return the looks at images that came on these days, one for each week that has some.

    Args:
        days: The day of each image, ascending, as `date.toordinal` counts days.
        today: The week of this day has not ended.
    """
    mondays = days - (days - 1) % 7
    this_monday = today.toordinal() - (today.toordinal() - 1) % 7
    return [
        Look(date.fromordinal(int(monday)), bool(monday < this_monday), tuple(_windows(days, int(monday))))
        for monday in np.unique(mondays)
    ]


def _windows(days: Int64[np.ndarray, " n"], monday: int) -> Iterator[Window | None]:
    stop = int(np.searchsorted(days, monday + 7))
    before = stop
    for size in WINDOWS:
        first = int(np.searchsorted(days, monday - 7 * (size.weeks - 1)))
        first = max(0, min(first, stop - size.fewest))
        if stop - first < FEWEST_IMAGES or first == before:
            yield None
            continue
        before = first
        yield Window(
            size, first, stop, date.fromordinal(int(days[first])), date.fromordinal(int(days[stop - 1]))
        )


def quantities(reference: ValidationDistribution) -> list[Quantity]:
    """Return everything that is compared with a validation distribution."""
    gate = [
        Quantity("held back"),
        Quantity("warned"),
        *(Quantity("gate score", name) for name in GATE_SCORES),
    ]
    called = [Quantity("positive", name) for name, finding in reference.findings.items() if finding.positive]
    return [
        *(gate if reference.gate else []),
        *called,
        *(Quantity("probability", name) for name in reference.findings),
    ]


def level_of(quantity: Quantity, size: WindowSize, reference: ValidationDistribution) -> float:
    """Return the p value below which a comparison is an alarm: its part of the budget."""
    same = sum(other.kind == quantity.kind for other in quantities(reference))
    return _BUDGET[quantity.kind] * size.part / same


class Comparer:
    """Compares images of windows with validation's.

    Args:
        observations: The images.
        reference: Validation.
    """

    def __init__(self, observations: Observations, reference: ValidationDistribution) -> None:
        self.reference = reference
        self.quantities = quantities(reference)
        self._columns = {each: _column(each, observations, reference) for each in self.quantities}
        self._counts = {
            each: 2 if each.is_share else len(_histogram(each, reference).counts) for each in self.quantities
        }

    def p_value(self, quantity: Quantity, window: Window) -> float:
        """Return the probability of so large a difference if nothing has changed; 1 with too few images."""
        counts = self._count(quantity, window)
        images = int(counts.sum())
        if images < FEWEST_IMAGES:
            return 1.0
        if not quantity.is_share:
            return stability_p_value(_histogram(quantity, self.reference), counts.tolist())
        kind: Literal["predictive", "design"] = "predictive" if quantity.kind == "positive" else "design"
        return share_p_value(_share(quantity, self.reference), int(counts[1]), images, kind=kind)

    def level(self, quantity: Quantity, window: Window) -> float:
        """Return the p value below which a difference is an alarm."""
        return level_of(quantity, window.size, self.reference)

    def comparison(self, quantity: Quantity, window: Window) -> Comparison:
        """Return a quantity of a window beside validation's; NaN where there are too few images."""
        counts = self._count(quantity, window)
        images = int(counts.sum())
        value, expected = Interval(math.nan, math.nan, math.nan), 0.0
        if quantity.is_share:
            before = _share(quantity, self.reference)
            expected = before.value if quantity.kind == "positive" else expected_share(before)
            if images:
                value = share_interval_of(int(counts[1]), images, design_effect=before.design_effect)
        elif images >= FEWEST_IMAGES:
            value = stability(_histogram(quantity, self.reference), counts.tolist())
        p_value = self.p_value(quantity, window)
        return Comparison(quantity, images, value, expected, p_value, self.level(quantity, window))

    def alarms(self, look: Look) -> list[tuple[Window, Comparison]]:
        """Return the alarms of a look: of each quantity the one of the smallest window, with that."""
        found = []
        for quantity in self.quantities:
            windows = (window for window in look.windows if window is not None)
            alarming = (
                window for window in windows if self.p_value(quantity, window) < self.level(quantity, window)
            )
            first = next(alarming, None)
            if first is not None:
                found.append((first, self.comparison(quantity, first)))
        return found

    def _count(self, quantity: Quantity, window: Window) -> Int64[np.ndarray, " bin"]:
        values = self._columns[quantity][window.first : window.stop]
        return np.bincount(values[values >= 0], minlength=self._counts[quantity]).astype(np.int64)


def _column(quantity: Quantity, observed: Observations, reference: ValidationDistribution) -> _Bins:
    """Return the bin of each image, or whether it counts; -1 for images that do not have the quantity."""
    match quantity.kind:
        case "held back":
            return observed.held_back.astype(np.int16)
        case "warned":
            return observed.warned.astype(np.int16)
        case "gate score":
            values = observed.scores[:, GATE_SCORES.index(quantity.name)]
        case "positive" | "probability":
            values = observed.probabilities[:, observed.names.index(quantity.name)]
    known = ~np.isnan(values)
    if quantity.kind == "positive":
        bins = values >= reference.findings[quantity.name].threshold
    else:
        bins = bin_of(values, _histogram(quantity, reference).edges)
    return np.where(known, bins, -1).astype(np.int16)


def _histogram(quantity: Quantity, reference: ValidationDistribution) -> Histogram:
    if quantity.kind == "probability":
        return reference.findings[quantity.name].probabilities
    assert reference.gate is not None
    return reference.gate.score(quantity.name)


def _share(quantity: Quantity, reference: ValidationDistribution) -> CountedShare:
    if quantity.kind == "positive":
        positive = reference.findings[quantity.name].positive
        assert positive is not None
        return positive
    assert reference.gate is not None
    return reference.gate.held_back if quantity.kind == "held back" else reference.gate.warned
