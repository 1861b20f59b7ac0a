"""A disk that is too small for a result is named before any work, with what it needs and what it has.

Each command runs with a disk of its own: a file system of that size in memory, which only it sees.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tests.helpers.chest import chest
from tests.helpers.command import SMALL, command
from tests.helpers.gates import quick_gates
from tests.helpers.service import GOLDEN
from tests.web.conftest import archive  # noqa: F401  (a fixture)
from thorax.errors import DataError

_DISK = """mount -t tmpfs -o size="$1" none "$2" && cd "$2" && shift 2
"$@"; code=$?; find . -mindepth 1; exit $code"""

BUNDLE = GOLDEN / "run"


def can_mount():
    words = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(words, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not can_mount(), reason="this system lets no user mount a file system")


def refused(tmp_path, size, *words):
    """Run a command on a disk of so many kB, its working folder; return what it says, and what it left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "thorax", *map(str, words)]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", _DISK, "sh", f"{size}k", str(disk), *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "300", "XDG_STATE_HOME": str(tmp_path / "state")},
    )
    assert done.returncode == DataError.exit_code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr, [name for name in done.stdout.splitlines() if name.startswith("./")]


def assert_refused(tmp_path, size, *words, place="disk"):
    """The message has what is needed, more than is free, and what is free; return what was left."""
    said, left = refused(tmp_path, size, *words)
    found = re.search(r"will take about ([\d.]+ \w+), and (\S+) has ([\d.]+ \w+) free; free some space", said)
    assert found is not None, said
    assert found[2] == str(tmp_path / place)
    assert bytes_of(found[1]) > bytes_of(found[3])
    assert bytes_of(found[3]) <= 1.01 * (size << 10)  # both are rounded
    return left


def bytes_of(text):
    number, unit = text.split()
    return float(number) * {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


@pytest.fixture
def labels(tmp_path):
    """A CSV of three images."""
    lines = ["path,patient,Mass"]
    for number in range(3):
        Image.fromarray(chest(96 + number)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,p{number},{number % 2}")
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_phantom_and_prepare_say_how_much_they_need(tmp_path, labels):
    assert not assert_refused(tmp_path, 512, "phantom", "phantoms", "--patients", "200", "--size", "256")
    (tmp_path / "disk").rmdir()
    words = ("prepare", labels, "--size", "1024", "--out", "store")
    left = assert_refused(tmp_path, 512, *words, place="disk/store")
    assert left  # the plan, with which the same command begins again
    assert not [name for name in left if "pixels" in name]


def test_a_copy_of_a_bundle_says_so(tmp_path):
    assert not assert_refused(tmp_path, 32, "ensemble", BUNDLE, BUNDLE, "--out", "both")
    (tmp_path / "disk").rmdir()
    assert not assert_refused(tmp_path, 32, "export", BUNDLE, "--on-phantoms", "--out", "copy")


def test_an_import_says_so_before_it_reads_the_checkpoint(tmp_path):
    checkpoint = tmp_path / "weights.safetensors"
    with checkpoint.open("wb") as file:
        file.truncate(5_000_000)  # holds nothing that could be read
    words = ("import", checkpoint, "--as", "torchxrayvision", "--out", "imported")
    assert not assert_refused(tmp_path, 512, *words)


def test_a_site_says_so(tmp_path, archive):  # noqa: F811
    words = ("export", "starter", "--to", "web", "--runtime", archive, "--out", "site")
    assert not assert_refused(tmp_path, 512, *words)


def test_a_report_says_so_before_it_reads_the_predictions(tmp_path, labels):
    predictions = tmp_path / "predictions.csv"
    predictions.write_text("not predictions\n")
    words = ("--predictions", predictions, "--labels", labels, "--out", "report")
    assert not assert_refused(tmp_path, 512, "evaluate", *words)


def test_a_download_says_so_before_its_first_byte(tmp_path):
    said, left = refused(tmp_path, 512, "download", "nih", "nih")
    assert re.search(
        r"the download needs about [\d.]+ GB with its unpacked images, but the disk of nih has 0\.0 GB", said
    )
    assert left == []


@pytest.mark.slow
def test_training_and_the_gate_say_so(tmp_path, monkeypatch):
    command("phantom", tmp_path / "phantoms", "--patients", "140", "--size", "64")
    store = tmp_path / "store"
    command("prepare", tmp_path / "phantoms", "--size", "64", "--out", store)
    words = ("train", "small-cpu", *SMALL, "--set", "data.split=patient-70-15-15", "--store", store)
    said, left = refused(tmp_path, 64, *words, "--out", "run")
    assert "will take about" in said
    assert not [name for name in left if name.endswith((".safetensors", ".pt", ".onnx"))]
    (tmp_path / "disk").rmdir()
    quick_gates(monkeypatch)
    command(*words, "--out", tmp_path / "run")
    assert not assert_refused(tmp_path, 64, "gate", tmp_path / "run", "--store", store, "--out", "gated")
    (tmp_path / "disk").rmdir()
    assert not assert_refused(
        tmp_path, 64, "calibrate", tmp_path / "run", "--store", store, "--out", "calibrated"
    )
