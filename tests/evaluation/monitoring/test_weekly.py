"""The weekly rule: its windows, its budget of false alarms, what it finds and what it lets pass."""

from datetime import date, timedelta

import numpy as np
import pytest

from tests.helpers.monitored import drawn, drawn_finding, starter
from thorax.distributions import GATE_SCORES
from thorax.errors import DataError
from thorax.evaluation.monitoring.monitor import monitor
from thorax.evaluation.monitoring.weekly import (
    WINDOWS,
    Observations,
    Quantity,
    level_of,
    looks,
    quantities,
)

MONDAY = date(2026, 11, 30)


@pytest.fixture(scope="module")
def reference():
    return starter().manifest.distribution


def observed(reference, days, *, seed=0):
    """Return images like those of validation that came on these days."""
    random = np.random.default_rng(seed)
    names = tuple(reference.findings)
    count = len(days)
    columns = [drawn_finding(reference.findings[name], random, count) for name in names]
    return Observations(
        days=np.sort(np.array(days)),
        probabilities=np.stack(columns, axis=1),
        names=names,
        held_back=np.zeros(count, bool),
        warned=random.random(count) < 0.03,
        scores=np.stack([drawn(reference.gate.score(name), random, count) for name in GATE_SCORES], axis=1),
    )


def week_days(weeks, each):
    """Return days of so many weeks before `MONDAY`, with so many images each."""
    return [MONDAY.toordinal() - 7 * weeks + number * 7 // each for number in range(weeks * each)]


def test_the_levels_of_all_comparisons_sum_to_one_false_alarm_in_twenty_weeks(reference):
    levels = [level_of(quantity, size, reference) for quantity in quantities(reference) for size in WINDOWS]
    assert sum(levels) == pytest.approx(0.05)
    assert len(quantities(reference)) == 5 + 13 + 14  # Hernia has no threshold


def test_windows_are_whole_weeks_and_reach_back_where_these_have_few_images():
    (early, *_, last) = looks(np.array(week_days(20, 150)), today=MONDAY)
    assert last.monday == MONDAY - timedelta(days=7)
    assert last.is_complete
    assert [window.images for window in last.windows] == [300, 1200, 3000]
    assert last.windows[0].ends == MONDAY - timedelta(days=1)
    assert [window and window.images for window in early.windows] == [150, None, None]
    busy = looks(np.array(week_days(4, 2000)), today=MONDAY)[-1]
    assert [window and window.images for window in busy.windows] == [2000, 8000, None]


def test_a_week_that_has_not_ended_is_looked_at_too_and_says_so():
    days = np.array([*week_days(2, 400), *([MONDAY.toordinal()] * 50)])
    *_, last = looks(days, today=MONDAY)
    assert last.monday == MONDAY
    assert not last.is_complete
    assert last.windows[0].images == 300


def test_fewer_than_a_hundred_images_are_not_compared(reference):
    result = monitor(observed(reference, week_days(1, 99)), reference, today=MONDAY)
    assert result.latest == ()
    assert result.alarms == ()


def test_images_like_those_of_validation_give_hardly_an_alarm(reference):
    result = monitor(observed(reference, week_days(20, 300)), reference, today=MONDAY)
    assert sum(len(week.alarms) for week in result.weeks) <= 3


def test_what_the_gate_holds_back_is_an_alarm_at_once(reference):
    images = observed(reference, week_days(5, 300))
    images.held_back[-300::15] = True
    images.probabilities[images.held_back] = np.nan
    result = monitor(images, reference, today=MONDAY)
    (alarm,) = [each for each in result.alarms if each.comparison.quantity == Quantity("held back")]
    assert alarm.window.images == 300
    assert alarm.comparison.value.value == pytest.approx(20 / 300)
    assert not any(each.comparison.quantity.kind == "held back" for each in result.weeks[-2].alarms)


def test_other_scores_and_probabilities_are_alarms_of_their_own(reference):
    images = observed(reference, week_days(2, 300))
    images.scores[-300:, 1] += 0.03
    images.probabilities[-300:, images.names.index("Effusion")] += 0.3
    kinds = {alarm.comparison.quantity for alarm in monitor(images, reference, today=MONDAY).alarms}
    assert kinds == {
        Quantity("gate score", "unlike"),
        Quantity("positive", "Effusion"),
        Quantity("probability", "Effusion"),
    }


def test_each_quantity_is_an_alarm_once_in_its_smallest_window(reference):
    images = observed(reference, week_days(20, 300))
    images.scores[:, 1] += 0.03
    alarms = monitor(images, reference, today=MONDAY).alarms
    assert len({alarm.comparison.quantity for alarm in alarms}) == len(alarms)
    assert {alarm.window.size.weeks for alarm in alarms} == {1}


def test_other_findings_are_refused(reference):
    images = observed(reference, week_days(1, 300))
    other = Observations(
        days=images.days, probabilities=images.probabilities, names=("Mass", *images.names[1:]),
        held_back=images.held_back, warned=images.warned, scores=images.scores,
    )  # fmt: skip
    with pytest.raises(DataError, match="other findings than validation"):
        monitor(other, reference, today=MONDAY)
