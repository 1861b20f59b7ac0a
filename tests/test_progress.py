import importlib.util
import subprocess
import sys

import pytest

from thorax import progress as module
from thorax.errors import MissingExtra
from thorax.progress import Progress, epoch_lines, stage_progress, throttled, tqdm


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
    assert [now.rate for now in told] == [0, 1]
    assert [now.remaining for now in told] == [None, pytest.approx(98)]


def test_a_rate_is_not_told_before_it_is_known_nor_a_batch_taken_for_one_unit(clock):
    told: list[Progress] = []
    count = stage_progress(told.append, "predicting")
    assert count is not None
    for done in (64, 128, 192):
        clock.now += 2
        count(done, 192)
    assert [now.rate for now in told] == [0, 32, 32]
    assert [now.remaining for now in told] == [None, 2, 0]


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


RUN = {
    "event": "run", "folder": "run", "done_epochs": 0, "done_steps": 0, "recipe": "small-cpu",
    "changed": {"training.epochs": [25, 12], "optim.lr": [0.002, 0.001]}, "split": "nih-official",
    "train_images": 1382, "train_patients": 1106, "val_images": 124, "val_patients": 1, "epochs": 12,
    "steps_per_epoch": 43, "batch_size": 32, "metric": "macro-auc", "device": "cpu", "threads": 2,
    "precision": "float32",
}  # fmt: skip
EPOCH = {
    "event": "epoch", "epoch": 9, "epochs": 12, "train_loss": 0.25121, "val_loss": 0.24807,
    "macro_auc": 0.6712, "best_epoch": 8, "best": 0.6744, "images_per_second": 4875.3,
    "seconds_left": 3723.4,
}  # fmt: skip


def lines_of(*events):
    told = []
    watch = epoch_lines(told.append)
    for event in events:
        watch(event)
    return told


def test_a_run_says_what_it_is_and_each_epoch_has_a_line():
    undefined = {"macro_auc": None, "best": None, "best_epoch": None, "seconds_left": None}
    assert lines_of(RUN, {"event": "steps"}, EPOCH, EPOCH | undefined) == [
        "recipe      small-cpu",
        "settings    training.epochs = 12 (instead of 25)",
        "            optim.lr = 0.001 (instead of 0.002)",
        "split       nih-official",
        "training    1,382 images of 1,106 patients",
        "validation  124 images of 1 patient",
        "device      cpu, 2 threads, float32",
        "epochs      12, each of 43 steps of 32 images",
        "folder      run (watch report.html in it)",
        "",
        "               loss  val loss    AUC  best AUC           images/s   time left",
        "epoch  9/12  0.2512    0.2481  0.671  0.674 (epoch  8)      4,875     1:02:03",
        "epoch  9/12  0.2512    0.2481    n/a  n/a                   4,875         n/a",
    ]


def test_a_split_under_another_name_says_which_was_asked_for():
    asked = {"data.split": ["nih-official", "folder-official"]}
    assert "split       nih-official, which folder-official means for this data set" in lines_of(
        RUN | {"changed": asked}
    )
    own = {"changed": {"data.split": ["nih-official", "patient-1"]}, "split": "patient-1"}
    assert "split       patient-1" in lines_of(RUN | own)


def test_several_runs_are_set_apart():
    one = lines_of(RUN, EPOCH)
    assert lines_of(RUN, EPOCH, RUN, EPOCH) == [*one, "", *one]


def test_a_resumed_run_says_where_it_continues():
    resumed = RUN | {"done_epochs": 3, "done_steps": 140, "changed": {}, "device": "NVIDIA H200"}
    told = lines_of(resumed)
    assert "device      NVIDIA H200, float32" in told
    assert "resumed     after epoch 3, step 140 of 516" in told
    assert "resumed     after step 5 of 516" in lines_of(resumed | {"done_epochs": 0, "done_steps": 5})
    assert not [line for line in lines_of(RUN) if line.startswith("resumed")]


def test_lines_of_a_run_fit_80_columns():
    long = "a/" * 40 + "run"
    told = lines_of(RUN | {"folder": long, "epochs": 100, "split": "words " * 20}, EPOCH | {"epochs": 100})
    assert all(len(line) <= 80 or long in line for line in told)
    assert any(line.endswith(long) for line in told)  # a path can be copied


def test_lines_arrive_at_once(tmp_path):
    """A pipe or a log file has each line while the next epoch is still running."""
    code = """
import sys
from thorax.progress import epoch_lines
watch = epoch_lines()
watch(eval(sys.argv[1]))
sys.stdin.read()
"""
    words = [sys.executable, "-c", code, repr(EPOCH)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout.readline().startswith(b"epoch  9/12  0.2512")
        assert running.poll() is None
        running.communicate()
