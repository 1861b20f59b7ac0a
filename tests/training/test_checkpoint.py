import json
import math
from contextlib import closing

import pytest
import torch

from thorax.errors import DataError
from thorax.training import checkpoint as module
from thorax.training.checkpoint import Best, Checkpointer, RunState, load_checkpoint
from thorax.training.ema import MovingAverage
from thorax.training.learner import PlateauState
from thorax.training.logbook import TIME_FIELDS, Logbook, read_log


def test_a_checkpoint_comes_back(tmp_path):
    assert load_checkpoint(tmp_path) is None
    state = RunState(epoch=2, step=3, plateau=PlateauState(0.5, 1, 0.1), best=0.75, events=7)
    tensors = {"a": torch.arange(3.0), "b": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)}
    Checkpointer(tmp_path, minutes=1.0).write(state, {"scaler": {}}, tensors, Best(2, {"w": torch.ones(2)}))
    found = load_checkpoint(tmp_path)
    assert found.state == state
    assert found.extra == {"scaler": {}}
    assert all(torch.equal(found.tensors[name], tensors[name]) for name in tensors)
    assert found.best.epoch == 2
    assert found.best.weights["w"].tolist() == [1, 1]


def test_the_first_plateau_has_no_best_yet(tmp_path):
    Checkpointer(tmp_path, minutes=1.0).write(RunState(), {}, {"a": torch.zeros(1)}, None)
    assert load_checkpoint(tmp_path).state.plateau.best == math.inf


def test_the_best_is_written_when_it_changes(tmp_path):
    checkpointer, tensors = Checkpointer(tmp_path, minutes=1.0), {"a": torch.zeros(1)}
    path = tmp_path / "best.safetensors"
    checkpointer.write(RunState(best=0.5), {}, tensors, Best(1, {"w": torch.zeros(1)}))
    first = path.stat().st_mtime_ns
    checkpointer.write(RunState(best=0.5), {}, tensors, Best(1, {"w": torch.zeros(1)}))
    assert path.stat().st_mtime_ns == first
    checkpointer.write(RunState(best=0.6), {}, tensors, Best(2, {"w": torch.ones(1)}))
    assert load_checkpoint(tmp_path).best.weights["w"].tolist() == [1]


def test_a_checkpoint_is_due_by_time_and_by_epoch_but_never_above_one_per_cent(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    checkpointer = Checkpointer(tmp_path, minutes=5.0)
    for seconds, epoch_ended, due in ((299, False, False), (300, False, True), (1, True, True)):
        now[0] = seconds
        assert checkpointer.is_due(epoch_ended=epoch_ended) is due
    real_save = module._save

    def save_in_four_seconds(*arguments):
        now[0] += 4
        real_save(*arguments)

    monkeypatch.setattr(module, "_save", save_in_four_seconds)
    checkpointer.write(RunState(), {}, {"a": torch.zeros(1)}, None)
    written = now[0]
    for seconds, epoch_ended, due in ((399, True, False), (399, False, False), (401, True, True)):
        now[0] = written + seconds
        assert checkpointer.is_due(epoch_ended=epoch_ended) is due
    assert Checkpointer(tmp_path, minutes=0.0).is_due(epoch_ended=False)


@pytest.mark.parametrize("content", [b"", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", b"\xff" * 100])
def test_hostile_bytes_are_refused(content, tmp_path):
    (tmp_path / "last.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="is damaged or not a checkpoint of this version"):
        load_checkpoint(tmp_path)


def test_the_log_is_cut_to_the_events_that_stand(tmp_path):
    path = tmp_path / "log.jsonl"
    with closing(Logbook(path)) as log:
        log.write("start", name="é", value=float("nan"), nested={"a": float("inf"), "b": 1.5})
        assert log.secure() == 1
        log.write("steps", step=1)
        log.write("steps", step=2)
        assert log.secure() == 3
    with path.open("ab") as file:
        file.write(b'{"event": "unfin')
    assert [event["event"] for event in read_log(path)] == ["start", "steps", "steps"]
    with closing(Logbook(path, keep=2)) as log:
        log.write("end")
        assert log.secure() == 3
    events = read_log(path)
    assert [event.get("step") for event in events] == [None, 1, None]
    assert (events[0]["name"], events[0]["value"], events[0]["nested"]) == ("é", None, {"a": None, "b": 1.5})
    assert all("time" in event for event in events)
    assert "time" in TIME_FIELDS
    with pytest.raises(DataError, match="has 3 events, but the checkpoint beside it was written after 4"):
        Logbook(path, keep=4)
    Logbook(path).close()
    assert path.read_bytes() == b""


def test_a_log_that_was_changed_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_text(json.dumps({"event": "start"}) + "\nnonsense\n")
    with pytest.raises(DataError, match=r"log.jsonl, line 2 is not JSON"):
        read_log(tmp_path / "log.jsonl")


def test_a_moving_average_by_hand():
    net = torch.nn.BatchNorm1d(1)
    average = MovingAverage(net, decay=0.15)
    with torch.no_grad():
        net.weight.fill_(2.0)
        net.running_mean.fill_(4.0)
        net.num_batches_tracked.fill_(9)
    average.update(step=0)  # decay 1/10
    assert average.weights["weight"].item() == pytest.approx(0.1 * 1 + 0.9 * 2)
    assert average.weights["running_mean"].item() == pytest.approx(0.9 * 4)
    assert average.weights["num_batches_tracked"].item() == 9
    average.update(step=100)  # decay 0.15, not 101/110
    assert average.weights["weight"].item() == pytest.approx(0.15 * 1.9 + 0.85 * 2)
