"""Running the command line, in this process or in one of its own."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from thorax.cli.main import VERBS, _run

TINY = (
    "store.size=64", "model.input_size=64", "model.arguments.channels=[8,8,16,16]",
    "training.epochs=2", "training.batch_size=16", "schedule.warmup_epochs=0",
    "data.split=folder-official",
)  # fmt: skip
"""Settings that make small-cpu train in a second."""

SMALL = tuple(part for setting in TINY for part in ("--set", setting))
"""The same as options of `thorax train`."""


def command(*arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, as `main` does, and check its exit code."""
    stdout, stderr = io.StringIO(), io.StringIO()
    words = list(map(str, arguments))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.setattr(sys, "argv", ["thorax", *words])
        patch.setenv("COLUMNS", "300")
        code = _run(words[:1] if words[0] in VERBS else VERBS)
    return _checked(
        subprocess.CompletedProcess(words, code, stdout.getvalue(), stderr.getvalue()), expect=expect
    )


def thorax(*arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, and check its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "thorax", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "300"},
    )
    return _checked(done, expect=expect)


def _checked(done: subprocess.CompletedProcess[str], *, expect: int) -> subprocess.CompletedProcess[str]:
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done
