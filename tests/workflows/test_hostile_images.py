"""Images that take their decoder down, at every door: each gets a message, and the rest is done."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import thorax
from tests.helpers.command import command
from tests.helpers.hostile import HOSTILE, faulty_decoders, gray, jpeg, jpeg_dicom
from tests.helpers.service import GOLDEN, running
from thorax.errors import ImageError

RUN = GOLDEN / "run"
CAUSES = {
    "crash.jpg": "the decoder crashed (SIGABRT); ",
    "hang.jpg": "decoding took more than the 2 s of CPU time that the image allows; ",
}


@pytest.fixture(autouse=True)
def with_faulty_decoders():
    with faulty_decoders():
        yield


@pytest.fixture(scope="module")
def contents():
    """By name, what the files of a folder hold; those that take their decoder down are in the middle."""
    stream = io.BytesIO()
    Image.fromarray(gray()).save(stream, "PNG")
    good = {"a.png": stream.getvalue(), "b.jpg": jpeg(seed=1), "z.dcm": jpeg_dicom(), "zz.jpg": jpeg(seed=2)}
    return good | {name: make() for name, make in HOSTILE.items()}


@pytest.fixture
def folder(contents, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name, content in contents.items():
        (images / name).write_bytes(content)
    return images


def test_predict_of_a_folder(folder, capfd):
    done = command("predict", RUN, folder, "--json", expect=ImageError.exit_code)
    assert [Path(json.loads(line)["source"]).name for line in done.stdout.splitlines()] == [
        "a.png",
        "b.jpg",
        "z.dcm",
        "zz.jpg",
    ]
    lines = done.stderr.splitlines()
    assert "2 of 6 files could not be predicted" in lines
    for name in HOSTILE:
        (line,) = (line for line in lines if line.startswith(f"{folder / name}: "))
        assert line.count(name) == 1
        assert CAUSES[name] in line
    assert capfd.readouterr() == ("", "")  # libraries' own words


@pytest.mark.parametrize(("verb", "name"), [("predict", "hang.jpg"), ("explain", "crash.jpg")])
def test_a_single_file(folder, verb, name):
    done = command(verb, RUN, folder / name, expect=ImageError.exit_code)
    assert CAUSES[name] in done.stderr


def test_the_library(folder, contents):
    model = thorax.load(RUN)
    with pytest.raises(ImageError, match=r"^crash\.jpg: "):
        model.predict(folder / "crash.jpg")
    with pytest.raises(ImageError, match=r"^<bytes>: "):
        model.explain(contents["crash.jpg"])
    sources = [folder / "crash.jpg", contents["crash.jpg"], folder / "b.jpg", contents["zz.jpg"], gray()]
    outcomes = list(model.predict_many(sources))
    assert [isinstance(outcome, thorax.Failure) for outcome in outcomes] == [True, True, False, False, False]
    assert [outcome.source for outcome in outcomes[:2]] == [str(folder / "crash.jpg"), "<bytes 1>"]
    assert outcomes[2].as_json()["findings"] == model.predict(contents["b.jpg"]).as_json()["findings"]


def test_prepare_rejects_them_and_keeps_the_rest(folder, contents, tmp_path):
    rows = [f"{name},p{number},{number % 2}" for number, name in enumerate(contents)]
    (folder / "labels.csv").write_text("\n".join(["path,patient,Mass", *rows, ""]))
    command("prepare", folder, "--out", tmp_path / "store", "--size", "64", expect=ImageError.exit_code)
    with (tmp_path / "store" / "rejected.csv").open(newline="") as file:
        rejected = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert sorted(rejected) == sorted(HOSTILE)
    assert all(CAUSES[name] in reason for name, reason in rejected.items())


def test_a_sheet_says_which_it_could_not_draw(folder, tmp_path):
    (folder / "hang.jpg").unlink()
    done = command("sheet", folder, "--out", tmp_path / "sheet.png", expect=ImageError.exit_code)
    assert "5 of 5 images are in" in done.stdout
    assert done.stderr.startswith("crash.jpg: the decoder crashed (SIGABRT); ")
    assert "1 of them could not be read" in done.stderr


def test_the_service_refuses_them_and_lives(contents):
    with running() as service:
        answer = service.post("/v1/predict?picture=true", contents["crash.jpg"])
        assert answer.status == 400
        assert answer.json["error"] == "ImageError"
        assert answer.json["message"].startswith(CAUSES["crash.jpg"])
        assert service.post("/v1/explain?finding=Mass", contents["crash.jpg"]).status == 400
        for name in ("a.png", "b.jpg", "z.dcm"):
            assert service.post("/v1/predict", contents[name]).status == 200
        assert service.get("/health/live").status == 200
        code, _, errors = service.end(signal.SIGTERM)
    assert "Traceback" not in errors
    assert code in {0, -signal.SIGTERM}


def test_a_hanging_upload_does_not_hold_up_the_others(contents):
    with running() as service:
        with ThreadPoolExecutor(1) as thread:
            slow = thread.submit(service.post, "/v1/predict", contents["hang.jpg"])
            time.sleep(0.3)
            assert service.post("/v1/predict", contents["a.png"]).status == 200
            assert service.get("/health/live").status == 200
            assert not slow.done()
        assert slow.result().status == 400
        assert slow.result().json["message"].startswith(CAUSES["hang.jpg"])


def test_decoders_that_are_killed_during_a_folder(tmp_path):
    """From outside: every file is predicted all the same."""
    (tmp_path / "images").mkdir()
    for number in range(24):
        shutil.copyfile(GOLDEN / "source" / "30.jpg", tmp_path / "images" / f"{number:02d}.jpg")
    (tmp_path / "images" / "07.jpg").write_bytes(jpeg(3000, 3000))
    program = [sys.executable, "-m", "thorax", "predict", str(RUN), str(tmp_path / "images"), "--json"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (children := _children(process.pid)):
            time.sleep(0.01)
        time.sleep(0.3)
        for child in children:
            os.kill(child, signal.SIGKILL)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert len(output.splitlines()) == 24


def _children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
