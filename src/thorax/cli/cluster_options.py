"""The options of commands that can work over a Ray cluster."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from thorax.cluster import Cluster

__all__ = ["Address", "Cores", "Memory", "Place", "cluster_of", "gpus_of"]

Place = Annotated[
    Literal["local", "ray"],
    typer.Option("--engine", help="Where the work is done: on this machine, or over a Ray cluster."),
]

Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="With --engine ray: HOST:PORT of the cluster; default: Ray on this machine alone."
    ),
]

Cores = Annotated[
    int | None, typer.Option("--cores", min=1, help="With --engine ray: cores of each worker; default: 1.")
]

Memory = Annotated[
    float | None,
    typer.Option(
        "--memory", min=0.5, help="With --engine ray: GiB that each worker may take; default: 2 (4 to train)."
    ),
]


def cluster_of(
    place: Literal["local", "ray"],
    address: str | None,
    cores: int | None,
    memory: float | None,
    *,
    default: float = 2,
    gpus: int = 0,
) -> "Cluster | None":
    """Return the cluster that options name; None for this machine.

    Args:
        place: Where the work is done.
        address: The cluster's; None: Ray is started here.
        cores: Cores of a worker.
        memory: GiB of a worker.
        default: GiB where `memory` is not given.
        gpus: GPUs of a worker.

    Raises:
        typer.BadParameter: An option of Ray is given without Ray.
        MissingExtra: Ray is not installed.
    """
    given = {"--address": address, "--cores": cores, "--memory": memory}
    alone = next((name for name, value in given.items() if value is not None), None)
    if place == "local":
        if alone is not None:
            raise typer.BadParameter(f"{alone} concerns a Ray cluster; add --engine ray")
        return None
    from thorax.cluster import GIB, Cluster
    from thorax.packages import require

    require("ray", "--engine ray")
    return Cluster(
        address=address or "",
        cores=cores or 1,
        memory=round((memory or default) * GIB),
        gpus=gpus,
    )


def gpus_of(*devices: str) -> int:
    """Return how many GPUs a worker needs: one for the device cuda, none for others."""
    return int(any(device.partition(":")[0] == "cuda" for device in devices))
