"""What the system may do to a command: streams closed or full, a full disk, odd names, too little room."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.chest import chest
from tests.helpers.command import command as thorax

FULL = Path("/dev/full")

needs_dev_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, which this system lacks")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one image and a CSV that describes it."""
    path = tmp_path_factory.mktemp("faults")
    Image.fromarray(chest(96)).save(path / "a.png")
    (path / "labels.csv").write_text("path,patient,Mass\na.png,p1,1\n")
    return path


def shell(arguments, redirections="", *, cwd, **environment):
    """Run `thorax` with a shell's redirections, as a user types them; the output is bytes."""
    words = ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-m", "thorax", *arguments]
    done = subprocess.run(words, cwd=cwd, capture_output=True, check=False, env=os.environ | environment)
    assert b"Traceback" not in done.stderr
    return done


# ---- standard streams ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"]])
def test_predict_with_standard_output_closed_says_so(folder, form):
    done = shell(["predict", "a.png", *form], ">&-", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(
        "standard output is closed, where predict prints its results; send"
    )


@pytest.mark.parametrize(("redirection", "form"), [("2>&-", []), ("2>/dev/full", ["--csv"])])
def test_standard_error_closed_or_full_changes_no_exit_code(folder, redirection, form):
    if "full" in redirection and not FULL.exists():
        pytest.skip("needs /dev/full, which this system lacks")
    assert shell(["predict", "a.png", *form], redirection, cwd=folder).returncode == 0
    partly = shell(["predict", "a.png", "missing.png", *form], redirection, cwd=folder)
    assert partly.returncode == 4
    assert b"Hernia" in partly.stdout


def test_with_all_three_streams_closed_prepare_makes_the_same_store(folder, tmp_path):
    for out, redirections in ((tmp_path / "open", ""), (tmp_path / "closed", "<&- >&- 2>&-")):
        arguments = ["prepare", "labels.csv", "--size", "32", "--out", out]
        assert shell(arguments, redirections, cwd=folder).returncode == 0
    for file in (tmp_path / "open").iterdir():
        assert (tmp_path / "closed" / file.name).read_bytes() == file.read_bytes()


@needs_dev_full
@pytest.mark.parametrize("arguments", [["predict", "a.png", "--csv"], ["predict", "a.png"], ["recipes"]])
def test_a_full_disk_under_standard_output_is_named(folder, arguments):
    done = shell(arguments, ">/dev/full", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "No space left on device: standard output"


def test_a_reader_that_leaves_gets_no_message(folder):
    command = f"{sys.executable} -m thorax recipes | true; exec {sys.executable} -m thorax recipes >/dev/null"
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, check=False)
    assert done.stderr == b""
    assert done.returncode == 0


# ---- names ---------------------------------------------------------------------------------------


def test_names_that_are_not_utf_8_are_escaped_in_every_form(folder, tmp_path):
    name = os.fsencode(tmp_path) + b"/bad\xff.png"
    Path(os.fsdecode(name)).write_bytes((folder / "a.png").read_bytes())
    for form in ([], ["--csv"], ["--json"]):
        done = shell(["predict", name, *form], cwd=tmp_path)
        assert done.returncode == 0
        assert "bad\\udcff.png" in done.stdout.decode()
    assert json.loads(done.stdout)["source"].endswith("bad\udcff.png")


def test_names_that_the_terminal_cannot_show(folder, tmp_path):
    (tmp_path / "patiënt 中😀.png").write_bytes((folder / "a.png").read_bytes())
    for form in ([], ["--csv"], ["--json"]):
        done = shell(["predict", "patiënt 中😀.png", *form], cwd=tmp_path, PYTHONIOENCODING="latin-1")
        assert done.returncode == 0
        assert b"Hernia" in done.stdout
    assert json.loads(done.stdout)["source"] == "patiënt 中😀.png"


def test_a_store_in_a_folder_whose_name_is_not_utf_8(folder, tmp_path):
    out = os.fsencode(tmp_path) + b"/store\xff"
    for _ in range(2):  # made, then found finished
        done = shell(["prepare", "labels.csv", "--size", "32", "--out", out], cwd=folder)
        assert done.returncode == 0
        assert done.stdout.decode().endswith("store\\udcff\n")


def test_a_folder_too_deep_for_a_path_does_not_stop_predict(folder, tmp_path):
    """Longer than any path may be, and nested deeper than Python may call."""
    (tmp_path / "a.png").write_bytes((folder / "a.png").read_bytes())
    descriptors = [os.open(tmp_path, os.O_RDONLY)]
    for _ in range(1_500):
        os.mkdir("deep", dir_fd=descriptors[-1])
        descriptors.append(os.open("deep", os.O_RDONLY, dir_fd=descriptors[-1]))
        os.close(descriptors.pop(0))
    os.close(descriptors.pop())
    try:
        done = shell(["predict", tmp_path, "--csv"], cwd=tmp_path)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)
    assert done.returncode == 4
    assert b"a.png,Effusion," in done.stdout
    assert b"this cannot be opened (File name too long)" in done.stderr
    assert done.stderr.endswith(b"1 of 2 files could not be predicted\n")


# ---- too little ----------------------------------------------------------------------------------


@needs_dev_full
def test_a_full_disk_names_the_file_that_did_not_fit(folder, tmp_path):
    """A limit on the size of files, whose error is as nameless as that of a full disk."""
    limited = f'ulimit -f 1; exec {sys.executable} -B -m thorax "$@"'
    for arguments, name in (
        (["explain", "starter", "a.png", "--out", tmp_path / "map.svg"], "map.svg"),
        (["card", "starter", "--out", tmp_path / "card.md"], "card.md"),
        (["phantom", tmp_path / "phantoms", "--patients", "1"], ""),
    ):
        words = ["sh", "-c", limited, "sh", *arguments]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("File too large: ")
        assert f"{tmp_path}/" in done.stderr
        assert done.stderr.rstrip().endswith(name)
        assert not list(tmp_path.glob("**/.*"))


def test_too_few_file_descriptors_are_said(folder, tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.png").write_bytes((folder / "a.png").read_bytes())
    lines = [f"{number}.png,p{number},1" for number in range(9)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,patient,Mass", *lines, ""]))
    words = ["sh", "-c", f'ulimit -n 8; exec {sys.executable} -m thorax "$@"', "sh"]
    arguments = ["prepare", "labels.csv", "--size", "32", "--out", "store", "--workers", "2"]
    done = subprocess.run([*words, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "cannot be started (Too many open files); end other processes, or raise the limits" in done.stderr
    assert shell(arguments, cwd=tmp_path).stdout.decode().startswith("9 images of 32 x 32 pixels")


def test_ctrl_c_in_prepare_says_that_the_same_command_continues(tmp_path):
    image = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (1024, 1024), np.uint8)).save(image)
    names = [f"{number:04d}.png" for number in range(400)]
    for name in names:
        (tmp_path / name).symlink_to(image)
    (tmp_path / "list.csv").write_text("path,Mass\n" + "".join(f"{name},0\n" for name in names))
    words = ["prepare", str(tmp_path / "list.csv"), "--out", str(tmp_path / "store"), "--size", "64"]
    command = [sys.executable, "-m", "thorax", *words, "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        while not list(tmp_path.glob("store/.pixels-*")):
            time.sleep(0.01)
        time.sleep(0.5)  # none to 100 of the 400 images; what is kept is tested where stores are built
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate()
    assert running.returncode == 130
    assert "stopped; the same command continues where it stopped" in errors
    assert "Traceback" not in errors
    assert "400 images of 64 x 64 pixels" in thorax(*words).stdout
    assert "complete already" in thorax(*words).stderr
