"""The whole way by hand: what a user types, what is printed, and the exit codes."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import SMALL, command, thorax
from thorax.cli.main import VERBS
from thorax.wording import percent


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Phantoms, a store, a run and a report, made by the command line."""
    folder = tmp_path_factory.mktemp("work")
    command("phantom", folder / "phantoms", "--patients", "80", "--size", "64")
    command("prepare", folder / "phantoms", "--out", folder / "store", "--size", "64")
    command("train", "small-cpu", "--store", folder / "store", "--out", folder / "run", *SMALL)
    command(
        "evaluate", folder / "run", "--store", folder / "store", "--split", "folder-official",
        "--part", "test", "--out", folder / "report", "--resamples", "50",
    )  # fmt: skip
    return folder


def test_metrics_hold_what_a_reader_needs(work):
    metrics = json.loads((work / "report" / "metrics.json").read_text())
    assert metrics["split"]["name"] == "folder-official"
    assert metrics["split"]["part"] == "test"
    assert len(metrics["split"]["sha256"]) == 64
    assert metrics["num_images"] > metrics["num_patients"] > 0
    values = [each["auc"]["value"] for each in metrics["findings"].values()]
    assert len(values) == 14
    defined = [value for value in values if value is not None]
    assert metrics["macro"]["num_findings"] == len(defined)
    assert metrics["macro"]["auc"]["value"] == pytest.approx(np.mean(defined))
    assert (
        metrics["macro"]["auc"]["low"] <= metrics["macro"]["auc"]["value"] <= metrics["macro"]["auc"]["high"]
    )


def test_the_report_is_named_and_too_few_patients_have_no_table(work):
    done = command(
        "evaluate", work / "run", "--store", work / "store", "--out", work / "again", "--resamples", "50"
    )
    assert str(work / "again" / "report.html") in done.stdout
    assert done.stdout.startswith("TOO FEW PATIENTS TO SAY ANYTHING: no finding has at least 10 patients")
    assert "Cardiomegaly" not in done.stdout
    first, again = (json.loads((work / name / "metrics.json").read_text()) for name in ("report", "again"))
    assert again.pop("history")["looks"] > first.pop("history")["looks"]
    assert first == again


def test_the_parts_that_were_seen_are_refused(work):
    for part in ("train", "val"):
        done = command(
            "evaluate",
            work / "run",
            "--store",
            work / "store",
            "--part",
            part,
            "--out",
            work / "no",
            expect=3,
        )
        assert "LeakError" in done.stderr
        assert "patients were seen when this bundle was made" in done.stderr
    done = command(
        "evaluate", work / "run", "--store", work / "store", "--split", "patient-80-10-10",
        "--out", work / "no", expect=3,
    )  # fmt: skip
    assert "LeakError" in done.stderr
    assert not (work / "no").exists()


def test_predictions_agree_in_every_form(work):
    images = sorted((work / "phantoms" / "images").iterdir())[:3]
    lines = [
        json.loads(line) for line in command("predict", work / "run", *images, "--json").stdout.splitlines()
    ]
    assert [line["source"] for line in lines] == [str(image) for image in images]
    table = list(csv.DictReader(io.StringIO(command("predict", work / "run", *images, "--csv").stdout)))
    assert len(table) == 3 * 14
    for row in table:
        line = lines[[str(image) for image in images].index(row["source"])]
        entry = line["findings"][row["finding"]]
        assert float(row["probability"]) == entry["probability"]
        assert row["positive"] == {True: "1", False: "0", None: ""}[entry["positive"]]
    text = command("predict", work / "run", images[0]).stdout
    assert str(images[0].name) in text
    assert percent(lines[0]["findings"]["Cardiomegaly"]["probability"]) in text


def test_a_bad_file_is_reported_and_the_others_are_done(work, tmp_path):
    good = sorted((work / "phantoms" / "images").iterdir())[:2]
    for image in good:
        shutil.copy(image, tmp_path)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "cut.png").write_bytes(good[0].read_bytes()[:500])
    (tmp_path / ".hidden").write_text("left out")
    done = command("predict", work / "run", tmp_path, "--json", expect=4)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.count("notes.txt") == done.stderr.count("cut.png") == 1
    assert "1 of 3 files could not be predicted" in done.stderr
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/z.png", "a/b/y.png", "c.png"):
        shutil.copy(good[0], tmp_path / name)
    inside = [
        json.loads(line)["source"]
        for line in command("predict", work / "run", tmp_path, "--json", expect=4).stdout.splitlines()
    ]
    # As sorting the whole paths would have them.
    assert inside == [
        str(tmp_path / name)
        for name in sorted(["a/b/y.png", "a/z.png", "c.png", *(image.name for image in good)])
    ]
    (tmp_path / "empty").mkdir()
    assert "no file in this folder" in command("predict", work / "run", tmp_path / "empty", expect=4).stderr
    shutil.copy(good[0], tmp_path / "a[b]c [")
    assert "a[b]c [" in command("predict", work / "run", tmp_path / "a[b]c [").stdout
    done = command("predict", work / "run", tmp_path / "missing.png", expect=4)
    assert "missing.png" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "small-cpu", "--store", "STORE", "--out", "new", "--set", "optim.lrr=1"), 2, "optim.lr?"),
        (("train", "smal", "--store", "STORE", "--out", "new"), 2, "did you mean small-cpu"),
        (("train", "small-cpu", "--store", "nowhere", "--out", "new"), 3, "nowhere"),
        (("train", "small-cpu", "--store", "STORE", "--out", "new"), 3, "thorax prepare"),
        (("prepare", "nowhere", "--out", "new"), 3, "nowhere does not exist"),
        (("phantom", "new", "--patients", "0"), 2, "--patients"),
        (("phantom", "/proc/new", "--patients", "1"), 3, "/proc/new cannot be written"),
        (("evaluate", "RUN", "--store", "STORE", "--out", "FILE"), 3, "is a file; give a folder"),
        (("train", "small-cpu", "--store", "STORE", "--out", "FILE", *SMALL), 3, "is a file; give a folder"),
        (("prepare", "PHANTOMS", "--out", "new", "--dataset", "x"), 3, "omit --dataset x"),
        (("evaluate", "nowhere", "--store", "STORE", "--out", "new"), 5, "nowhere does not exist"),
        (("evaluate", "RUN", "--store", "STORE", "--out", "new", "--split", "x"), 3, "there is no split 'x'"),
        (("evaluate", "RUN", "--store", "STORE", "--out", "new", "--part", "x"), 3, "has no part 'x'"),
        (("predict", "nowhere", "a.png"), 5, "nowhere does not exist"),
        (("predict", "RUN", "a.png", "--device", "tpu"), 2, "tpu"),
        (
            ("predict", "RUN", "a.png", "--csv", "--json"),
            2,
            "choose one of --json, --csv, --out and --dicom-out",
        ),
        (
            ("predict", "RUN", "a.png", "--overlays", "all"),
            2,
            "--overwrite and --overlays concern the folder",
        ),
        (("predict", "RUN", "a.png", "--overwrite"), 2, "--overwrite and --overlays concern the folder"),
    ],
)
def test_wrong_input_gets_a_message_and_its_exit_code(work, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    places = {name.upper(): str(work / name) for name in ("store", "run", "phantoms")}
    done = command(*(places.get(each, each) for each in arguments), expect=code)
    assert message in done.stderr
    assert not (tmp_path / "new").exists()


def test_prepare_reports_what_it_could_not_use(tmp_path):
    command("phantom", tmp_path / "phantoms", "--patients", "5", "--size", "64")
    images = sorted((tmp_path / "phantoms" / "images").iterdir())
    images[1].write_bytes(b"no image at all")
    done = command("prepare", tmp_path / "phantoms", "--out", tmp_path / "store", "--size", "64", expect=4)
    assert "1 file could not be used" in done.stderr
    assert images[1].name in (tmp_path / "store" / "rejected.csv").read_text()
    assert f"{len(images) - 1} images of 64 x 64 pixels" in done.stdout


def test_a_process_ends_with_the_code_and_has_written_everything(work):
    images = work / "phantoms" / "images"
    done = thorax("predict", work / "run", images, "nowhere.png", "--json", expect=4)
    assert len(done.stdout.splitlines()) == len(list(images.iterdir()))
    assert f"1 of {len(list(images.iterdir())) + 1} files could not be predicted" in done.stderr
    assert "\nnowhere.png does not exist" in done.stderr
    assert thorax("predict", "nowhere", "a.png", expect=5).stderr.startswith(
        "BundleError: nowhere does not exist"
    )
    again = ("train", "small-cpu", "--store", work / "store", "--out", work / "run", *SMALL)
    assert "set --resume to continue it" in thorax(*again, expect=3).stderr


def test_help_and_version():
    assert "Not a medical device" in " ".join(command("--help").stdout.split())
    assert command("--version").stdout.startswith("thorax ")
    listed = command("--help").stdout
    for verb in VERBS:
        assert f" {verb} " in listed
        assert f"thorax {verb} " in command(verb, "--help").stdout
    assert "Did you mean 'predict'?" in command("preict", expect=2).stderr


def test_nobody_reads_the_predictions_to_their_end(work):
    images = work / "phantoms" / "images"
    words = [sys.executable, "-m", "thorax", "predict", str(work / "run"), str(images), "--csv"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout.readline().startswith(
            b"source,finding,probability,threshold,positive,prevalence,"
        )
        running.stdout.close()
        notes = running.stderr.read().splitlines()
    assert len(notes) == 2
    assert notes[0].startswith(b"On average at most 10 %")
    assert b"input gate" in notes[1]  # too few images to fit one on
    assert running.returncode in {0, 1}
