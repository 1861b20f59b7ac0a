"""Runs `tests/pacs/isolated` in a network of its own, since Orthanc listens on all addresses."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.node import isolated, needs

FOLDER = Path(__file__).parent / "isolated"


@pytest.mark.slow
def test_the_isolated_tests_pass(tmp_path):
    needs("Orthanc", "storescu")
    words = isolated()
    if not words:
        pytest.skip("this machine does not permit a network of its own")
    command = [*words, sys.executable, "-m", "pytest", "-x", f"--basetemp={tmp_path / 'inner'}", str(FOLDER)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
