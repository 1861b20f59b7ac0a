import importlib.util
import sys

import pytest

from thorax import progress as module
from thorax.errors import MissingExtra
from thorax.progress import Progress, stage_progress, throttled, tqdm


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_at_most_ten_calls_a_second_and_always_the_last(clock):
    told: list[Progress] = []
    count = stage_progress(told.append, "predicting")
    assert count is not None
    for done in range(1, 101):
        clock.now += 0.01
        count(done, 100)
    assert len(told) <= 11
    assert (told[-1].done, told[-1].total, told[-1].remaining) == (100, 100, 0)
    assert told[-1].rate == pytest.approx(100)


def test_what_an_earlier_run_did_took_no_time_of_this_one(clock):
    told: list[Progress] = []
    count = stage_progress(told.append, "preparing")
    assert count is not None
    clock.now += 1
    count(901, 1000)
    clock.now += 1
    count(902, 1000)
    assert [now.rate for now in told] == [1, 1]
    assert told[-1].remaining == pytest.approx(98)


def test_without_a_callback_there_is_nothing_to_call():
    assert stage_progress(None, "predicting") is None


def test_tqdm_draws_a_bar_for_each_stage():
    drawn = []

    class Bar:
        def __init__(self, **settings):
            self.n, self.settings, self.closed = 0, settings, False
            drawn.append(self)

        def set_postfix_str(self, text, **_):
            self.text = text

        def update(self, more):
            self.n += more

        def close(self):
            self.closed = True

    update = tqdm(Bar)
    update(Progress("predicting", 1, 2, 0.0, None))
    update(Progress("predicting", 2, 2, 1.0, 0.0))
    update(Progress("measuring", 1, 5, 0.0, None, "maps", "loss .3"))
    assert [(bar.n, bar.closed) for bar in drawn] == [(2, True), (1, False)]
    assert drawn[1].text == "loss .3"
    assert drawn[0].settings == {"desc": "predicting", "total": 2, "unit": " images"}


def test_a_throttled_callback_gets_ten_calls_a_second_and_each_end(clock):
    passed: list[Progress] = []
    report = throttled(passed.append)
    for step in range(1, 101):
        clock.now += 0.01
        report(Progress("epoch 1 of 2" if step <= 50 else "epoch 2 of 2", (step - 1) % 50 + 1, 50, 0.0, None))
    assert len(passed) <= 13
    assert [now.stage for now in passed if now.done == 50] == ["epoch 1 of 2", "epoch 2 of 2"]


@pytest.mark.filterwarnings("error")
def test_bars_in_a_notebook_without_widgets_are_those_of_a_terminal(capsys):
    assert importlib.util.find_spec("ipywidgets") is None
    update = tqdm()
    update(Progress("predicting", 1, 2, 0.0, None))
    update(Progress("predicting", 2, 2, 1.0, 0.0))
    assert "predicting: 100%" in capsys.readouterr().err


def test_bars_without_tqdm_name_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(MissingExtra, match="pip install tqdm"):
        tqdm()
