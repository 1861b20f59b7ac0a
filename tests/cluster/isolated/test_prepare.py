"""`prepare` over two nodes: the bytes of one machine, also if a node is killed or the command is stopped."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers.nodes import wait_until
from thorax.datasets.sources import read_folder
from thorax.errors import DataError
from thorax.recipe.schema import Preparation
from thorax.store import build as building
from thorax.store.build import build
from thorax.store.plan import Settings

SHARDS = 12


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Twelve shards of twenty images, one of which is broken."""
    root, draws = tmp_path_factory.mktemp("source"), np.random.default_rng(0)
    names = [f"{number:04d}.png" for number in range(20 * SHARDS)]
    for name in names:
        Image.fromarray(draws.integers(0, 256, (400, 300), np.uint8)).save(root / name)
    (root / names[33]).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    lines = [f"{name},p{number // 2},{number % 2}" for number, name in enumerate(names)]
    (root / "labels.csv").write_text("\n".join(["path,patient,Mass", *lines, ""]))
    return read_folder(root / "labels.csv")


@pytest.fixture(scope="module")
def settings():
    return Settings(preparation=Preparation(size=64), shard_rows=20)


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def expected(source, settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "store"
    assert build(source, out, settings, workers=1).num_rejected == 1
    return content(out)


@pytest.mark.parametrize("after", [0.02, 0.6])
def test_the_store_is_that_of_one_machine_though_a_node_is_killed(  # noqa: PLR0917  (fixtures)
    nodes, source, settings, expected, cluster, tmp_path, after
):
    counts, killed = [], []

    def kill(done, total):
        counts.append(done)
        if done >= after * total and not killed:
            nodes.kill()
            killed.append(done)

    summary = build(source, tmp_path / "store", settings, cluster=cluster, progress=kill)
    nodes.add()
    assert killed
    assert (summary.num_shards, summary.num_rejected) == (SHARDS, 1)
    assert content(tmp_path / "store") == expected
    assert counts[-1] == 20 * SHARDS


def test_ctrl_c_leaves_what_is_done_to_the_next_call(source, settings, expected, cluster, tmp_path):
    out, seen = tmp_path / "store", []

    def stop(done, total):
        seen.append(done)
        if done > total / 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(source, out, settings, cluster=cluster, progress=stop)
    kept = len(list(out.glob("pixels-*.npy")))
    assert 1 <= kept < SHARDS
    assert not (out / "store.json").exists()
    counts = []
    again = build(source, out, settings, cluster=cluster, progress=lambda done, _all: counts.append(done))
    assert again.resumed_shards >= kept
    assert content(out) == expected
    assert counts == sorted(counts)
    assert counts[-1] == 20 * SHARDS


def test_sigterm_stops_the_command_which_continues(nodes, source, tmp_path):
    words = [sys.executable, "-m", "thorax", "prepare", str(source.root / "labels.csv"), "--size", "64"]
    words += ["--engine", "ray", "--address", nodes.address, "--memory", "1"]
    out = tmp_path / "store"
    with subprocess.Popen([*words, "--out", str(out)], stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: list(out.glob(".pixels-*")))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the same command continues where it stopped" in said
    done = subprocess.run([*words, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "239 images of 64 x 64 pixels" in done.stdout


def test_a_file_that_changed_stops_it_as_on_one_machine(source, settings, cluster, tmp_path, monkeypatch):
    def list_then_change(given):
        listing = list_files(given)
        listing.mtimes_ns[77] += 1
        return listing

    list_files = building.list_files
    monkeypatch.setattr(building, "list_files", list_then_change)
    with pytest.raises(DataError, match=r"0077\.png changed while the store was being made"):
        build(source, tmp_path / "store", settings, cluster=cluster)
