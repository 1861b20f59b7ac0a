"""Where the time of a training step goes on a GPU.

    python bench/profile_step.py [--recipe chexnet] [--batch 256] [--determinism fast] [--set KEY=VALUE ...]

Kernel time of a step by what the kernels do, how many there are, and how much of the step they fill:
what is left of it is waiting. Without a GPU it says so and measures nothing.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from rows import environment
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiled
from train import GRAYS, MOVES, UNPUBLISHED, begin, phantoms, planned, store_of

from thorax.recipe.load import load_recipe
from thorax.recipe.schema import Recipe
from thorax.training.checkpoint import Checkpointer
from thorax.training.compute import deterministic, pick_compute
from thorax.training.logbook import Logbook
from thorax.training.run import Run

STEPS = 40
KINDS = {
    "compiled, sums": ("triton_red", "triton_per"),
    "compiled, by element": ("triton_poi",),
    "convolution, weights' gradient": ("wgrad",),
    "convolution, inputs' gradient": ("dgrad",),
    "convolution, forward": ("fprop",),
    "depthwise convolution": ("depthwise", "dgrad2d", "conv2d_c1"),
    "matrix product": ("gemm", "nvjet", "cutlass"),
    "batch norm": ("batch_norm",),
    "optimiser": ("multi_tensor",),
    "by element": ("elementwise", "CatArray"),
    "copies": ("Memcpy", "Memset"),
}


def kind_of(kernel: str) -> str:
    return next((kind for kind, parts in KINDS.items() if any(part in kernel for part in parts)), "other")


def profile(recipe: Recipe, folder: Path) -> None:
    source = phantoms(folder, patients=40, size=1024)
    plan = planned(recipe, store_of(source, folder, recipe.store), STEPS)
    training = recipe.training
    compute = pick_compute("cuda", training.precision, compiling=training.compile)
    with (
        deterministic(training.determinism, threads=compute.threads),
        closing(Logbook(folder / "log.jsonl")) as log,
    ):
        checkpointer = Checkpointer(folder / "checkpoints", minutes=60.0)
        run = Run(recipe, plan, compute=compute, log=log, checkpointer=checkpointer, checkpoint=None)
        begin(run)
        batches = run.batches()
        for _ in range(10):
            run.step(next(batches))
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(10):
            run.step(next(batches))
        torch.cuda.synchronize()
        step = (time.perf_counter() - start) / 10
        with profiled(activities=[ProfilerActivity.CUDA]) as events:
            for _ in range(10):
                run.step(next(batches))
            torch.cuda.synchronize()
    show(events.key_averages(), step=step, title=f"{recipe.name}, {training.determinism}")


def show(events: Sequence[Any], *, step: float, title: str) -> None:
    kinds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for event in events:
        found = kinds[kind_of(event.key)]
        found[0] += event.self_device_time_total / 10_000
        found[1] += event.count / 10
    total = sum(found[0] for found in kinds.values())
    print(f"{title}: a step takes {1000 * step:.1f} ms, its kernels {total:.1f} ms")
    print("| kernels | ms a step | how many |\n| --- | --- | --- |")
    for kind, (milliseconds, count) in sorted(kinds.items(), key=lambda item: -item[1][0]):
        print(f"| {kind} | {milliseconds:.2f} | {count:.0f} |")
    print("the longest:")
    for event in sorted(events, key=lambda each: -each.self_device_time_total)[:12]:
        print(f"  {event.self_device_time_total / 10_000:7.2f} ms {event.count / 10:5.0f} x {event.key[:90]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="chexnet")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--determinism", default="fast", choices=["fast", "exact"])
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    print(environment())
    if not torch.cuda.is_available():
        print("n/a: there is no GPU here")
        return
    fixed = [f"training.batch_size={arguments.batch}", f"training.determinism={arguments.determinism}"]
    settings = [*UNPUBLISHED, *MOVES, *GRAYS, "data.sample=none", "training.epochs=1000", *fixed]
    with tempfile.TemporaryDirectory() as folder:
        profile(load_recipe(arguments.recipe, [*settings, *arguments.settings]), Path(folder))


if __name__ == "__main__":
    main()
