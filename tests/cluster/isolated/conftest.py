"""Two Ray nodes, in the network namespace that `tests/cluster/test_isolated.py` makes for these tests."""

import os

import pytest

from tests.helpers.nodes import two_nodes
from thorax.cluster import GIB, Cluster
from thorax.cluster.connection import connected

# Only where no other machine can be reached: `tests/cluster/test_isolated.py` runs them so.
collect_ignore_glob = [] if os.environ.get("THORAX_ISOLATED") == "1" else ["test_*.py"]


@pytest.fixture(scope="session")
def nodes():
    """A head and another node, one core each."""
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module", autouse=True)
def _one_job(nodes):
    """One connection for the tests of a file, whose workers have then imported what they need."""
    with connected(Cluster(address=nodes.address, memory=GIB)):
        yield


@pytest.fixture(scope="module")
def one_thread():
    """Trains here with as many threads as a worker has."""
    import torch  # noqa: PLC0415  (3 s, which the other files need not wait for)

    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture
def cluster(nodes):
    return Cluster(address=nodes.address, memory=GIB)
