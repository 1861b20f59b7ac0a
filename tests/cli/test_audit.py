"""`thorax audit` by hand: what is printed, and the exit codes."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from thorax.cli.audit import audit
from thorax.datasets.nih import read_nih
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.splits import registered_sha256
from thorax.errors import DataError
from thorax.recipe.schema import Preparation
from thorax.store import build_store

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(audit)


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
    result = CliRunner().invoke(app, [str(work / "store"), *map(str, arguments)])
    if isinstance(result.exception, DataError):
        raise result.exception
    assert result.exit_code == expect, result.output
    return result


def test_a_clean_store_exits_with_zero(work):
    result = run(work, "--split", "folder-official")
    assert "0 errors, 0 warnings" in result.stdout
    assert "Prevalence by part" in result.stdout
    assert "looked at: " in result.stdout
    assert "not looked at: predictions: not given" in result.stdout


def test_an_error_exits_with_one_and_says_what_to_do(work):
    lists = {part: work / "source" / f"{part}_list.txt" for part in ("train_val", "test")}
    result = run(
        work, "--train-list", lists["train_val"], "--val-list", lists["test"], "--test-list", lists["test"],
        "--no-pixels", expect=1,
    )  # fmt: skip
    assert "error: patients in two parts: " in result.stdout
    assert "error: images in two parts: " in result.stdout
    assert "-> divide first and by patient" in result.stdout


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


def test_a_file_with_parts_is_audited_though_it_leaks(work):
    images = (work / "source" / "train_val_list.txt").read_text().split()
    rows = [f"images/{name},{'train' if number % 2 else 'test'}" for number, name in enumerate(images)]
    (work / "split.csv").write_text("\n".join(["Image Index,fold", *rows]))
    result = run(work, "--split", f"file:{work / 'split.csv'}", "--no-pixels", expect=1)
    assert "split file:split.csv" in result.stdout
    assert "[patients-in-two-parts]" in result.stdout
    assert "[split-unknown]" in result.stdout


def test_boxes_are_read(work):
    boxes = work / "source" / "BBox_List_2017.csv"
    result = run(work, "--split", "folder-official", "--boxes", boxes, "--no-pixels")
    assert "warning: images with boxes in training or validation: " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "neither is given; name one of them, such as `split=nih-official`"),
        (["--split", "folder-official", "--test-list", "x.txt"], "both are given"),
        (["--split", "folder-official", "--part", "dev"], "no part 'dev' in folder-official"),
        (["--test-list", "nothing.txt"], "nothing.txt cannot be read"),
        (["--split", "patient-1-2-3"], "there is no split 'patient-1-2-3'"),
        (["--split", "folder-official", "--metrics", "nothing.json"], "nothing.json cannot be read"),
    ],
)
def test_what_cannot_be_audited_is_refused(work, arguments, message):
    with pytest.raises(DataError, match=message):
        run(work, *arguments)
