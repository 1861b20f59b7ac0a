"""How fast a store is read from object storage, beside curl on the same server.

A server of the S3 protocol (that of the tests) runs in a process of its own on loopback, and waits 50 ms
before each answer. Reader and curl take turns and make the same requests, as many at once:

- whole: the shards of a store, in ranges of 8 MiB, 16 at once, to files; the reader compares their SHA-256 as
  well. `curl --no-progress-meter --parallel --parallel-max 16 --config FILE`, where the file has a range and
  an output for each request;
- images: single images in random order, 32 at once, after the shards were read once; curl does the same with
  `--parallel-max 32`. The reader's folder of copies holds 33 images, so that nearly all are requested.

It prints the median of the reader's rate over curl's, also with every tenth request of the reader answered by
503 (curl's requests all succeed), and how many images of four random passes need no request, by the share of
the images that there is room for.
"""

import argparse
import hashlib
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
from thorax.objects.client import RANGE
from thorax.objects.files import CONCURRENT
from thorax.objects.place import Place
from thorax.recipe.schema import Preparation
from thorax.store.fetched import FetchedShards
from thorax.store.manifest import HEADER_BYTES, Shard, StoreManifest, shard_name
from thorax.store.streamed import StreamedImages

LATENCY = 0.05
PLACE = Place("data", "store")
Request = tuple[str, int, int, str]
"""Shard, first and last byte, output."""


def make_shards(folder: Path, *, shards: int, rows: int, size: int) -> StoreManifest:
    """Write shards of noise, and return the manifest that describes them; there is no table."""
    noise = np.random.default_rng(0)
    manifest = StoreManifest(
        dataset="noise", preparation=Preparation(size=size), shard_rows=rows, num_rows=shards * rows,
        box_side=None, label_files={}, files_sha256="", columns={}, split_sha256={}, software={},
        num_images=shards * rows, num_rejected=0, content_sha256="", table_sha256="", rejected_sha256="",
        shards=(),
    )  # fmt: skip
    made = []
    for number in range(shards):
        content = manifest.shard_header(number) + noise.bytes(rows * size**2)
        (folder / shard_name(number)).write_bytes(content)
        made.append(Shard(rows=rows, sha256=hashlib.sha256(content).hexdigest()))
    return manifest.model_copy(update={"shards": tuple(made)})


def serve(folder: Path, pipe: Connection) -> None:
    """Serve the shards; each message says how often a request fails, 0 for never."""
    with s3_server() as server:
        files = folder.glob("*.npy")
        server.buckets["data"] = {f"store/{file.name}": Object(file.read_bytes()) for file in files}
        server.latency = LATENCY
        pipe.send(server.endpoint)
        while (often := pipe.recv()) is not None:
            server.fault = every(often, "error") if often else lambda *_: ""
            pipe.send("")


def curl(requests: list[Request], at_once: int, folder: Path) -> float:
    """Return the seconds that curl takes."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}/data/store"
    config = folder / "curl.txt"
    config.write_text(
        "next\n".join(
            f'url = "{url}/{name}"\nrange = "{first}-{last}"\noutput = "{out}"\n'
            for name, first, last, out in requests
        )
    )
    command = [
        "curl",
        "--no-progress-meter",
        "--parallel",
        "--parallel-max",
        str(at_once),
        "--config",
        str(config),
    ]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def whole_requests(manifest: StoreManifest, folder: Path) -> list[Request]:
    return [
        (shard_name(number), first, min(first + RANGE, size) - 1, str(folder / f"curl-{number}-{first}"))
        for number in range(manifest.num_shards)
        for size in [manifest.shard_bytes(number)]
        for first in range(0, size, RANGE)
    ]


def image_requests(manifest: StoreManifest, rows: np.ndarray) -> list[Request]:
    requests, size = [], manifest.preparation.size**2
    for row in rows.tolist():
        shard, slot = divmod(row, manifest.shard_rows)
        first = HEADER_BYTES + slot * size
        requests.append((shard_name(shard), first, first + size - 1, "/dev/null"))
    return requests


def read_whole(manifest: StoreManifest, work: Path) -> float:
    """Return the seconds in which all shards arrive in an empty folder, and are checked."""
    with tempfile.TemporaryDirectory(dir=work) as cache:
        os.environ["THORAX_CACHE"] = cache
        os.environ.pop("THORAX_CACHE_GB", None)
        start = time.perf_counter()
        shards = FetchedShards(PLACE, Path(cache), manifest)
        for number in range(manifest.num_shards):
            shards.check(number)
        return time.perf_counter() - start


def streamed(manifest: StoreManifest, cache: Path, kept: int) -> Any:
    """Return a reader with room for so many images, which knows their checksums."""
    cache.mkdir(exist_ok=True)
    os.environ["THORAX_CACHE"] = str(cache)
    (cache / "entry").mkdir(exist_ok=True)
    sums = 4096 * -(-4 * manifest.shard_rows // 4096) * sum(1 for _ in (cache / "entry").iterdir())
    room = sums + 3 * manifest.shard_bytes(0) + (kept + 0.5) * manifest.preparation.size**2
    os.environ["THORAX_CACHE_GB"] = f"{room / 1e9:.9f}"
    images: Any = StreamedImages(PLACE, cache / "entry", manifest)
    for number in range(manifest.num_shards):
        images.check(number)
    images._recent.clear()  # noqa: SLF001  (whole shards, which would answer as well)
    return images


def read_images(images: Any, rows: np.ndarray) -> float:
    start = time.perf_counter()
    images.follow(iter([rows]))
    for batch in np.split(rows, range(32, len(rows), 32)):
        images.read(batch)
    return time.perf_counter() - start


def hits(images: Any, count: int) -> float:
    """Return the share of images, in passes after the first two, that need no request."""
    asked = 0
    submit = images._pool.submit  # noqa: SLF001

    def counted(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return submit(*arguments)

    images._pool.submit = counted  # noqa: SLF001
    orders = [np.random.default_rng(seed).permutation(count) for seed in range(6)]
    images.follow(iter(orders))
    for number, order in enumerate(orders):
        if number == 2:
            asked = 0
        for batch in np.split(order, range(32, count, 32)):
            images.read(batch)
    return 1 - asked / (count * 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rows", type=int, default=1024, help="images of a shard")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        manifest = make_shards(work, shards=options.shards, rows=options.rows, size=options.size)
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(work, there), daemon=True)
        process.start()
        os.environ["AWS_ENDPOINT_URL"] = here.recv()
        total = manifest.num_shards * manifest.shard_bytes(0)
        print(f"{manifest.num_rows:,} images of {options.size} pixels, {total / 1e6:.0f} MB", flush=True)
        rows = np.random.default_rng(1).permutation(manifest.num_rows)[:800]
        far = streamed(manifest, work / "few", 33)
        whole, singles = whole_requests(manifest, work), image_requests(manifest, rows)
        kinds: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
            "whole": (lambda: read_whole(manifest, work), lambda: curl(whole, CONCURRENT, work)),
            "images": (lambda: read_images(far, rows), lambda: curl(singles, 32, work)),
        }
        for often in (0, 10):
            for kind, (read, by_curl) in kinds.items():
                found = []
                for _ in range(options.turns):
                    seconds = by_curl()
                    here.send(often)
                    here.recv()
                    found.append(seconds / read())
                    here.send(0)
                    here.recv()
                what = f"{kind}, every tenth request failing" if often else kind
                print(
                    f"{what}: {median(found):.2f} of curl ({min(found):.2f} to {max(found):.2f})", flush=True
                )
        for share in (0.1, 0.3, 0.5):
            images = streamed(manifest, work / f"{share}", int(share * options.rows))
            kept = hits(images, options.rows)  # of the first shard
            print(f"room for {share:.0%}: {kept:.0%} need no request", flush=True)
        here.send(None)
        process.join()


if __name__ == "__main__":
    main()
