"""Runs `tests/cluster/isolated` in a network of its own: Ray would take the network card otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.node import isolated

FOLDER = Path(__file__).parent / "isolated"
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_isolated_tests_pass(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    words = isolated()
    if not words:
        pytest.skip("this machine does not permit a network of its own")
    command = [*words, sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider"]
    command += [f"--basetemp={tmp_path / 'inner'}", str(FOLDER)]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
