"""A network of its own for a long test, from which nothing but this machine can be reached."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.node import isolated
from tests.long.kills import check


def enter_own_network(module: str, arguments: Sequence[str] | None) -> None:
    """Run a module again in a network of its own, and end with its exit code; return if it is there.

    Args:
        module: Its name.
        arguments: What its `main` was given.
    """
    if os.environ.get("THORAX_ISOLATED") == "1":
        return
    words = isolated()
    check(words, "this machine does not permit a network of its own")
    again = [*words, sys.executable, "-m", module, *(sys.argv[1:] if arguments is None else arguments)]
    paths = os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.exit(subprocess.run(again, env=os.environ | {"PYTHONPATH": paths}, check=False).returncode)
