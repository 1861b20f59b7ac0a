"""Fixtures that every test can use."""

import os
from pathlib import Path

import pytest

# Two pytest workers with two threads each on two cores wait for one another in every sum. Set before torch
# is imported; child processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real radiographs, labels and DICOM files, beside the repository where there is one."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data) is not there")
    return SHARED


@pytest.fixture(scope="session")
def nih_sample(shared_data: Path) -> Path:
    """1,644 real NIH images with NIH's own tables."""
    return shared_data / "nih-sample"
