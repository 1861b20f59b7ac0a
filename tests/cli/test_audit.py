"""`thorax audit` by hand: what is printed, and the exit codes."""

import json
from pathlib import Path

import pytest

from tests.helpers.command import command
from thorax.datasets.nih import read_nih
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.splits import registered_sha256
from thorax.recipe.schema import Preparation
from thorax.store import build_store


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Phantoms and their store."""
    folder = tmp_path_factory.mktemp("audit")
    write_phantoms(folder / "source", patients=60, size=64)
    source = read_nih(folder / "source")
    sums = registered_sha256(source.whole, source.dataset)
    build_store(source, folder / "store", Preparation(size=64), split_sha256=sums, workers=1)
    return folder


def run(work, *arguments, expect=0):
    return command("audit", work / "store", *arguments, expect=expect)


def test_a_clean_store_exits_with_zero(work):
    result = run(work, "--split", "folder-official")
    assert "0 errors, 0 warnings" in result.stdout
    assert "Prevalence by part" in result.stdout
    assert "checked: " in result.stdout
    assert "not checked: predictions: not given" in result.stdout


def test_an_error_exits_with_one_and_says_what_to_do(work):
    lists = {part: work / "source" / f"{part}_list.txt" for part in ("train_val", "test")}
    result = run(
        work, "--train-list", lists["train_val"], "--val-list", lists["test"], "--test-list", lists["test"],
        "--no-pixels", expect=1,
    )  # fmt: skip
    assert "error: patients in two parts: " in result.stdout
    assert "error: images in two parts: " in result.stdout
    assert "-> split first and by patient" in result.stdout


def test_json_is_all_that_is_printed(work):
    predictions = work / "predictions.csv"
    predictions.write_text(
        "image,Mass\n" + (work / "source" / "train_val_list.txt").read_text().replace("\n", ",0.5\n")
    )
    result = run(
        work, "--split", "folder-official", "--predictions", predictions, "--no-pixels", "--json", expect=1
    )
    value = json.loads(result.stdout)
    assert value["failed"] is True
    assert {"rows-of-train", "constant"} <= {problem["kind"] for problem in value["problems"]}


def test_messages_name_the_flags(work):
    done = run(work, expect=3)
    assert "can be audited with --split or with lists of its images, and neither is given" in done.stderr
    assert "such as --split nih-official" in done.stderr
