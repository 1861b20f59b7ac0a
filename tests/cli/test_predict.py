"""`thorax predict` on files and folders, as it is typed: what is printed, what is written, exit codes."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.command import command, thorax
from tests.helpers.dicom_writing import to_bytes
from tests.helpers.marked import marked_dataset
from thorax import starter
from thorax.cli.progress_lines import bars_or_lines, line_now_and_then
from thorax.progress import Progress

IMAGES = sorted((starter.folder() / "images").glob("*.png"))
LATERAL = "this is a lateral view; the model was trained on frontal views only"


def dicom(path, **changes):
    path.write_bytes(to_bytes(marked_dataset(**changes)))


@pytest.fixture(scope="module")
def disc(tmp_path_factory) -> Path:
    """A folder like that of a disc: images in folders, one lateral, one broken, and what is not an image."""
    folder = tmp_path_factory.mktemp("disc")
    for number in range(2):
        for image in IMAGES:
            (folder / f"{number}").mkdir(exist_ok=True)
            shutil.copy(image, folder / f"{number}" / image.name)
    dicom(folder / "IM0001", ViewPosition="LL", PatientOrientation=["A", "F"])
    (folder / "broken.png").write_bytes(IMAGES[0].read_bytes()[:3000])
    for name in ("Thumbs.db", "autorun.inf", "viewer.exe", "1/Thumbs.db"):
        (folder / name).write_bytes(b"MZ\x90\x00 nothing to see")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    return folder


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_many_files_get_a_line_each(disc):
    done = command("predict", disc, expect=4)
    _, *lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        str(disc / name) for name in sorted([f"{n}/{image.name}" for n in (0, 1) for image in IMAGES])
    ] + [str(disc / "IM0001")]
    assert lines[-1].endswith(f"warning: {LATERAL}")
    assert "Pneumonia 30.4 %" in lines[0]
    assert done.stderr.splitlines()[-2:] == [
        "5 files are not images and were left out: DICOMDIR, Thumbs.db (2), autorun.inf, viewer.exe",
        "1 of 8 files could not be predicted",
    ]


def test_what_is_not_an_image_is_no_failure_unless_it_is_given(disc, tmp_path):
    shutil.copytree(disc, tmp_path / "disc")
    (tmp_path / "disc" / "broken.png").unlink()
    assert "5 files are not images" in command("predict", tmp_path / "disc").stderr
    given = command("predict", IMAGES[0], disc / "viewer.exe", expect=4)
    assert "viewer.exe: the file is not a known image" in given.stderr
    shutil.rmtree(tmp_path / "disc" / "0")
    shutil.rmtree(tmp_path / "disc" / "1")
    (tmp_path / "disc" / "IM0001").unlink()
    assert "no image among the files in this folder" in command("predict", tmp_path / "disc", expect=4).stderr


def test_wide_rows_have_every_digit_thresholds_decisions_and_warnings(disc):
    wide = command("predict", disc, "--wide", expect=4)
    rows = list(csv.DictReader(io.StringIO(wide.stdout)))
    entries = [json.loads(line) for line in command("predict", disc, "--json", expect=4).stdout.splitlines()]
    long = list(csv.DictReader(io.StringIO(command("predict", disc, "--csv", expect=4).stdout)))
    assert [row["path"] for row in rows] == [entry["source"] for entry in entries]
    assert [row["Image Index"] for row in rows] == [
        str(Path(entry["source"]).relative_to(disc)) for entry in entries
    ]
    for row, entry in zip(rows, entries, strict=True):
        for name, finding in entry["findings"].items():
            assert float(row[name]) == finding["probability"]
            assert row[f"{name}_threshold"] == (
                "" if finding["threshold"] is None else str(finding["threshold"])
            )
            assert row[f"{name}_decision"] == (finding["decision"] or "")
        assert row["warnings"] == "; ".join(entry["warnings"])
        assert {line["warnings"] for line in long if line["source"] == row["path"]} == {row["warnings"]}
    assert rows[-1]["warnings"] == LATERAL
    assert f"1: {LATERAL}" in wide.stderr


def test_a_folder_of_predictions(disc, tmp_path):
    out = tmp_path / "out"
    done = command("predict", disc, "--out", out, expect=4)
    assert f"7 images predicted: {out / 'predictions.csv'}" in done.stdout
    printed = command("predict", disc, "--wide", expect=4).stdout
    assert (out / "predictions.csv").read_text() == printed
    rejected = {row["path"]: row["reason"] for row in rows_of(out / "rejected.csv")}
    assert rejected.pop(str(disc / "broken.png")).startswith("the PNG file is")
    assert list(rejected.values()) == ["not an image"] * 5
    errors = sorted(row["error"] for row in rows_of(out / "rejected.csv"))
    assert errors == ["not-an-image"] * 5 + ["unreadable"]
    again = command("predict", disc, "--out", out, expect=4)
    assert "7 images predicted (12 files were done earlier)" in again.stdout
    assert "1 of 8 files could not be predicted" in again.stderr
    assert (out / "predictions.csv").read_text() == printed


def test_what_is_new_or_changed_is_predicted_and_the_rest_is_kept(disc, tmp_path):
    shutil.copytree(disc, tmp_path / "in")
    folder, out = tmp_path / "in", tmp_path / "out"
    command("predict", folder, "--out", out, expect=4)
    before = rows_of(out / "predictions.csv")
    shutil.copy(IMAGES[1], folder / "broken.png")
    shutil.copy(IMAGES[2], folder / "0" / IMAGES[0].name)
    shutil.copy(IMAGES[0], folder / "0" / "a-new.png")
    done = command("predict", folder, "--out", out)
    assert "9 images predicted (11 files were done earlier)" in done.stdout
    after = rows_of(out / "predictions.csv")
    names = [row["Image Index"] for row in after]
    assert names.index("broken.png") < len(names) - 1  # where it was when it failed
    assert names[-1] == "0/a-new.png"
    kept = {row["Image Index"]: row for row in after}
    assert [kept[row["Image Index"]] for row in before[1:]] == before[1:]
    assert kept[f"0/{IMAGES[0].name}"]["Mass"] == kept[f"0/{IMAGES[2].name}"]["Mass"] != before[0]["Mass"]


def test_a_folder_of_something_else_or_of_other_settings_is_refused(disc, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("mine")
    assert "is not empty" in command("predict", disc, "--out", tmp_path / "notes", expect=3).stderr
    out = tmp_path / "out"
    command("predict", disc, "--out", out, expect=4)
    refused = command("predict", disc, "--out", out, "--findings", "Mass, Nodule", expect=3)
    assert "was begun with findings Atelectasis, Cardiomegaly" in refused.stderr
    assert "set --overwrite to begin again" in refused.stderr
    command("predict", disc, "--out", out, "--findings", "Mass, Nodule", "--overwrite", expect=4)
    assert list(rows_of(out / "predictions.csv")[0]) == [
        "Image Index", "Mass", "Nodule", "Mass_threshold", "Nodule_threshold", "Mass_decision",
        "Nodule_decision", "warnings", "path",
    ]  # fmt: skip


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["--wide"]])
def test_findings_limit_every_form(form):
    text = command("predict", *IMAGES, *form, "--findings", "Nodule,pleural effusion").stdout
    assert "Nodule" in text
    assert "ffusion" in text
    assert "Pneumonia" not in text
    refused = command("predict", *IMAGES, *form, "--findings", "Nodul", expect=3)
    assert "did you mean Nodule?" in refused.stderr


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("-", "standard input is not read; save the image to a file"),
        ("https://example.org/a.png", "https://example.org/a.png: only files are read; download it first"),
    ],
)
def test_what_is_not_a_file_gets_an_answer(source, answer):
    assert answer in command("predict", source, expect=4).stderr
    assert answer in command("predict", IMAGES[0], source, expect=4).stderr


def test_a_table_is_not_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("predict", IMAGES[0], "--out", "x.csv", expect=3)
    assert "out is a folder for predictions.csv" in done.stderr
    assert "--wide > x.csv" in done.stderr
    assert not Path("x.csv").exists()


def test_evaluate_and_compare_read_what_predict_wrote(tmp_path, nih_sample):
    tests = set(pd.read_csv(nih_sample / "test_list.txt.gz", header=None)[0])
    images = sorted(path for path in (nih_sample / "images").iterdir() if path.name in tests)
    command("predict", *images, "--out", tmp_path / "out")
    (tmp_path / "long.csv").write_text(command("predict", *images, "--csv").stdout)
    figures = []
    for name in ("out/predictions.csv", "long.csv"):
        report = tmp_path / f"report-{len(figures)}"
        command(
            "evaluate", "--predictions", tmp_path / name, "--labels",
            nih_sample / "Data_Entry_2017_v2020.csv.gz", "--out", report, "--resamples", "50",
        )  # fmt: skip
        values = json.loads((report / "metrics.json").read_text())
        figures.append((values["findings"], values["macro"], values["num_images"]))
    assert figures[0] == figures[1]
    assert figures[0][2] == len(images)


def test_a_killed_command_is_continued_and_ends_with_the_same_files(tmp_path):
    """Also if the last line of the journal was not whole."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(240):
        os.link(shutil.copy(IMAGES[number % 3], tmp_path / "one.png"), folder / f"{number:03}.png")
        (tmp_path / "one.png").unlink()
    (folder / "100.png").write_bytes(b"broken")
    words = [sys.executable, "-m", "thorax", "predict", "in", "--out", "out"]
    with subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        journal = tmp_path / "out" / "journal.jsonl"
        while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
            assert running.poll() is None
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
    kept = journal.read_bytes()
    assert kept.count(b"\n") < 8
    assert not (tmp_path / "out" / "predictions.csv").exists()
    journal.write_bytes(kept[:-10])
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 4
    assert "239 images predicted (" in again.stdout
    assert "were done earlier" in again.stdout
    whole = [*words[:-1], "whole"]
    subprocess.run(whole, cwd=tmp_path, capture_output=True, check=False)
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")


def files_in(folder):
    """Content of all files but the journal, which has times."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "journal.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_progress_is_a_line_now_and_then(capsys):
    times = iter([0.0, 4.0, 11.0, 11.0, 15.0, 22.0, 22.0, 40.0])
    show = line_now_and_then(every=10, clock=lambda: next(times))
    for done in (10, 20, 30, 40):
        show(Progress("predicting", done, 1000, 2.5, 90.4, "files"))
    show(Progress("predicting", 1000, 1000, 2.5, 0.0, "files"))
    assert capsys.readouterr().err.splitlines() == [
        "predicting: 20 of 1,000 files (2 %), 2.5/s, 0:01:30 left",
        "predicting: 40 of 1,000 files (4 %), 2.5/s, 0:01:30 left",
    ]


def test_each_epoch_begins_its_progress_anew(capsys):
    """One that is shorter than the time between two lines has its own line, and no more."""
    times = iter([0.0, 50.0, 61.0, 61.0, 100.0, 130.0, 130.0])
    show = line_now_and_then(every=60, anew=True, clock=lambda: next(times))
    for epoch, done in ((1, 10), (1, 20), (2, 10), (2, 20)):
        show(Progress(f"epoch {epoch} of 9", done, 1000, 2.5, None, detail="loss 0.25"))
    assert capsys.readouterr().err == "epoch 1 of 9: 20 of 1,000 images (2 %), 2.5/s, loss 0.25\n"


def test_stages_that_are_short_each_are_not_silent_together(capsys):
    times = iter([0.0, 6.0, 12.0, 12.0, 18.0])
    show = line_now_and_then(every=10, clock=lambda: next(times))
    for stage in ("predicting", "measuring", "drawing"):
        show(Progress(stage, 0, 4, 0.0, None, "steps", "intervals"))
    assert capsys.readouterr().err == "measuring: 0 of 4 steps (0 %), intervals\n"


def test_a_notebook_s_terminal_gets_lines(monkeypatch, capsys):
    """It runs commands on a terminal, but has no screen on which a bar could be redrawn."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    with bars_or_lines(every=-1) as show:
        show(Progress("predicting", 1, 4, 0.0, None, "files"))
    assert capsys.readouterr().err == "predicting: 1 of 4 files (25 %)\n"


def test_a_terminal_sees_a_bar(disc):
    """Standard error is a terminal, standard output a file."""
    leader, follower = os.openpty()
    words = [sys.executable, "-m", "thorax", "predict", str(disc), "--csv"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=follower) as running:
        os.close(follower)
        seen = b""
        while True:
            try:
                block = os.read(leader, 4096)
            except OSError:
                break
            if not block:
                break
            seen += block
    os.close(leader)
    assert running.returncode == 4
    assert b"predicting" in seen
    assert b"100 %" in seen
    assert seen.decode().splitlines()[-1].endswith("1 of 8 files could not be predicted")


@pytest.mark.parametrize("library", ["_multiarray_umath", "pydantic_core", "onnxruntime_pybind", "_imaging"])
def test_ctrl_c_is_clean_while_libraries_are_imported(library, disc):
    words = [sys.executable, "-m", "thorax", "predict", *[str(disc)] * 40]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        while library not in Path(f"/proc/{running.pid}/maps").read_text():
            time.sleep(0.0005)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate()
    assert b"Traceback" not in errors
    assert running.returncode == 130


def test_ctrl_c_before_training_begins_is_one_line(tmp_path):
    golden = Path(__file__).parents[1] / "data" / "golden"
    words = ["train", golden / "run" / "recipe.toml", "--store", golden / "store", "--out", tmp_path / "run"]
    command_line = [sys.executable, "-m", "thorax", *map(str, words)]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        while "libtorch" not in Path(f"/proc/{running.pid}/maps").read_text():
            time.sleep(0.005)
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate()
    assert output == b""
    assert errors.startswith(b"stopped; the same command begins again")
    assert errors.count(b"\n") == 1
    assert running.returncode in {130, -signal.SIGINT}  # Python itself ends so where a library compiled text


def test_the_help_names_what_out_writes():
    assert "predictions.csv" in thorax("predict", "--help").stdout
