"""How much anonymous memory `prepare` takes for 1,000 and for 10,000 phantoms.

    python bench/memory_prepare.py [--images 1000 10000] [--workers 2]

Samples RssAnon of the process and of all its workers from /proc every 20 ms and prints the peak of
their sum; mapped files do not count. Drawing the phantoms takes two minutes.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from thorax.datasets.phantom import write_phantoms

IMAGES_PER_PATIENT = 3.6

PREPARE = """
import sys
from pathlib import Path
from thorax.datasets.source import open_source
from thorax.recipe.schema import Preparation
from thorax.store import build_store

source = open_source(Path(sys.argv[1]))
build_store(source, Path(sys.argv[2]), Preparation(size=256), workers=int(sys.argv[3]))
"""


def tree(pid: int) -> list[int]:
    """Return a process and its children; not one that has yet to become a worker.

    Until then it shares its parent's memory, and its parent's command line.
    """
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(int(child) for child in children if command_line(int(child)) != command_line(pid))]
    except (FileNotFoundError, ProcessLookupError):
        return []


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def anonymous_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def peak_mib(source: Path, out: Path, workers: int) -> float:
    """Run one `prepare` and return the peak of its RssAnon in MiB."""
    command = [sys.executable, "-c", PREPARE, str(source), str(out), str(workers)]
    with subprocess.Popen(command) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(anonymous_kib(pid) for pid in tree(process.pid)))
            time.sleep(0.02)
    assert process.returncode == 0
    return peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, {asked.workers} workers, 256 px")
    peaks: list[float] = []
    for count in asked.images:
        with tempfile.TemporaryDirectory() as scratch:
            drawn = write_phantoms(Path(scratch, "phantoms"), patients=round(count / IMAGES_PER_PATIENT))
            peaks.append(peak_mib(Path(scratch, "phantoms"), Path(scratch, "store"), asked.workers))
        print(
            f"{drawn.num_images:7,} images: peak RssAnon {peaks[-1]:6.1f} MiB, "
            f"{peaks[-1] / peaks[0]:.3f} of the first"
        )
    print("wanted: below 1.100")


if __name__ == "__main__":
    main()
