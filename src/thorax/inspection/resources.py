"""Load, memory, disk and limits of this machine, as far as the system says."""

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "Disk",
    "busy_elsewhere",
    "cpu_features",
    "disk",
    "file_limit",
    "memory",
]


def cpu_features(file: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """Return the names of the processor's features, such as "avx2"; None where they are not known."""
    with suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip().lower() in {"flags", "features"}:
                return frozenset(value.split())
    return None


_SAMPLE_SECONDS: Final = 0.2


def busy_elsewhere() -> float | None:
    """Return how many cores other programs use, measured over 0.2 s; None where that is not known."""
    try:
        before, began = _busy_ticks(), time.monotonic()
        own = time.process_time()
        time.sleep(_SAMPLE_SECONDS)
        seconds = time.monotonic() - began
        ticks = _busy_ticks() - before
    except (OSError, ValueError, IndexError):
        return None
    others = ticks / os.sysconf("SC_CLK_TCK") - (time.process_time() - own)
    return max(0.0, round(others / seconds, 1))


def _busy_ticks() -> int:
    """Return the ticks that all cores have worked since the machine started."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    idle = (3, 4)  # idle, and waiting for disks
    return sum(int(field) for number, field in enumerate(fields[:8]) if number not in idle)


def memory(
    *, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> tuple[int | None, int | None]:
    """Return the bytes of memory that are free and in all, within the container; None if not known."""
    free = total = None
    with suppress(OSError, ValueError, IndexError):
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
            elif line.startswith("MemTotal:"):
                total = int(line.split()[1]) * 1024
    with suppress(OSError, ValueError):
        limit = int((cgroups / "memory.max").read_text())  # "max" raises
        used = int((cgroups / "memory.current").read_text())
        if total is None or limit < total:
            left = max(limit - used, 0)
            free, total = left if free is None else min(free, left), limit
    return free, total


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a folder.

    Attributes:
        free: Bytes that may still be written.
        total: Bytes in all.
        kind: Its type, such as "ext4"; "" if it is not known.
    """

    free: int
    total: int
    kind: str = ""

    @property
    def is_network(self) -> bool:
        """Whether its files are on another machine."""
        return self.kind in _NETWORK or self.kind.startswith("fuse.")


_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "virtiofs"}
)


def disk(folder: Path) -> Disk:
    """Return the file system of a folder that exists.

    Raises:
        OSError: It cannot be looked at.
    """
    usage = shutil.disk_usage(folder)
    return Disk(usage.free, usage.total, _file_system(folder.resolve()))


def _file_system(folder: Path) -> str:
    """Return the type of the innermost mount that a folder lies in."""
    mounts: Sequence[str] = ()
    with suppress(OSError):
        mounts = Path("/proc/mounts").read_text(errors="replace").splitlines()
    best, kind = -1, ""
    for line in mounts:
        fields = line.split()
        if len(fields) > 2 and folder.is_relative_to(fields[1]) and len(fields[1]) >= best:  # noqa: PLR2004
            best, kind = len(fields[1]), fields[2]
    return kind


def file_limit() -> int | None:
    """Return how many files the process may have open; None without a limit, or where it is not known."""
    try:
        import resource  # noqa: PLC0415  (not on every system)
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
