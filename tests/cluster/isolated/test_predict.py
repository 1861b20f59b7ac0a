"""`predict` over two nodes: table, page, pictures and journal of one machine, also if a node is killed."""

import itertools
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import thorax
from tests.helpers.chest import chest
from thorax.errors import DataError

COUNT = 3 * 32


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Radiographs with noise, and some files that are none."""
    folder, draws, real = tmp_path_factory.mktemp("images"), np.random.default_rng(0), chest(300).astype(int)
    for number in range(COUNT):
        noisy = np.clip(real + draws.integers(-9, 10, real.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:04d}.{'jpg' if number % 3 == 0 else 'png'}")
    (folder / "0050b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "0060b.jpg").write_bytes((folder / "0060.jpg").read_bytes()[:2000])
    (folder / "notes.txt").write_text("not an image")
    return folder


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def expected(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "out"
    done = thorax.load().predict_folder(images, out)
    assert (done.tally.predicted, done.tally.failed) == (COUNT, 2)
    return content(out)


def assert_same(found, expected):
    """Two folders hold the same bytes; the first file that differs is shown by its first lines that do."""
    assert sorted(found) == sorted(expected)
    for name in expected:
        lines = [content[name].splitlines() for content in (found, expected)]
        assert [pair for pair in itertools.zip_longest(*lines) if pair[0] != pair[1]][:3] == [], name


def test_the_folder_is_that_of_one_machine_though_a_node_is_killed(
    nodes, images, expected, cluster, tmp_path
):
    counts, killed = [], []

    def kill(now):
        counts.append(now.done)
        if now.done >= COUNT // 3 and not killed:
            nodes.kill()
            killed.append(now.done)

    done = thorax.load().predict_folder(images, tmp_path / "out", cluster=cluster, progress=kill)
    nodes.add()
    assert killed
    assert (done.tally.predicted, done.tally.failed, done.tally.total) == (COUNT, 2, COUNT + 2)
    assert_same(content(tmp_path / "out"), expected)
    assert counts == sorted(counts)


def test_the_command_continues_what_was_stopped(nodes, images, expected, cluster, tmp_path):
    def stop(now):
        if now.done >= COUNT // 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        thorax.load().predict_folder(images, tmp_path / "out", cluster=cluster, progress=stop)
    assert not (tmp_path / "out" / "predictions.csv").exists()
    words = [sys.executable, "-m", "thorax", "predict", str(images), "--out", str(tmp_path / "out")]
    words += ["--engine", "onnx", "--address", nodes.address, "--memory", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert f"{COUNT} images predicted (" in done.stdout
    assert f"2 of {COUNT + 2} files could not be predicted" in done.stderr
    assert_same(content(tmp_path / "out"), expected)
    again = thorax.load().predict_folder(images, tmp_path / "out", cluster=cluster)
    assert again.earlier == COUNT + 1  # the two failures are tried again


def test_a_bundle_that_a_node_does_not_have(images, cluster, tmp_path):
    model = thorax.load(shutil.copytree(thorax.load().bundle.folder, tmp_path / "bundle"))
    (tmp_path / "bundle").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=rf"does not see {tmp_path / 'bundle'}; every node needs"):
        model.predict_folder(images, tmp_path / "out", cluster=cluster)
