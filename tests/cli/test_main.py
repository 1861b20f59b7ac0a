"""The main function's own part: messages of the library, said in the words of the command line."""

import pytest

from thorax.cli.main import _app, flags_of, with_flags


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("name one with `split`", "name one with --split"),
        ("give `device=cpu`", "give --device cpu"),
        ("use `optim.lr=1e-4` or `data.findings`", "use --set optim.lr=1e-4 or --set data.findings=..."),
        ("`other`, `thorax train` and `split.json.gz`", "`other`, `thorax train` and `split.json.gz`"),
    ],
)
def test_settings_in_backquotes_become_flags(message, shown):
    flags = {"split": "--split", "device": "--device", "settings": "--set"}
    assert with_flags(message, flags) == shown


def test_a_setting_that_the_verb_does_not_have_stays():
    assert with_flags("`split`, `optim.lr=1`", {"out": "--out"}) == "`split`, `optim.lr=1`"


def test_flags_are_those_of_the_verb():
    flags = flags_of(_app(["train", "recipes"]), ["train", "small-cpu", "--out", "run"])
    assert flags["settings"] == "--set"
    assert flags["record_test_curve"] == "--record-test-curve"
    assert "recipe" not in flags
    app = _app(["train", "recipes"])
    assert flags_of(app, ["recipes", "show", "small-cpu"]).keys() >= {"settings"}
    assert flags_of(app, ["recipes"])["as_json"] == "--json"
