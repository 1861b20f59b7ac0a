"""How fast a store is read from object storage, beside curl on the same server.

A server of the S3 protocol (that of the tests) runs in a process of its own on loopback, and waits 50 ms
before each answer. Reader and curl take turns and make the same requests, as many at once:

- whole: the shards of a store, in ranges of 8 MiB, 16 at once, to files; the reader compares their SHA-256 as
  well. `curl --silent --parallel --parallel-max 16 --config FILE`, where the file has a range and an output
  for each request;
- images: single images in random order, 32 at once, after the shards were read once; curl does the same with
  `--parallel-max 32`. The reader's folder of copies holds 33 images, so that nearly all are requested.

It prints the median of the reader's rate over curl's, also with every tenth request of the reader answered by
503 (curl's requests all succeed), and how many images of five random passes need no request, by the share of
the images that there is room for.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.s3_server import Object, every, s3_server
from thorax.atomic_io import sha256_of_file, write_json
from thorax.datasets.sources import open_source
from thorax.objects.client import RANGE
from thorax.objects.files import CONCURRENT
from thorax.recipe.schema import Preparation
from thorax.store import open_store
from thorax.store.build import build
from thorax.store.manifest import HEADER_BYTES, StoreManifest, load_section, shard_name
from thorax.store.plan import Settings
from thorax.store.store import Store
from thorax.workflows.phantom import phantom

LATENCY = 0.05


def make_store(folder: Path, *, images: int, size: int, shard_rows: int) -> Path:
    """Make a store of noise: its pixels are replaced, and its checksums with them."""
    phantom(folder / "nih", patients=images // 2, size=64)
    source = open_source(folder / "nih")
    build(source, folder / "store", Settings(preparation=Preparation(size=size), shard_rows=shard_rows))
    manifest = load_section(StoreManifest, folder / "store" / "store.json")
    noise, shards = np.random.default_rng(0), []
    for number, shard in enumerate(manifest.shards):
        path = folder / "store" / shard_name(number)
        header = path.read_bytes()[:HEADER_BYTES]
        path.write_bytes(header + noise.bytes(manifest.shard_bytes(number) - HEADER_BYTES))
        shards.append(shard.model_copy(update={"sha256": sha256_of_file(path)}))
    changed = manifest.model_copy(update={"shards": tuple(shards)})
    write_json(folder / "store" / "store.json", changed.model_dump(mode="json"))
    return folder / "store"


def serve(folder: Path, pipe: Connection) -> None:
    """Serve a store; each message is how often a request fails, 0 for never."""
    with s3_server() as server:
        server.buckets["data"] = {
            f"store/{file.name}": Object(file.read_bytes()) for file in folder.iterdir() if file.is_file()
        }
        server.latency = LATENCY
        pipe.send(server.endpoint)
        while (often := pipe.recv()) is not None:
            server.fault = every(often, "error") if often else lambda *_: ""
            pipe.send("")


def curl(requests: list[tuple[str, int, int, str]], at_once: int, folder: Path) -> float:
    """Return the seconds that curl takes for ranges: URL, first and last byte, output."""
    config = folder / "curl.txt"
    config.write_text(
        "next\n".join(
            f'url = "{url}"\nrange = "{first}-{last}"\noutput = "{out}"\n'
            for url, first, last, out in requests
        )
    )
    start = time.perf_counter()
    subprocess.run(
        ["curl", "--silent", "--parallel", "--parallel-max", str(at_once), "--config", config], check=True
    )
    return time.perf_counter() - start


def whole_requests(store: Path, endpoint: str, folder: Path) -> list[tuple[str, int, int, str]]:
    requests = []
    for file in sorted(store.glob("*.npy")):
        size = file.stat().st_size
        for start in range(0, size, RANGE):
            out = str(folder / f"{file.name}.{start}")
            requests.append((f"{endpoint}/data/store/{file.name}", start, min(start + RANGE, size) - 1, out))
    return requests


def source_rows(store: Store, rows: np.ndarray) -> list[int]:
    numbers: list[int] = store._source_rows[rows].tolist()  # noqa: SLF001
    return numbers


def images_of(store: Store) -> Any:
    return store._images  # noqa: SLF001  (a benchmark of this very thing)


def image_requests(store: Store, rows: np.ndarray, endpoint: str) -> list[tuple[str, int, int, str]]:
    requests, size = [], store.preparation.size**2
    for row in source_rows(store, rows):
        shard, slot = divmod(row, store.manifest.shard_rows)
        first = HEADER_BYTES + slot * size
        requests.append((f"{endpoint}/data/store/{shard_name(shard)}", first, first + size - 1, "/dev/null"))
    return requests


def read_whole(work: Path) -> float:
    """Return the seconds in which all shards of a store arrive and are checked, in an empty folder."""
    with tempfile.TemporaryDirectory(dir=work) as cache:
        os.environ["THORAX_CACHE"] = cache
        os.environ.pop("THORAX_CACHE_GB", None)
        store = open_store("s3://data/store")
        start = time.perf_counter()
        for number in range(store.manifest.num_shards):
            images_of(store).check(number)
        return time.perf_counter() - start


def streamed(cache: Path, near: Store, share: float) -> Store:
    """Open the store with room for a share of its images, and know their checksums."""
    os.environ["THORAX_CACHE"] = str(cache)
    os.environ.pop("THORAX_CACHE_GB", None)
    tables = sum(-(-f.stat().st_size // 4096) * 4096 for f in near.path.iterdir() if f.suffix != ".npy")
    room = near.manifest.num_rows * near.preparation.size**2 * share
    os.environ["THORAX_CACHE_GB"] = str((2 * tables + 3 * near.manifest.shard_bytes(0) + room) / 1e9)
    store = open_store("s3://data/store")
    for number in range(store.manifest.num_shards):
        images_of(store).check(number)
    images_of(store)._recent.clear()  # noqa: SLF001  (whole shards, which would answer as well)
    return store


def read_images(store: Store, rows: np.ndarray) -> float:
    start = time.perf_counter()
    store.follow(iter([rows]))
    for batch in np.split(rows, range(32, len(rows), 32)):
        store.pixels(batch)
    return time.perf_counter() - start


def hits(store: Store) -> float:
    """Return the share of images in passes after the first that need no request."""
    images, asked = images_of(store), 0
    request = images._pool.submit  # noqa: SLF001

    def counted(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return request(*arguments)

    images._pool.submit = counted  # noqa: SLF001
    orders = [np.random.default_rng(seed).permutation(len(store)) for seed in range(6)]
    store.follow(iter(orders))
    for number, order in enumerate(orders):
        if number == 1:
            asked = 0
        for batch in np.split(order, range(32, len(order), 32)):
            store.pixels(batch)
    return 1 - asked / (len(store) * (len(orders) - 1))


def ratios(name: str, reader: Callable[[], float], by_curl: Callable[[], float], turns: int) -> None:
    found = [by_curl() / reader() for _ in range(turns)]
    print(f"{name}: {median(found):.2f} of curl ({min(found):.2f} to {max(found):.2f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1600)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        near = open_store(make_store(work, images=options.images, size=options.size, shard_rows=512))
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(near.path, there), daemon=True
        )
        process.start()
        endpoint = os.environ["AWS_ENDPOINT_URL"] = here.recv()
        total = sum(map(near.manifest.shard_bytes, range(near.manifest.num_shards)))
        shards = near.manifest.num_shards
        print(
            f"{len(near):,} images of {near.preparation.size} pixels, {shards} shards, {total / 1e6:.0f} MB"
        )
        requests = whole_requests(near.path, endpoint, work)
        rows = np.random.default_rng(1).permutation(len(near))[:800]
        (work / "cache").mkdir()
        far = streamed(work / "cache", near, 33 / near.manifest.num_rows)
        singles = image_requests(near, rows, endpoint)
        for often, what in ((0, ""), (10, ", every tenth request failing")):

            def failing(read: Callable[[], float], often: int = often) -> float:
                here.send(often)
                here.recv()
                seconds = read()
                here.send(0)
                here.recv()
                return seconds

            ratios(
                f"whole{what}",
                lambda: failing(lambda: read_whole(work)),
                lambda: curl(requests, CONCURRENT, work),
                options.turns,
            )
            ratios(
                f"images{what}",
                lambda: failing(lambda: read_images(far, rows)),
                lambda: curl(singles, 32, work),
                options.turns,
            )
        for share in (0.1, 0.3, 0.5):
            kept = hits(streamed(work / "cache", near, share))
            print(f"room for {share:.0%}: {kept:.0%} need no request", flush=True)
        here.send(None)
        process.join()


if __name__ == "__main__":
    main()
