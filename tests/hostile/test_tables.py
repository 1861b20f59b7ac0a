"""CSV and JSON files that a stranger made; the names are those of the trials in which each failed."""

import csv
import gzip
import json
import os
import time

import pytest
from PIL import Image

from tests.helpers.toy_bundle import images
from thorax import tabular
from thorax.datasets.nih import _read_lines
from thorax.datasets.sources import read_folder
from thorax.errors import DataError
from thorax.evaluation.inputs.metrics_json import read_metrics
from thorax.evaluation.inputs.prediction_csv import read_predictions
from thorax.evaluation.thresholds import read_threshold_set
from thorax.findings import NIH14, Finding
from thorax.quoting import is_formula, path_cell
from thorax.store.manifest import StoreManifest, load_section
from thorax.tabular import read_table


def table(folder, header="path,finding:Mass", rows=("a.png,1",)):
    (folder / "a.png").touch()
    path = folder / "x.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("columns", [9000, 10_000, 50_000], ids=lambda count: f"cols-{count}")
def test_too_many_columns(tmp_path, columns):
    """5,000 columns took 17 seconds, and 10,000 more than a minute."""
    header = "path," + ",".join(f"finding:F{number}" for number in range(columns))
    path = table(tmp_path, header, ["a.png" + ",1" * columns])
    start = time.monotonic()
    for read in (read_folder, read_table):
        with pytest.raises(DataError, match=rf"has {columns + 1:,} columns, and a CSV at most 1,000"):
            read(path)
    assert time.monotonic() - start < 10


def test_as_many_columns_as_there_may_be(tmp_path):
    header = "path," + ",".join(f"finding:F{number}" for number in range(999))
    assert len(read_folder(table(tmp_path, header, ["a.png" + ",1" * 999])).table.findings) == 999


@pytest.mark.parametrize("name", ["x" * 201, "y" * 500_000, "z" * 2_000_000], ids=len)
def test_a_header_of_one_long_name(tmp_path, name):
    """The message had the name twice: 32 MB."""
    path = table(tmp_path, f"path,{name}", ["a.png,1"])
    with pytest.raises(
        DataError, match=r"has a column whose name has 201|field limit|a line of more"
    ) as refused:
        read_folder(path)
    assert len(str(refused.value)) < 400 + len(str(path))


@pytest.mark.parametrize("end", ["", "\n", "\r"])
def test_one_line_of_many_megabytes(tmp_path, end):
    """One of 500 MB took 36 seconds and 4.2 GB."""
    path = tmp_path / "x.csv"
    path.write_text(f"path,finding:Mass{end or chr(10)}" + "x" * (2**20 + 2**17) + end)
    for read in (read_folder, read_table):
        with pytest.raises(DataError, match="has a line of more than 1 MB"):
            read(path)


def test_bomb_csv_gz(tmp_path, monkeypatch):
    """1.6 MB became 1.6 GB, and 4.7 GB of memory; here in small."""
    monkeypatch.setattr(tabular, "MOST_BYTES", 2**20)
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"path,finding:Mass\n" + (b"a.png," + b"0" * 90 + b"\n") * 12_000)
    assert path.stat().st_size < 20_000
    for read in (read_folder, read_table):
        with pytest.raises(DataError, match="has more than 1 MB of text, unpacked"):
            read(path)


def test_a_field_of_many_lines(tmp_path):
    """A field with line breaks is bounded by the reader of CSV."""
    path = tmp_path / "x.csv"
    path.write_text('image,Mass\n"' + "x\n" * 100_000 + '",1\n')
    with pytest.raises(DataError, match="field larger than field limit"):
        read_table(path)


def test_lines_are_counted_across_blocks(tmp_path):
    """Many lines of any length, with each kind of end, are read as before."""
    for end in ("\n", "\r\n", "\r"):
        path = tmp_path / "x.csv"
        rows = [f"{number}.png,{'x' * (number * 37 % 5000)}" for number in range(300)]
        path.write_bytes(end.join(["image,text", *rows, ""]).encode())
        assert path.stat().st_size > 2 * tabular._BLOCK
        assert [",".join(row) for row in read_table(path).rows] == rows


@pytest.mark.usefixtures("ends")
def test_tables_that_are_pipes(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    for read in (read_folder, read_table, _read_lines, read_predictions):
        with pytest.raises(DataError, match="a pipe, a device or a socket, not a file"):
            read(tmp_path / "x.csv")


@pytest.mark.parametrize("age", ["1" * 5000, "0" * 60_000 + "x"])
def test_an_age_of_5000_digits(tmp_path, age):
    """It was a traceback; and an age of zeros took time by the square of its length."""
    path = table(tmp_path, "path,age,finding:Mass", [f"a.png,{age},1"])
    start = time.monotonic()
    with pytest.raises(DataError, match=r"x\.csv, line 2: .* is not an age; write whole years") as refused:
        read_folder(path)
    assert time.monotonic() - start < 5
    assert len(str(refused.value)) < 2100


# ---- formulas and markup ---------------------------------------------------------------------------------

EVIL = ["=cmd|x!A0", "@SUM(A1)", "+cmd|x!A0", "-2+3+cmd|' /C calc'!A0", "\x1b[31m", "x\ny", "\0", "z" * 201]


@pytest.mark.parametrize("name", EVIL, ids=repr)
def test_evilfind(tmp_path, name):
    with pytest.raises(DataError, match="a finding cannot be called"):
        Finding(name)
    path = tmp_path / "x.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["path", f"finding:{name}"], ["a.png", "1"]])
    with pytest.raises(DataError):
        read_folder(path)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a|b", "{{7*7}}", "+", "-5", "Größe"])
def test_other_names_of_findings_are_only_names(name):
    """Reports escape them."""
    assert str(Finding(name)) == name


@pytest.mark.parametrize("column", ["patient", "image"])
@pytest.mark.parametrize("text", ["=cmd|x!A0", "-1+cmd|x!A0", "a\x1b[31mb", "a\0b"])
def test_ids_that_would_act(tmp_path, column, text):
    """They come out in the tables of predictions and of reports."""
    path = table(tmp_path, f"path,{column},finding:Mass", ["a.png,7,1", f"b.png,{text},0"])
    with pytest.raises(DataError, match=rf"line 3: the {column} .* (is a spreads|has char)"):
        read_folder(path)


def test_predictions_with_a_formula_for_an_image(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("image,Mass\n=cmd|x!A0,0.5\n")
    with pytest.raises(DataError, match=r"line 2: the image '=cmd\|x!A0' is a spreadsheet's formula"):
        read_predictions(path, findings=NIH14)


def test_formulas_and_numbers_are_told_apart():
    for text in ("-5", "+49 30 1234", "-A1", "a=b", "1-(2)", ""):
        assert not is_formula(text)
    assert path_cell("=a.png") == "./=a.png"
    assert path_cell("-a.png") == "./-a.png"
    assert path_cell("a=.png") == "a=.png"


def test_a_file_whose_name_is_a_formula(tmp_path, folder, thorax, monkeypatch):
    """The cell is a path to the same file, and no formula."""
    name = "=cmd|'C calc'!A0.png"
    Image.fromarray(images(1, 120)[0]).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    done = thorax("predict", folder, name, "--csv")
    assert done.returncode == 0
    _, *rows = csv.reader(done.stdout.splitlines())
    assert {row[0] for row in rows} == {f"./{name}"}
    assert (tmp_path / rows[0][0]).is_file()


# ---- JSON ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["[" * 60_000, '{"a":' * 60_000, "[" * 2_000_000])
@pytest.mark.parametrize(
    "read",
    [
        read_metrics, lambda path: read_threshold_set(path, NIH14),
        lambda path: load_section(StoreManifest, path),
    ],
    ids=["card-t_deep", "t_deep", "store"],
)  # fmt: skip
def test_deep_json(tmp_path, content, read):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DataError, match="it is nested too deep"):
        read(path)


@pytest.mark.usefixtures("ends")
def test_json_that_is_a_pipe_or_too_large(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_text(json.dumps("x"))
    os.truncate(tmp_path / "large", 2**26 + 1)
    for name in ("fifo", "large"):
        with pytest.raises(DataError, match="cannot be read"):
            read_metrics(tmp_path / name)
