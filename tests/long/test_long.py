"""The short forms of the long runs, as `make kills`, `make soak` and `make fuzz` start them."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.node import isolated, needs
from tests.long.targets.case import Place, bad_message, input_of, tried

ROOT = Path(__file__).parents[2]


def long_run(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.long.{module}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prepare", "download"])
def test_kills(kind):
    """Training and studies have tests of their own, which kill them at chosen moments."""
    said = long_run("kills", kind, "--count", "3", "--seed", "3")
    assert re.match(
        rf"{kind}: 3 runs killed \(seed 3\), \d+ killed after their end; [1-9]\d* folders, each equal", said
    )


@pytest.mark.slow
def test_soak():
    said = long_run("soak", "--minutes", "0.1", "--growth", "1.25", "--seed", "3")
    assert re.search(r"soak: \d+ passes in \d+ s \(seed 3\): \d+ Failure, \d+ Prediction\n", said)
    assert "+0 descriptors, +0 processes" in said


@pytest.mark.slow
def test_fuzz():
    said = long_run("fuzz", "--count", "60", "--seed", "3", "--workers", "1")
    for kind in ("images", "tables", "archives", "checkpoints", "manifests", "graphs", "settings"):
        assert re.search(
            rf"{kind}: 60 cases \(seed 3\) in \d+ s: (\d+ lost, )?(\d+ read, )?\d+ refused\n", said
        )


@pytest.mark.slow
def test_uploads():
    said = long_run("service", "--count", "300", "--seed", "3")
    assert re.match(r"service: 300 uploads \(seed 3\) in \d+ s: .* 30 good; at most \d+ MB", said)


@pytest.mark.slow
def test_pdus():
    needs("storescu")
    said = long_run("pdus", "--count", "200", "--seed", "3")
    assert re.match(r"pdus: 200 connections \(seed 3\) in \d+ s: .* 20 good", said)


@pytest.mark.slow
def test_kills_of_a_node():
    needs("Orthanc", "storescu")
    if not isolated():
        pytest.skip("this machine does not permit a network of its own")
    said = long_run("node_kills", "--count", "4", "--objects", "12", "--seed", "3")
    assert re.match(r"node: \d nodes and \d senders killed \(seed 3\), Orthanc away", said)


def test_a_case_of_the_fuzzer_is_the_same_every_time(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text("path,patient\na.png,p1\n")
    place = Place(tmp_path, tmp_path, 1, "tables")
    inputs = [input_of(place, number) for number in range(50)]
    assert inputs == [input_of(place, number) for number in range(50)]
    assert len(set(inputs)) > 40


def with_reader(sample, *, reader):
    return sample, reader


def test_the_fuzzer_notices_what_it_looks_for(tmp_path):
    """A traceback, a file outside of its folder, a message without end, and a control character."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text("path,patient\na.png,p1\n")

    def wrong(path):
        raise IndexError("here")

    def outside(path):
        (tmp_path / "tables" / "b.csv").write_text("")

    def right(path):
        (path.parent / "b.csv").write_text("")

    context = (str(tmp_path), "tables", 1)
    said = [tried(context, 0, partial(with_reader, reader=reader)) for reader in (wrong, outside, right)]
    assert [one["outcome"] for one in said] == ["failed", "failed", "read"]
    assert said[0]["what"] == "IndexError: here"
    assert said[1]["where"] == "outside of its folder"
    assert bad_message("long " * 1000)["where"] == bad_message("\x1b[31m")["where"] == "message"
    assert bad_message("one line,\n\tand another") == {}
