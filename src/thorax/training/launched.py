"""Which process of a run this one is, as torchrun says in the environment; without torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from thorax.errors import RecipeError

__all__ = ["LAUNCHER", "PLACE", "Launched", "launched"]

LAUNCHER: Final = "THORAX_LAUNCHER"
"""Set by `start_processes` for the processes that it starts: its process id."""

PLACE: Final = "THORAX_PLACE"
"""Likewise: where the run will be, which is trained in a folder that stands for it."""


@dataclass(frozen=True, slots=True)
class Launched:
    """One of the processes that torchrun started.

    Attributes:
        rank: Its number, from 0.
        size: Number of processes, on all machines.
        local_rank: Its number on this machine, from 0.
        local_size: Number of processes on this machine.
        job: The name of the job, which torchrun also gives to restarted processes.
        restarts: How often torchrun has started the processes again.
        by_thorax: Whether `thorax train --processes` started them.
        starter: The process id of what started this process, `thorax` or torchrun; None if that is unknown.
        place: The address at s3:// for which `thorax train --processes` trains in a folder; "" without one.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    job: str = ""
    restarts: int = 0
    by_thorax: bool = False
    starter: int | None = None
    place: str = ""

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run."""
        return self.rank == 0


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Return which process this is; None if it was started by itself.

    Raises:
        RecipeError: The environment says that there are several processes, but not which one this is.
    """
    if environment.get("WORLD_SIZE", "1") == "1" and "TORCHELASTIC_RUN_ID" not in environment:
        return None
    numbers = {}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        value = environment.get(name, "")
        if not value.isdecimal():
            raise RecipeError(
                f"WORLD_SIZE is {environment.get('WORLD_SIZE')!r} in the environment, but {name} is "
                f"{value!r}; start the processes with torchrun, or unset WORLD_SIZE to train in one process"
            )
        numbers[name] = int(value)
    restarts = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    launcher = environment.get(LAUNCHER, "")
    job = "" if launcher else environment.get("TORCHELASTIC_RUN_ID", "")  # drawn anew at each start
    return Launched(
        rank=numbers["RANK"],
        size=numbers["WORLD_SIZE"],
        local_rank=numbers["LOCAL_RANK"],
        local_size=numbers["LOCAL_WORLD_SIZE"],
        job=job,
        restarts=int(restarts) if restarts.isdecimal() else 0,
        by_thorax=launcher.isdecimal(),
        starter=int(launcher) if launcher.isdecimal() else os.getppid() if job else None,
        place=environment.get(PLACE, "") if launcher else "",
    )
