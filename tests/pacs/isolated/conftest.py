"""Orthanc, in the network namespace that `tests/pacs/test_isolated.py` makes for these tests."""

import os

import pytest

from tests.helpers.node import needs
from tests.helpers.orthanc import running_orthanc


def pytest_collection_modifyitems(items):
    """Run these tests only where no other machine can be reached."""
    if os.environ.get("THORAX_ISOLATED") != "1":
        for item in items:
            item.add_marker(
                pytest.mark.skip(reason="tests/pacs/test_isolated.py runs it in a network of its own")
            )


@pytest.fixture
def orthanc(tmp_path):
    """An Orthanc as deploy/ has it, which forwards the radiographs that it gets to the node at port 11112."""
    needs("Orthanc")
    with running_orthanc(tmp_path / "orthanc") as running:
        yield running
