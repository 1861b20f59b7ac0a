"""Two processes that train together, beside two that train by themselves at the same time.

    python bench/ddp.py [--rounds 7] [--steps 20]

Each of the four has one thread. Those that train together share batches of 32 images, 16 each; those by
themselves take batches of 16. The recipe is `small-cpu`, on phantoms, exact, with its augmentation. Rounds
are interleaved, and medians are of the images/s of both processes together; while one pair works, the other
waits. What the exchange costs is the ratio: the work of the net is the same.
"""

import argparse
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from rows import Row, environment, print_rows
from train import UNPUBLISHED, filled, phantoms, store_of

from thorax.hardware import keep_freed_memory
from thorax.recipe.load import load_recipe
from thorax.store import open_store
from thorax.training.compute import deterministic, pick_compute
from thorax.training.launched import Launched
from thorax.training.logbook import Logbook
from thorax.training.plan import plan_run
from thorax.training.ranks import ALONE
from thorax.training.run import Run

PAIR = 2
BATCH = 32
TARGET = 0.9
KINDS = ("together", "apart")


def work(pipe: Connection, rank: int, port: int, store: Path, steps: int, *, together: bool) -> None:
    """Train an epoch whenever asked to, and say how many seconds its steps took."""
    from thorax.training.process_group import join  # noqa: PLC0415  (only where processes are joined)

    torch.set_num_threads(1)
    keep_freed_memory()
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(PAIR),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    launched = Launched(rank, PAIR, rank, PAIR) if together else None
    ranks = join(launched, "cpu") if launched else ALONE
    size = BATCH if together else BATCH // PAIR
    changed = [*UNPUBLISHED[:2], *UNPUBLISHED[3:], f"training.batch_size={size}", "training.epochs=1000"]
    recipe = load_recipe("small-cpu", changed)
    compute = pick_compute("cpu", "auto", launched=launched)
    plan = plan_run(recipe, open_store(store))
    plan = replace(plan, train=filled(plan.train, steps * size), val=filled(plan.val, size), steps=steps)
    with deterministic("exact", threads=1), closing(Logbook(None)) as log:
        run = Run(recipe, plan, compute=compute, log=log, checkpointer=None, checkpoint=None, ranks=ranks)
        while pipe.recv():
            began = time.perf_counter()
            for batch in run.batches():
                run.step(batch)
                ranks.any_lately(False)  # as the loop asks after each step whether to stop
            pipe.send(time.perf_counter() - began)
            run.end_epoch(lambda: None)


def started(store: Path, steps: int, *, together: bool) -> list[Connection]:
    """Start a pair of processes, and return how to speak to them."""
    context = multiprocessing.get_context("spawn")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    pipes = []
    for rank in range(PAIR):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, rank, port, store, steps), kwargs={"together": together}, daemon=True
        )
        process.start()
        pipes.append(ours)
    return pipes


def seconds_of(pair: list[Connection]) -> float:
    """Let a pair train an epoch; return the seconds of the slower one."""
    for pipe in pair:
        pipe.send(True)
    return max(float(pipe.recv()) for pipe in pair)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = load_recipe("small-cpu")
        store = store_of(phantoms(folder, patients=60, size=256), folder, recipe.store).path
        pairs = {kind: started(store, arguments.steps, together=kind == "together") for kind in KINDS}
        for pair in pairs.values():
            seconds_of(pair)
        seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(arguments.rounds):
            for kind, pair in pairs.items():
                seconds[kind].append(seconds_of(pair))
        for pair in pairs.values():
            for pipe in pair:
                pipe.send(False)
    images = arguments.steps * BATCH
    rates = {kind: images / statistics.median(values) for kind, values in seconds.items()}
    ratios = [apart / both for both, apart in zip(seconds["together"], seconds["apart"], strict=True)]
    print(environment())
    print_rows(
        [
            Row.rate(
                "two processes of one run, one thread each",
                "two runs side by side, one thread each",
                rates["together"],
                rates["apart"],
                reach=TARGET,
            ),
            Row.note("ratio of each round", f"{min(ratios):.2f} to {max(ratios):.2f}"),
        ]
    )


if __name__ == "__main__":
    main()
