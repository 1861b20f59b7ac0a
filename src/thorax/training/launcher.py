"""Starts the processes of a run on this machine, with torchrun's agent."""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from thorax.hardware import cores
from thorax.training.launched import LAUNCHER, PLACE
from thorax.training.ranks import LossUnexplained, ProcessLost

__all__ = ["start_processes"]

_SHUTDOWN: Final = 25
"""Seconds in which the other processes must end when one has failed or the run is stopped."""

_INTERRUPTED: Final = 130


def start_processes(arguments: Sequence[str], *, processes: int, place: str = "") -> int:
    """Run this Python in several processes that know of each other, and wait until all have ended.

    Ctrl-C and SIGTERM reach all of them. When one fails, the others are ended.

    Args:
        arguments: What follows the name of the interpreter.
        processes: How many there are.
        place: The address at s3:// where the run will be, if there is one.

    Returns:
        The exit code: 0, that of the first process that failed and said why, or 130 if it was interrupted.

    Raises:
        ProcessLost: A signal ended a process, such as SIGKILL where memory was short.
    """
    _silence_agent()
    with tempfile.TemporaryDirectory(prefix="thorax-") as folder, _environment(_settings(processes, place)):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=Path(folder).name,
            rdzv_backend="c10d",
            rdzv_endpoint=str(Path(folder) / "rendezvous"),
            rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            shutdown_timeout=_SHUTDOWN,
        )
        try:
            elastic_launch(config, sys.executable)(*arguments)
        except SignalException:
            return _INTERRUPTED
        except ChildFailedError as error:
            return _code_of(error, processes)
    return 0


def _silence_agent() -> None:
    """Keep the agent from reporting each process and each signal: one message says what happened."""
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # each has a level of its own


def _settings(processes: int, place: str) -> dict[str, str]:
    """Return what the processes find in their environment."""
    return {
        LAUNCHER: str(os.getpid()),
        PLACE: place,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // processes)),
        # The processes meet at a port of their own rather than through the agent's.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }


def _code_of(error: ChildFailedError, processes: int) -> int:
    """Return the exit code of the first process that ended by itself, having said why."""
    codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
    said = [code for code in codes.values() if code >= 0 and code != LossUnexplained.exit_code]
    if said:
        return said[0]
    # The agent ends the others with SIGTERM, which they answer within their time, or with SIGKILL after it.
    killed = [rank for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM]
    if killed:
        name = signal.Signals(-codes[killed[0]]).name
        what = f"process {killed[0]} (from 0) of {processes} was ended by {name}, and the others with it"
    else:
        what = f"the {processes} processes have lost each other, and ended"
    raise ProcessLost(f"{what}; resume the run, which continues from its last checkpoint")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
