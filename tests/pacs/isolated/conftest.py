"""Orthanc, in the network namespace that `tests/pacs/test_isolated.py` makes for these tests."""

import os

import pytest

from tests.helpers.node import needs
from tests.helpers.orthanc import running_orthanc

# Only where no other machine can be reached: `tests/pacs/test_isolated.py` runs them so.
collect_ignore_glob = [] if os.environ.get("THORAX_ISOLATED") == "1" else ["test_*.py"]


@pytest.fixture
def orthanc(tmp_path):
    """An Orthanc as deploy/ has it, which forwards the radiographs that it gets to the node at port 11112."""
    needs("Orthanc")
    with running_orthanc(tmp_path / "orthanc") as running:
        yield running
