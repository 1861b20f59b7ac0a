"""JSON in folders of runs and studies that strangers wrote."""

import pytest

from thorax.errors import DataError
from thorax.inspection import info
from thorax.recipe.load import load_recipe
from thorax.reporting.run_log import read_log, read_start
from thorax.run_files import STUDY
from thorax.studies.costs import read_cost
from thorax.tracking.follow import read_sent
from thorax.tracking.service import Target
from thorax.tuning.space import SearchSpace
from thorax.tuning.study_folder import open_study

DEEP = "[" * 60_000
contents = pytest.mark.parametrize(
    ("content", "reason"),
    [
        (DEEP, "nested too deep"),
        ("{", "JSON|damaged"),
        ("[]", "JSON object|damaged"),
        ("\udcff", "JSON|damaged"),
    ],
    ids=["deep", "cut", "a list", "not UTF-8"],
)


@contents
def test_a_damaged_log_is_refused_or_skipped(tmp_path, content, reason):
    line = content.encode(errors="surrogateescape") + b"\n"
    (tmp_path / "log.jsonl").write_bytes(line)
    with pytest.raises(DataError, match=reason):
        read_log(tmp_path / "log.jsonl")
    assert read_start(tmp_path) == {}
    (tmp_path / "cost.jsonl").write_bytes(line)
    assert read_cost(tmp_path / "cost.jsonl").seconds == 0
    (tmp_path / "recipe.toml").touch()
    assert "no epoch trained" in info(tmp_path).summary


@contents
def test_a_damaged_study_is_refused(tmp_path, content, reason):
    (tmp_path / STUDY).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=reason):
        open_study(tmp_path, load_recipe("small-cpu"), SearchSpace("", ()), {"seed": 0}, resume=True)


@contents
def test_what_was_tracked_is_not_guessed(tmp_path, content, reason):
    (tmp_path / "tracking.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=rf"tracking\.json is damaged .*{reason.replace('|', '|.*')}"):
        read_sent(tmp_path, Target("http://127.0.0.1:1"))
