"""Two Ray nodes, in the network namespace that `tests/cluster/test_isolated.py` makes for these tests."""

import os

import pytest

from tests.helpers.nodes import two_nodes
from thorax.cluster import GIB, Cluster

# Only where no other machine can be reached: `tests/cluster/test_isolated.py` runs them so.
collect_ignore_glob = [] if os.environ.get("THORAX_ISOLATED") == "1" else ["test_*.py"]


@pytest.fixture(scope="module")
def nodes():
    """A head and another node, one core each."""
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture
def cluster(nodes):
    return Cluster(address=nodes.address, memory=GIB)
