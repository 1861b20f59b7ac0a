"""Control characters and terminal escapes in names are shown as escapes, whatever prints them."""

import csv
import io
import json
import shutil
from xml.etree import ElementTree as ET

import pytest

from tests.helpers.command import command
from thorax.datasets.phantom import write_phantoms
from thorax.quoting import visible, visible_lines
from thorax.starter import test_images as shipped_images

HOSTILE = "a\x1b[31m\x9b2J\x07\u202egnp\n.png"
SHOWN = "a\\x1b[31m\\x9b2J\\x07\\u202egnp\\n.png"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A radiograph and a file that cannot be read, with hostile names."""
    folder = tmp_path_factory.mktemp("files")
    shutil.copy(shipped_images()[0].path, folder / HOSTILE)
    (folder / f"b{HOSTILE}").write_bytes(b"\x1b[2J")
    return folder


def test_predictions_as_text(files):
    done = command("predict", files, expect=4)
    assert f"{SHOWN}\n" in done.stdout
    assert f"b{SHOWN}: the file is not a known image" in done.stderr
    assert visible_lines(done.stdout + done.stderr) == done.stdout + done.stderr


def test_predictions_as_csv(files):
    done = command("predict", files, "--csv", expect=4)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["source"] for row in rows} == {str(files / SHOWN)}
    assert visible_lines(done.stdout) == done.stdout


def test_predictions_as_json_have_the_name_itself(files):
    done = command("predict", files, "--json", expect=4)
    assert visible(done.stdout.rstrip("\n")) == done.stdout.rstrip("\n")
    assert json.loads(done.stdout)["source"] == str(files / HOSTILE)


def test_a_name_with_one_is_not_prepared(files, tmp_path):
    (files / "labels.csv").write_text(f'path,Edema\n"b{HOSTILE}",1\n', newline="")
    done = command("prepare", files / "labels.csv", "--out", tmp_path / "store", "--size", "64", expect=3)
    assert f"'b{SHOWN}' has characters that do not print" in done.stderr
    assert visible_lines(done.stderr) == done.stderr


def test_a_report_is_well_formed_and_shows_escapes(tmp_path):
    write_phantoms(tmp_path / "phantoms", patients=12, size=64)
    labels = tmp_path / "phantoms" / "Data_Entry_2017_v2020.csv"
    lines = labels.read_text().splitlines()
    images = [line.split(",")[0] for line in lines[1:]]
    rows = [f"{image},{number / len(images):.4f}" for number, image in enumerate(images)]
    model = tmp_path / "model\x1b]0;owned\x07.csv"
    model.write_text("\n".join(["Image Index,Effusion", *rows]) + "\n")
    done = command(
        "evaluate", "--predictions", model, "--labels", labels, "--resamples", "5", "--out", tmp_path / "out"
    )
    assert visible_lines(done.stdout + done.stderr) == done.stdout + done.stderr
    for name in ("report.html", "report.md", "metrics.json"):
        text = (tmp_path / "out" / name).read_text()
        assert "owned" in text
        assert visible_lines(text) == text
    page = (tmp_path / "out" / "report.html").read_text()
    assert ET.fromstring(page.partition("\n")[2]).tag.endswith("html")


def test_a_finding_cannot_have_one_in_its_name(tmp_path):
    (tmp_path / "labels.csv").write_text("path,finding:\x1b[31mMass\nimg.png,1\n")
    done = command("prepare", tmp_path / "labels.csv", "--out", tmp_path / "store", expect=3)
    assert "a finding cannot be called '\\x1b[31mMass': a name has at most 200 characters" in done.stderr
