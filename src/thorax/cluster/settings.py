"""Where units are worked on, what each may take, and how it reports."""

from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from thorax.errors import RecipeError

__all__ = ["GIB", "LINGERING", "Cluster", "Lost", "Post"]

GIB: Final = 1 << 30

LINGERING: Final = 60.0
"""Seconds to wait for a worker whose node was lost, and which may live a little longer than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Ray cluster, and what each unit may take of it.

    Attributes:
        address: "HOST:PORT" of a running cluster that this machine is a node of; "" starts Ray on this
            machine alone, over the loopback interface.
        cores: Cores of each unit: so many threads or processes work on it.
        memory: Bytes that the worker of a unit may take, with its processes. Ray places a unit where so much
            is left; a worker that takes more is ended.
        gpus: GPUs of each unit.

    Raises:
        RecipeError: The address is not one, or a number is too small.
    """

    address: str = ""
    cores: int = 1
    memory: int = 2 * GIB
    gpus: int = 0

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        if self.address and not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
            raise RecipeError(
                f"`address` is {self.address!r}, which is not HOST:PORT; give the address of the head, "
                "such as 10.0.0.1:6379"
            )
        if self.cores < 1 or self.memory < GIB // 2 or self.gpus < 0:
            raise RecipeError(
                f"each unit needs at least one core and half a GiB, but `cores` is {self.cores} and `memory` "
                f"is {self.memory / GIB:.2f} GiB; raise them"
            )

    @property
    def needs(self) -> str:
        """What a node must have for one unit, in words."""
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        gpus = [f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}"] if self.gpus else []
        return " and ".join([cores, *gpus, f"{self.memory / GIB:g} GiB of memory"])


@dataclass(frozen=True, slots=True)
class Lost:
    """What is returned for a unit that ended its worker each time.

    Attributes:
        reason: What became of the worker.
    """

    reason: str


@runtime_checkable
class Post(Protocol):
    """How a unit reports while it is worked on."""

    def tell(self, message: Any) -> None:
        """Send a message that may be lost, such as progress."""

    def ask(self, message: Any) -> Any:
        """Send a message, and wait for what the caller of `run_units` says to it; None when that stops."""
