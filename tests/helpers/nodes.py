"""Two Ray nodes with one core each on this machine, of which one can be killed."""

import os
import signal
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

from thorax.telemetry import import_unreported

QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 3000,  # more, and a node that is only busy may take it
    "health_check_failure_threshold": 3,
}
"""So that a node that is gone is known to be gone within seconds."""

GIB = 1 << 30


class Nodes:
    """A head with one core, and other nodes with one core each.

    Attributes:
        address: What `--address` takes.
    """

    def __init__(self, *, others=1):
        import_unreported("ray")
        room = {"num_cpus": 1, "memory": 3 * GIB, "object_store_memory": 100 << 20}
        here = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "_system_config": QUICK}
        # An address of its own: a program here connects to the head, and not to a node that is killed.
        self._room = {**room, "node_ip_address": "127.0.0.2"}
        self._cluster = import_module("ray.cluster_utils").Cluster(
            initialize_head=True, head_node_args={**room, **here}
        )
        self.address = self._cluster.address
        self._others = [self._cluster.add_node(**self._room) for _ in range(others)]
        self._cluster.wait_for_nodes()

    def kill(self):
        """Kill all processes of the last node at once, as a machine that loses its power."""
        node = self._others.pop()
        raylet = node.all_processes["raylet"][0].process.pid
        family = [raylet, *descendants(raylet)]
        self._cluster.remove_node(node, allow_graceful=False)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def add(self):
        """Start another node."""
        self._others.append(self._cluster.add_node(**self._room))
        self._cluster.wait_for_nodes()

    def close(self):
        self._cluster.shutdown()


@contextmanager
def two_nodes():
    nodes = Nodes()
    try:
        yield nodes
    finally:
        nodes.close()


def descendants(pid):
    found = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def wait_until(is_so, *, seconds=60):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)
