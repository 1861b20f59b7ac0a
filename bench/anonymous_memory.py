"""Peak anonymous memory (RssAnon) of a command and of all processes below it; mapped files do not count."""

import resource
import subprocess
import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cost", "run_measured"]

_EVERY = 0.05
"""Seconds between two looks."""


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds of clock and of CPU, and the peak of the sum of its processes in MiB."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def run_measured(command: list[str], *, log: Path, good: Container[int] = (0,)) -> Cost:
    """Run a command to its end; what it prints goes to `log`.

    Raises:
        SystemExit: Its exit code is not a good one.
    """
    start, cpu = time.perf_counter(), _children_cpu()
    peak = 0
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        while process.poll() is None:
            peak = max(peak, sum(_anonymous_kib(pid) for pid in _tree(process.pid)))
            time.sleep(_EVERY)
    if process.returncode not in good:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; {log} says why")
    return Cost(time.perf_counter() - start, _children_cpu() - cpu, peak / 1024)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tree(pid: int) -> list[int]:
    """Return a process and all below it, but none that has yet to become another program.

    Until then it shares its parent's memory, and its parent's command line.
    """
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        own = Path(f"/proc/{pid}/cmdline").read_bytes()
        real = [child for child in children if Path(f"/proc/{child}/cmdline").read_bytes() != own]
    except (FileNotFoundError, ProcessLookupError):
        return [pid]
    return [pid, *(below for child in real for below in _tree(child))]


def _anonymous_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)
