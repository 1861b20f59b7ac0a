"""Looks at test parts: what is counted, where it is noted, and what a kill or a second process leaves."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest

from thorax.atomic_io import append_line
from thorax.evaluation.looks import LOOKS, Measured, note_look, note_looks, read_looks, state_looks
from thorax.image_set import ImageSet
from thorax.prediction import ModelIdentity

MODEL = ModelIdentity("small-cpu", "a" * 64, calibrated=True)
OTHER = ModelIdentity("other.csv", "b" * 64, calibrated=False)


def images(*names, split="folder-official", part="test", sha256="5" * 64):
    return ImageSet.of(
        names, names, dataset="toy", split=split, part=part, split_sha256=sha256 if split else ""
    )


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "thorax" / LOOKS


def test_every_look_counts_once_though_it_is_noted_twice(tmp_path, state):
    run = tmp_path / "run"
    histories = [
        note_look(images("a", "b"), MODEL, command="evaluate", run=run),
        note_look(images("a"), MODEL, command="evaluate view=PA", run=run),  # of the same part
        note_look(images("c", sha256="6" * 64), MODEL, command="evaluate", run=run),  # of another split
        note_look(images("a", "b"), MODEL, command="compare", run=run),
    ]
    assert [history.looks for history in histories] == [1, 2, 1, 3]
    assert histories[0].noted_in == ("run", "state")
    assert [look.command for look in read_looks(run / LOOKS)] == [
        "evaluate", "evaluate view=PA", "evaluate", "compare",
    ]  # fmt: skip
    assert list(read_looks(state)) == list(read_looks(run / LOOKS))
    assert histories[0].sentences()[0].startswith("This is the first look")
    assert histories[3].sentences()[0].startswith("This is look 3 of this model; the first was on 20")


def test_models_of_one_comparison_are_not_looks_of_other_models(tmp_path, state):
    note_look(images("a", "b"), OTHER, command="evaluate")
    run = tmp_path / "run"
    pair = [Measured(images("a", "b"), MODEL, run), Measured(images("a", "b"), OTHER)]
    for number in (1, 2):  # what came before counts, this comparison does not
        ours, theirs = note_looks(pair, command="compare")
        assert (ours.looks, ours.other_looks, ours.other_models) == (number, number, 1)
        assert (theirs.looks, theirs.other_looks) == (number + 1, number - 1)
    assert len(list(read_looks(state))) == 5
    assert len(list(read_looks(run / LOOKS))) == 2
    twice = note_looks([pair[0], pair[0]], command="compare")
    assert [history.looks for history in twice] == [3, 3]
    assert note_looks([Measured(images("a", part="val"), MODEL), pair[1]], command="compare")[0] is None


def test_looks_of_other_models_at_the_same_images_are_counted(state):
    note_look(images("a", "b"), MODEL, command="evaluate")
    for _ in range(2):
        history = note_look(images("a", "b", split="", part=""), OTHER, command="evaluate")
    assert (history.looks, history.other_looks, history.other_models) == (2, 1, 1)
    assert "another model looked at them once" in history.sentences()[1]
    assert history.as_json()["looks_of_other_models"] == 1
    assert history.previous


@pytest.mark.parametrize("part", ["train", "val"])
def test_parts_that_choose_are_not_noted(tmp_path, state, part):
    assert note_look(images("a", part=part), MODEL, command="evaluate", run=tmp_path) is None
    assert not state.exists()
    assert not (tmp_path / LOOKS).exists()


def test_where_the_run_cannot_be_written_the_state_folder_counts(tmp_path, state):
    (tmp_path / LOOKS).mkdir()
    for number in (1, 2):
        history = note_look(images("a"), MODEL, command="evaluate", run=tmp_path)
        assert (history.looks, history.noted_in) == (number, ("state",))
    state.unlink()
    state.mkdir()
    history = note_look(images("a"), MODEL, command="evaluate", run=tmp_path)
    assert (history.looks, history.noted_in) == (1, ())
    assert "could not be noted" in history.sentences()[-1]


def test_the_state_folder_is_where_the_specification_puts_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for stated in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", stated)
        assert state_looks() == tmp_path / ".local" / "state" / "thorax" / LOOKS


def test_a_line_that_a_kill_left_unfinished_damages_no_other(tmp_path, state):
    note_look(images("a"), MODEL, command="evaluate", run=tmp_path)
    with (tmp_path / LOOKS).open("a") as file:
        file.write('{"id": "0123", "time": "20')
    history = note_look(images("a"), MODEL, command="evaluate", run=tmp_path)
    assert history.looks == 2
    assert len(list(read_looks(tmp_path / LOOKS))) == 2
    assert (tmp_path / LOOKS).read_bytes().endswith(b"}\n")


def test_hostile_lines_are_no_looks(tmp_path, state):
    note_look(images("a"), MODEL, command="evaluate", run=tmp_path)
    (look,) = read_looks(tmp_path / LOOKS)
    wrong = [b"[]", b"\xff\xfe", b"null", json.dumps(asdict(look) | {"time": 5}).encode(), b"[" * 3000, b""]
    (tmp_path / LOOKS).write_bytes(b"\n".join(wrong) + b"\n")
    assert list(read_looks(tmp_path / LOOKS)) == []


_WRITER = """
import sys
from pathlib import Path
from thorax.atomic_io import append_line
for number in range(int(sys.argv[2])):
    append_line(Path(sys.argv[1]), sys.argv[3] * 500 + str(number))
"""


def _writer(path, letter, *, lines=200):
    return subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(lines), letter], env=os.environ)


def test_two_processes_never_mix_their_lines(tmp_path):
    path = tmp_path / "lines"
    writers = [_writer(path, letter) for letter in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted(f"{letter * 500}{number}" for letter in "ab" for number in range(200))


def test_a_killed_process_leaves_whole_lines_for_the_next(tmp_path):
    path = tmp_path / "lines"
    writer = _writer(path, "a", lines=100_000)
    while not path.exists() or path.stat().st_size < 5_000:
        assert writer.poll() is None
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    append_line(path, "after")
    *earlier, last = path.read_text().splitlines()
    assert last == "after"
    assert earlier == [f"{'a' * 500}{number}" for number in range(len(earlier))]
