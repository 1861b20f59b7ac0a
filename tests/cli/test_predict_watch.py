"""`thorax predict --watch` as a process of its own: what arrives is predicted once, however it ends."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers.command import command
from thorax import starter

IMAGES = sorted((starter.folder() / "images").glob("*.png"))
LONGEST = 90
"""Seconds that a busy machine may take."""


class Watch:
    """A watching process; its lines go to a file, because a killed process has no pipe to read from."""

    def __init__(self, folder, name):
        self.lines = folder / f"{name}.txt"
        words = [sys.executable, "-m", "thorax", "predict", "--watch", "in", "--out", "out"]
        with self.lines.open("w") as lines:
            self.process = subprocess.Popen(words, cwd=folder, stdout=lines, stderr=subprocess.STDOUT)

    def until(self, text):
        end = time.monotonic() + LONGEST
        while text not in self.lines.read_text():
            assert self.process.poll() is None, self.lines.read_text()
            assert time.monotonic() < end, self.lines.read_text()
            time.sleep(0.05)

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(LONGEST)


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def predicted(folder):
    """How often the journal has each file."""
    lines = (folder / "out" / "journal.jsonl").read_text().splitlines()[1:]
    names = [row["name"] for line in lines for row in json.loads(line)]
    return {name: names.count(name) for name in names}


def test_what_arrives_is_predicted_once_also_after_a_kill(inbox, tmp_path):
    shutil.copy(IMAGES[0], inbox / "first.png")
    watch = Watch(tmp_path, "one")
    watch.until("in/first.png  ")
    shutil.copy(IMAGES[1], inbox / "second.png")
    watch.until("in/second.png  ")
    assert watch.end(signal.SIGKILL) == -signal.SIGKILL
    shutil.copy(IMAGES[2], inbox / "third.png")
    (inbox / "Thumbs.db").write_bytes(b"nothing to see")
    again = Watch(tmp_path, "two")
    again.until("in/third.png  ")
    assert "in/first.png" not in again.lines.read_text()
    assert again.end(signal.SIGINT) == 0
    assert predicted(tmp_path) == {"first.png": 1, "second.png": 1, "third.png": 1, "Thumbs.db": 1}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "predictions.csv").read_text())))
    assert [row["Image Index"] for row in rows] == ["first.png", "second.png", "third.png"]
    last = again.lines.read_text()
    assert "3 images predicted" in last
    assert "Traceback" not in last
    assert (tmp_path / "out" / "index.html").exists()


def test_a_file_that_is_still_written_is_waited_for(inbox, tmp_path):
    content = IMAGES[0].read_bytes()
    watch = Watch(tmp_path, "one")
    watch.until("watching in")
    step = len(content) // 8
    with (inbox / "slow.png").open("wb", buffering=0) as file:
        for start in range(0, len(content), step):
            file.write(content[start : start + step])
            time.sleep(0.5)
    watch.until("in/slow.png  ")
    (inbox / "slow.png").write_bytes(IMAGES[1].read_bytes())  # another image under the same name
    end = time.monotonic() + LONGEST
    while predicted(tmp_path) != {"slow.png": 2}:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert watch.end(signal.SIGTERM) == 0
    assert "could not be predicted" not in watch.lines.read_text()
    (row,) = csv.DictReader(io.StringIO((tmp_path / "out" / "predictions.csv").read_text()))
    (other,) = csv.DictReader(io.StringIO(command("predict", IMAGES[1], "--wide").stdout))
    assert float(row["Mass"]) == pytest.approx(float(other["Mass"]), abs=1e-6)


def test_a_failure_is_reported_once_and_tried_again_when_it_changes(inbox, tmp_path):
    (inbox / "bad.png").write_bytes(IMAGES[0].read_bytes()[:2000])
    watch = Watch(tmp_path, "one")
    watch.until("bad.png: ")
    os.utime(inbox / "bad.png", (1, 1))
    end = time.monotonic() + LONGEST
    while predicted(tmp_path) != {"bad.png": 2}:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert watch.end(signal.SIGINT) == 4
    assert "1 of 1 file could not be predicted" in watch.lines.read_text()


def test_what_cannot_be_watched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    assert "--watch needs --out" in command("predict", "--watch", "in", expect=2).stderr
    assert "give images or folders" in command("predict", expect=2).stderr
    missing = command("predict", "--watch", "nowhere", "--out", "out", expect=3)
    assert "nowhere is not a folder" in missing.stderr
    assert not (tmp_path / "out").exists()
