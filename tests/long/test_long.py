"""The short forms of the long runs, as `make kills`, `make soak` and `make fuzz` start them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def long_run(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.long.{module}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prepare", "download"])
def test_kills(kind):
    """Training and studies have tests of their own, which kill them at chosen moments."""
    said = long_run("kills", kind, "--count", "5", "--seed", "3")
    assert re.match(
        rf"{kind}: 5 runs killed \(seed 3\), \d+ killed after their end; [1-9]\d* folders, each equal", said
    )
