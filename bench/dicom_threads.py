"""How much faster two threads read DICOM files than one.

    python bench/dicom_threads.py FILE... [--tiles 4] [--reads 24] [--rounds 5]

Each file is read as it is, and a gray one also made larger: its pixels side by side, tiles x tiles,
uncompressed. A round reads each of them so many times on one thread and on two, one after the other; the
ratio is that of the medians. Beside it is the ratio of SHA-256, which never holds Python's lock: 2 where
nothing else runs. Freed memory is kept, as training and preparing keep it: otherwise threads wait for one
another in the kernel.

JPEG 2000, JPEG-LS and JPEG lossless do not gain: their decoders keep Python's lock.
"""

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from thorax.hardware import keep_freed_memory
from thorax.imaging.dicom import read_dicom


def seconds(work: Callable[[], object], *, times: int, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        for done in [pool.submit(work) for _ in range(times)]:
            done.result()
        return time.perf_counter() - start


def compare(what: str, work: Callable[[], object], times: int, rounds: int) -> None:
    rows = [[seconds(work, times=times, threads=threads) for threads in (1, 2)] for _ in range(rounds)]
    one, two = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"{what:72} {1000 * one / times:7.1f} ms on one thread, {one / two:.2f} times as fast on two")


def larger(path: Path, tiles: int) -> bytes | None:
    dataset = pydicom.dcmread(path, force=True)
    if dataset.get("SamplesPerPixel") != 1:
        return None
    dataset.file_meta.setdefault("TransferSyntaxUID", ExplicitVRLittleEndian)
    pixels = np.tile(dataset.pixel_array, (tiles, tiles))
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--tiles", type=int, default=4)
    parser.add_argument("--reads", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    keep_freed_memory()
    blob = bytes(1 << 24)
    compare("SHA-256", lambda: hashlib.sha256(blob).digest(), arguments.reads, arguments.rounds)
    for path in arguments.files:
        for form, data in (("as it is", path.read_bytes()), ("larger", larger(path, arguments.tiles))):
            if data is not None:
                height, width = read_dicom(data, path.name).pixels.shape
                what = f"{path.name}, {form}, {width} x {height}"
                compare(what, partial(read_dicom, data, path.name), arguments.reads, arguments.rounds)


if __name__ == "__main__":
    main()
