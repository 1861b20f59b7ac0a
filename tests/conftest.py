"""Fixtures that every test can use."""

from pathlib import Path

import pytest

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
