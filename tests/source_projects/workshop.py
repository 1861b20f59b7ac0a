"""A folder of phantoms, stores and runs in which the commands of the rows are run, each once."""

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.helpers.command import command as thorax
from tests.source_projects.rows import Row, read_table


class Workshop:
    """Runs commands in one folder, and remembers what each printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._outputs: dict[str, str] = {}

    def set_up(self) -> None:
        """Make the phantoms, stores and runs that all rows share."""
        for line in read_table().setup:
            self.run(line)

    def run(self, line: str, *, expect: int = 0) -> str:
        """Run a command line once; return what it printed, on both streams."""
        line = read_table().expand(line)
        if line not in self._outputs:
            with contextlib.chdir(self.folder):
                self._outputs[line] = _run(line, expect)
        return self._outputs[line]

    def show(self, row: Row) -> str:
        """Run all commands of a row; return what the last one printed."""
        output = ""
        for number, line in enumerate(row.run, start=1):
            output = self.run(line, expect=row.exit if number == len(row.run) else 0)
        return output


def _run(line: str, expect: int) -> str:
    program, *words = shlex.split(line)
    if program == "thorax":
        done = thorax(*words, expect=expect)
        return done.stdout + done.stderr
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    finished = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, check=False, env=os.environ | {"PATH": path}
    )
    assert finished.returncode == expect, f"{line}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout + finished.stderr
