"""Running the command line without a network under strace: what it connects to, and what it writes."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CALLS = (
    "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,mknod,mknodat"
)

# A network namespace has a loopback interface that is down; the service listens on it.
_LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1 | 64))
os.execvp(sys.argv[1], sys.argv[1:])
"""

_CONNECTION = re.compile(r"(?:connect|sendto|sendmsg|sendmmsg)\(.*sa_family=(AF_\w+)(.*)")
_WRITTEN = re.compile(r"(\w+)\((.*)\) = \d")
_AT = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


def why_not():
    """Why no process can be traced here, or an empty text."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "this machine does not permit strace"


@cache
def _isolated():
    """The words that run a program without a network, or none where this machine does not permit that."""
    words = ("unshare", "-rn", sys.executable, "-c", _LOOPBACK_UP)
    try:
        tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return ()
    return words if tried.returncode == 0 else ()


@dataclass(frozen=True)
class Trace:
    """What one command did.

    Attributes:
        code: Its exit code.
        output: What it printed.
        connections: Every address of another process that it connected or sent to.
        written: Every path that it opened for writing, made, renamed or linked.
    """

    code: int
    output: str
    connections: list[str]
    written: set[Path]


def traced(*arguments, folder, environment, stop_when=None):
    """Run `thorax` with these arguments in `folder`, and return what it and its children did.

    Args:
        stop_when: A text; once it is printed, the command is ended by SIGTERM.
    """
    log = folder.parent / "strace.log"
    command = [
        *_isolated(), "strace", "-f", "-qq", "-y", "--seccomp-bpf", "-e", "signal=none", "-s", "4096",
        "-e", f"trace={_CALLS}", "-o", str(log), sys.executable, "-m", "thorax", *map(str, arguments),
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if stop_when and stop_when in line:
                time.sleep(0.5)
                subprocess.run(["pkill", "-TERM", "-P", str(process.pid)], check=False)
        code = process.wait()
    return _read(log, folder, code, "".join(lines))


def _read(log, folder, code, output):
    connections, written = [], set()
    for line in log.read_text(errors="replace").splitlines():
        call = line.partition(" ")[2].strip()
        if (to := _CONNECTION.match(call)) and to[1] != "AF_NETLINK":
            connections.append(f"{to[1]}{to[2]}")
        elif (made := _WRITTEN.match(call)) and _writes(made[1], made[2]):
            written |= {Path(os.path.normpath(folder / base / name)) for base, name in _AT.findall(made[2])}
    return Trace(code, output, connections, written)


def _writes(call, arguments):
    return not call.startswith("open") or re.search(r"O_(?:WR|RDWR|CREAT)", arguments) is not None
