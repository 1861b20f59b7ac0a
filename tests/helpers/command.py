"""Running the command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

TINY = (
    "store.size=64", "model.input_size=64", "model.arguments.channels=[8,8,16,16]",
    "training.epochs=2", "training.batch_size=16", "schedule.warmup_epochs=0",
    "data.split=folder-official",
)  # fmt: skip
"""Settings that make small-cpu train in a second."""

SMALL = tuple(part for setting in TINY for part in ("--set", setting))
"""The same as options of `thorax train`."""


def thorax(*arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line, and check its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "thorax", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "300"},
    )
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done
