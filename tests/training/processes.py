"""Runs of several processes in tests: forked from a server that has imported torch, joined over gloo."""

import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thorax.errors import ThoraxError
from thorax.recipe.schema import Recipe
from thorax.store import open_store
from thorax.training import train
from thorax.training.compute import deterministic, pick_compute
from thorax.training.launched import Launched
from thorax.training.logbook import Logbook
from thorax.training.plan import plan_run
from thorax.training.ranks import ALONE, Ranks
from thorax.training.run import Run

Work = Callable[..., Any]


def start(
    work: Work, out: Path, *arguments: Any, processes: int = 2, restarts: int = 0
) -> list[ForkServerProcess]:
    """Start `work(ranks, launched, *arguments)` in so many processes; what it returns goes to `out`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["thorax.training", "thorax.models", "tests.training.processes"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    started = []
    for rank in range(processes):
        launched = Launched(rank, processes, rank, processes, restarts=restarts)
        place = out.with_name(f"{out.name}.{rank}")
        process = context.Process(target=_work_in, args=(launched, port, place, work, arguments))
        process.start()
        started.append(process)
    return started


def results(work: Work, out: Path, *arguments: Any, processes: int = 2) -> list[Any]:
    """Return what `work` returns in each of so many processes; in this one, if it is one."""
    if processes == 1:
        return [work(ALONE, None, *arguments)]
    started = start(work, out, *arguments, processes=processes)
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * processes
    return [pickle.loads(out.with_name(f"{out.name}.{rank}").read_bytes()) for rank in range(processes)]


def _work_in(launched: Launched, port: int, out: Path, work: Work, arguments: Any) -> None:
    from thorax.training.process_group import join  # noqa: PLC0415  (only where processes are joined)

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(launched.rank),
        "WORLD_SIZE": str(launched.size),
        "LOCAL_RANK": str(launched.local_rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    out.write_bytes(pickle.dumps(work(join(launched, "cpu"), launched, *arguments)))


def steps_of(
    ranks: Ranks, launched: Launched | None, store: Path, recipes: Mapping[str, Recipe]
) -> dict[str, Mapping[str, Any]]:
    """Train each recipe without files; return losses, weights, and logits of validation before and after."""
    outcome: dict[str, Mapping[str, Any]] = {}
    for name, recipe in recipes.items():
        plan = plan_run(recipe, open_store(store))
        compute = pick_compute("cpu", "auto", launched=launched)
        with deterministic("exact", threads=1):
            run = Run(
                recipe,
                plan,
                compute=compute,
                log=Logbook(None),
                checkpointer=None,
                checkpoint=None,
                ranks=ranks,
            )
            before = run.pipeline_logits()
            losses = []
            while not run.is_over:
                for batch in run.batches():
                    run.step(batch)
                losses += run.learner.losses.tolist()
                run.end_epoch(lambda: None)
            outcome[name] = {
                "losses": np.array(losses),
                "weights": {key: value.numpy().copy() for key, value in run.learner.weights().items()},
                "before": before,
                "after": run.pipeline_logits(),
            }
    return outcome


def whole_run(
    ranks: Ranks, launched: Launched | None, store: Path, recipe: Recipe, outs: list[Path], stop: int
) -> str:
    """Train into the folder of this process, and stop after so many steps; return how it ended."""
    steps = 0

    def progress(now: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == stop:
            raise KeyboardInterrupt

    out = outs[ranks.rank]
    try:
        train(
            recipe,
            open_store(store),
            out,
            resume=True,
            device="cpu",
            progress=progress,
            ranks=ranks,
            launched=launched,
        )
    except ThoraxError as error:
        return type(error).__name__
    return "finished"
