"""Units of work for the tests of clusters: functions of a module, as workers need them."""

import os
import signal
import time
from pathlib import Path

from thorax.errors import DataError


def square(unit, post):
    return unit * unit


def note(unit, post):
    """Note in a folder that a unit begins and ends, and take its time over it."""
    folder, number, seconds = unit
    begun = Path(folder, f"{number}-begun-{os.getpid()}-{time.monotonic_ns()}")
    begun.touch()
    time.sleep(seconds)
    Path(folder, f"{number}-done").write_text(str(number))
    return number


def speak(unit, post):
    post.tell(f"{unit} begins")
    return post.ask(f"may {unit}?")


def refuse(unit, post):
    raise DataError(f"unit {unit} is wrong")


def die_at_three(unit, post):
    if unit == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return unit


def swell(unit, post):
    """Take so many MiB for two seconds."""
    held = bytearray(unit << 20)
    held[:: 1 << 12] = b"1" * len(held[:: 1 << 12])
    time.sleep(2)
    return len(held)


def wait_for_stop(unit, post):
    Path(unit, "begun").touch()
    try:
        for _ in range(600):
            time.sleep(0.1)
    except KeyboardInterrupt:
        Path(unit, "stopped").touch()
        raise


def threads(unit, post):
    return os.environ["OMP_NUM_THREADS"]
