"""Sources and stores of object storage: prepared, opened, and read within a bound."""

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import thorax as package
from tests.helpers.command import SMALL, command
from tests.helpers.s3_server import Object, every
from thorax.datasets.sources import open_source
from thorax.datasets.splits import registered_sha256
from thorax.errors import DataError
from thorax.objects.cache import cache_folder, folder_size
from thorax.recipe.schema import Preparation
from thorax.store import open_store
from thorax.store.build import build
from thorax.store.fetched import FetchedShards
from thorax.store.plan import Settings
from thorax.store.streamed import StreamedImages


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "nih"
    package.phantom(folder, patients=50, size=64)
    return folder


@pytest.fixture(scope="module")
def prepared(phantoms, tmp_path_factory):
    """A store of several shards, on this disk."""

    out = tmp_path_factory.mktemp("store") / "store"
    source = open_source(phantoms)
    splits = registered_sha256(source.whole, source.dataset)
    build(
        source, out, Settings(preparation=Preparation(size=64), split_sha256=splits, shard_rows=8), workers=1
    )
    return out


@pytest.fixture
def far(server, prepared):
    server.add("data", prepared, "store")
    return "s3://data/store"


def bounded(monkeypatch, prepared, kind):
    """Let the folder of copies hold about a third of the images, or all."""
    if kind == "streamed":
        tables = sum(
            -(-file.stat().st_size // 4096) * 4096 for file in prepared.iterdir() if file.suffix != ".npy"
        )
        shard = (prepared / "pixels-00000.npy").stat().st_size
        monkeypatch.setenv("THORAX_CACHE_GB", str((tables + 3 * shard + 44 * 64 * 64) / 1e9))


def test_a_store_is_read_like_its_files(far, prepared):
    here, there = open_store(prepared), open_store(far)
    rows = np.random.default_rng(0).permutation(len(here))
    np.testing.assert_array_equal(there.pixels(rows), here.pixels(rows))
    assert there.fingerprint == here.fingerprint
    assert there.image_sizes().tolist() == here.image_sizes().tolist()
    assert os.fspath(there) == far


@pytest.mark.parametrize("fault", ["drop", "error", "cut", "corrupt"])
@pytest.mark.parametrize("kind", ["fetched", "streamed"])
def test_a_store_is_read_right_from_a_bad_server(server, far, prepared, fault, kind, monkeypatch):
    bounded(monkeypatch, prepared, kind)
    server.fault = every(4, fault, methods=("GET",))
    here, there = open_store(prepared), open_store(far)
    assert isinstance(there._images, StreamedImages if kind == "streamed" else FetchedShards)
    there.verify()
    for seed in range(2):
        rows = np.random.default_rng(seed).permutation(len(here))
        for part in np.array_split(rows, 7):
            np.testing.assert_array_equal(there.pixels(part), here.pixels(part))


@pytest.mark.parametrize("kind", ["fetched", "streamed"])
def test_training_is_the_same_from_object_storage(server, far, prepared, kind, monkeypatch, tmp_path):
    command(
        "train",
        "small-cpu",
        "--store",
        prepared,
        "--out",
        tmp_path / "near",
        *SMALL,
        "--set",
        "training.epochs=3",
    )
    bounded(monkeypatch, prepared, kind)
    server.fault = every(10, "drop", methods=("GET",))
    command(
        "train", "small-cpu", "--store", far, "--out", tmp_path / "far", *SMALL, "--set", "training.epochs=3"
    )
    near, there = (tmp_path / name / "bundle" / "bundle.json" for name in ("near", "far"))
    assert near.read_bytes() == there.read_bytes()
    size = sum(file.stat().st_size for file in cache_folder().rglob("*") if file.is_file())
    if kind == "streamed":
        assert size < int(float(os.environ["THORAX_CACHE_GB"]) * 1e9)


def test_what_is_announced_is_read_before_it_is_needed(server, far, prepared, monkeypatch):
    bounded(monkeypatch, prepared, "streamed")
    store = open_store(far)
    store.verify()
    passes = [np.random.default_rng(seed).permutation(len(store)) for seed in range(4)]
    server.requests.clear()
    store.follow(iter(passes))
    requested = []
    for order in passes:
        before = len(server.requests)
        for batch in np.array_split(order, 20):
            store.pixels(batch)
        requested.append(len(server.requests) - before)
    images = store._images
    capacity, total = len(images._kept._row), len(store)
    assert capacity < total / 2
    ranges = [path for method, path in server.requests if method == "GET"]
    assert len(ranges) < 4 * total - 3 * capacity  # a cache without a plan keeps fewer
    assert not images._coming


def test_an_evaluation_reads_an_unverified_store(far, prepared, monkeypatch, tmp_path):
    bounded(monkeypatch, prepared, "streamed")
    here, there = open_store(prepared), open_store(far)
    for rows in np.array_split(np.arange(len(here)), 5):
        np.testing.assert_array_equal(there.pixels(rows), here.pixels(rows))


def test_a_damaged_shard_is_refused_by_name(server, far):
    shard = bytearray(server.buckets["data"]["store/pixels-00001.npy"].content)
    shard[-1] ^= 1
    server.buckets["data"]["store/pixels-00001.npy"] = Object(bytes(shard))
    with pytest.raises(DataError, match=r"s3://data/store/pixels-00001.npy is damaged"):
        open_store(far).verify()
    assert not list(cache_folder().rglob("pixels-00001.npy"))


@pytest.mark.parametrize("use", ["verify", "read"])
@pytest.mark.parametrize("damage", ["bit", "zeros", "cut"])  # the last two as after a power failure
def test_a_damaged_copy_is_fetched_again(server, far, prepared, use, damage):
    open_store(far).verify()
    (copy,) = cache_folder().rglob("pixels-00001.npy")
    content = copy.read_bytes()
    damaged = {"bit": content[:-1] + bytes([content[-1] ^ 1]), "zeros": bytes(len(content)), "cut": b""}
    copy.write_bytes(damaged[damage])
    store = open_store(far)
    if use == "verify":
        store.verify()
    else:
        rows = np.arange(len(store))
        np.testing.assert_array_equal(store.pixels(rows), open_store(prepared).pixels(rows))
    assert copy.read_bytes() == content


def test_the_copies_are_bounded_and_the_oldest_goes_first(server, prepared, monkeypatch):
    size = sum(file.stat().st_size for file in prepared.iterdir())
    code = "import sys; from thorax.store import open_store; open_store(sys.argv[1]).verify()"
    for number in range(3):
        server.add("data", prepared, f"store{number}")
    monkeypatch.setenv("THORAX_CACHE_GB", str(2.3 * size / 1e9))
    for number in range(3):
        subprocess.run([sys.executable, "-c", code, f"s3://data/store{number}"], check=True)
    assert len(list((cache_folder() / "fetched").iterdir())) == 2
    server.requests.clear()
    subprocess.run([sys.executable, "-c", code, "s3://data/store2"], check=True)
    assert not [path for method, path in server.requests if method == "GET" and "pixels" in path]


def test_a_folder_is_measured_while_its_files_come_and_go(tmp_path):
    ended = threading.Event()

    def come_and_go():
        while not ended.is_set():
            shutil.copytree(tmp_path / "kept", tmp_path / "other")
            (tmp_path / "other" / "a.partial").replace(tmp_path / "other" / "a")
            shutil.rmtree(tmp_path / "other")

    (tmp_path / "kept").mkdir()
    for name in ("a.partial", *map(str, range(20))):
        (tmp_path / "kept" / name).write_bytes(bytes(5000))
    kept = folder_size(tmp_path)
    assert kept >= 21 * 5000
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(come_and_go)
        try:
            sizes = {folder_size(tmp_path) for _ in range(300)}
        finally:
            ended.set()
        changing.result()
    assert min(sizes) >= kept


def test_too_small_a_bound_is_refused_with_the_figure(far, monkeypatch):
    monkeypatch.setenv("THORAX_CACHE_GB", "0.0001")
    with pytest.raises(DataError, match="THORAX_CACHE_GB"):
        open_store(far)
    monkeypatch.setenv("THORAX_CACHE_GB", "many")
    with pytest.raises(DataError, match="THORAX_CACHE_GB is 'many'; set it to a number"):
        open_store(far)


# ---- prepare ------------------------------------------------------------------------------------------


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def there(server, below):
    return {
        key.removeprefix(f"{below}/"): each.content
        for key, each in server.buckets["data"].items()
        if key.startswith(f"{below}/") and not key.endswith("/")
    }


def times(server, source):
    """Let the objects have the times of the files, which the table of a store has."""
    for file in source.rglob("*"):
        if file.is_file():
            second = int(file.stat().st_mtime)
            os.utime(file, (second, second))
            server.buckets["data"][f"nih/{file.relative_to(source).as_posix()}"].time = second


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_is_prepared_from_there_to_there(server, phantoms, tmp_path, workers):
    server.add("data", phantoms, "nih")
    times(server, phantoms)
    server.fault = every(10, "drop")
    done = command(
        "prepare", "s3://data/nih", "--out", "s3://data/made", "--size", "64", "--workers", str(workers)
    )
    assert "are in s3://data/made" in done.stdout
    command("prepare", phantoms, "--out", tmp_path / "near", "--size", "64")
    assert there(server, "made") == contents(tmp_path / "near")
    assert not [file for file in cache_folder().rglob("*") if file.suffix == ".png"]
    again = command("prepare", "s3://data/nih", "--out", "s3://data/made", "--size", "64")
    assert "the store was complete already" in again.stderr


def test_a_corrupted_image_is_read_again(server, phantoms, tmp_path):
    server.add("data", phantoms, "nih")
    times(server, phantoms)
    server.fault = every(7, "corrupt", methods=("GET",))
    package.prepare("s3://data/nih", tmp_path / "far", size=64, workers=1)
    server.fault = lambda *_: ""
    package.prepare(phantoms, tmp_path / "near", size=64, workers=1)
    assert contents(tmp_path / "far") == contents(tmp_path / "near")


def test_another_machine_goes_on_where_one_was_killed(server, phantoms, tmp_path, monkeypatch):
    server.add("data", phantoms, "nih")
    times(server, phantoms)
    code = (
        "import sys, thorax.store.plan as plan; plan.SHARD_ROWS = 24\n"
        "import thorax.store.sending as sending\n"
        "class Settings(plan.Settings):\n"
        "    def __init__(self, **values): super().__init__(shard_rows=8, **values)\n"
        "sending.Settings = Settings\n"
        "if sys.argv[1] == 'kill':\n"
        "    send = sending._SentShards.send\n"
        "    def killed(self, number):\n"
        "        if number == 3:\n"
        "            import os; os.kill(os.getpid(), 9)\n"
        "        send(self, number)\n"
        "    sending._SentShards.send = killed\n"
        "import thorax\n"
        "thorax.prepare('s3://data/nih', 's3://data/made', size=64, workers=1)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, "kill"], check=False).returncode == -9
    assert "made/store.json" not in server.keys("data")
    with pytest.raises(DataError, match="s3://data/made is a store that is not finished"):
        open_store("s3://data/made")
    monkeypatch.setenv("THORAX_CACHE", str(tmp_path / "other machine"))
    before = sum(1 for method, path in server.requests if method == "GET" and ".png" in path)
    subprocess.run([sys.executable, "-c", code, "on"], check=True)
    after = sum(1 for method, path in server.requests if method == "GET" and ".png" in path) - before
    assert after < 0.8 * before + 200
    store = open_store("s3://data/made")
    store.verify()
    names = set(there(server, "made"))
    assert not {name for name in names if name.endswith(".json")} - {"store.json"}
    assert "listing.csv" not in names


def test_a_place_with_other_objects_is_refused(server, phantoms):
    server.add("data", phantoms, "nih")
    with pytest.raises(DataError, match="s3://data/nih is not empty and is not a store"):
        package.prepare(phantoms, "s3://data/nih", size=64)
    with pytest.raises(DataError, match="there is nothing below s3://data/none/"):
        package.prepare("s3://data/none", "s3://data/made", size=64)


def test_opening_and_reading_leaves_nothing_that_ends_badly(far):
    """Ten processes end while images are still being read ahead."""
    code = (
        "import sys, numpy as np; from thorax.store import open_store\n"
        "store = open_store(sys.argv[1]); store.follow(iter([np.arange(len(store))]))\n"
        "store.pixels(np.array([5]))\n"
    )
    for _ in range(10):
        done = subprocess.run([sys.executable, "-c", code, far], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
