"""Ray that Thorax starts on this machine listens where other machines do not reach it."""

import subprocess
import sys
from pathlib import Path

import pytest

_LOOPBACK = "0100007F"
"""127.0.0.1, as Linux writes it."""

_ADDRESSES = """
import os
from contextlib import suppress
from pathlib import Path

from tests.helpers.nodes import descendants
from thorax.cluster import Cluster
from thorax.cluster.connection import connected

with connected(Cluster()):
    sockets = set()
    for process in (os.getpid(), *descendants(os.getpid())):
        for file in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                sockets.add(os.readlink(file))
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_, number = line.split()[:10]
            if state == "0A" and f"socket:[{number}]" in sockets:
                print(local.partition(":")[0])
"""
"""Starts Ray, and prints the address of each of its sockets that listens."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ray_on_this_machine_listens_on_the_loopback_interface_alone():
    pytest.importorskip("ray", reason="Ray is not installed")
    done = subprocess.run(
        [sys.executable, "-c", _ADDRESSES],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    in_ipv6 = f"{'0' * 16}FFFF0000{_LOOPBACK}"
    assert set(done.stdout.split()) == {_LOOPBACK, in_ipv6}
