"""How much of the net's own speed training keeps: end-to-end images/s over those of one constant batch.

    python bench/train.py [--store STORE] [--backbone resnet10t] [--device auto]

End to end: rows read from the store, sent, drawn, augmented, stepped, summed up in the log, as `train` does
it. Constant: the same net stepping on one batch that lies ready on the device. Rounds are interleaved and
medians compared, because a machine's speed drifts. The figure to reach is 0.95.
"""

import argparse
import platform
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import torch

from thorax.datasets.phantom import write_phantoms
from thorax.datasets.source import open_source
from thorax.datasets.splits import registered_sha256
from thorax.models.resample import to_input
from thorax.recipe.schema import Preparation, Recipe
from thorax.store import Store, build_store, open_store
from thorax.training.batches import training_batches
from thorax.training.checkpoint import Checkpointer
from thorax.training.learner import Learner
from thorax.training.logbook import Logbook
from thorax.training.machine import Machine, pick_machine, repeatable
from thorax.training.plan import Plan, plan_run
from thorax.training.run import Run


def phantom_store(folder: Path, *, patients: int, size: int) -> Store:
    write_phantoms(folder / "phantoms", patients=patients)
    source = open_source(folder / "phantoms")
    sums = registered_sha256(source.whole, source.dataset)
    build_store(source, folder / "store", Preparation(size=size), split_sha256=sums)
    return open_store(folder / "store")


def recipe_for(store: Store, arguments: argparse.Namespace) -> Recipe:
    narrow = {"channels": [32, 64, 128, 256]} if arguments.backbone == "resnet10t" else {}
    official = any(store.table.patients().official)
    return Recipe.model_validate(
        {
            "name": "bench",
            "summary": "The small-cpu kind of net with every augmentation.",
            "data": {"split": "folder-official" if official else "patient-80-10-10"},
            "store": {"size": store.preparation.size},
            "model": {"backbone": arguments.backbone, "arguments": narrow, "input_size": arguments.size},
            "augment": {
                "flip": 0.5,
                "rotate": 10,
                "translate": 0.05,
                "zoom": [0.9, 1.1],
                "brightness": 0.1,
                "contrast": 0.2,
                "gamma": [0.8, 1.25],
            },
            "training": {"epochs": 1000, "batch_size": arguments.batch},
        }
    )


def seconds_of(move, device: torch.device) -> float:
    start = time.perf_counter()
    move()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ready_batch(recipe: Recipe, plan: Plan, machine: Machine):
    training = recipe.training
    batch = next(training_batches(plan.train, recipe.data, seed=0, epoch=0, batch_size=training.batch_size))
    images = to_input(batch.pixels.to(machine.device), recipe.model.input_size)
    return images, batch.targets.to(machine.device), batch.known.to(machine.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, help="a prepared store; phantoms if not given")
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, default=128, help="side of the net's input")
    parser.add_argument("--store-size", type=int, default=128, help="side of the phantoms in the store")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    store = (
        open_store(arguments.store)
        if arguments.store
        else phantom_store(folder, patients=100, size=arguments.store_size)
    )
    recipe = recipe_for(store, arguments)
    plan, machine = plan_run(recipe, store), pick_machine(arguments.device, recipe.training.precision)
    with (
        repeatable(recipe.training.determinism, threads=machine.threads),
        closing(Logbook(folder / "log.jsonl")) as log,
    ):
        checkpointer = Checkpointer(folder / "checkpoints", minutes=5.0)
        run = Run(recipe, plan, machine=machine, log=log, checkpointer=checkpointer, checkpoint=None)
        learner = Learner(recipe, num_findings=len(plan.findings), steps=plan.steps, machine=machine)
        ready = ready_batch(recipe, plan, machine)
        rates: dict[str, list[float]] = {"end to end": [], "constant": []}

        def constant() -> None:
            for step in range(plan.steps):
                learner.step(*ready, lr=1e-3, epoch_step=step, step=step)

        def end_to_end() -> None:
            for batch in run.batches():
                run.step(batch)

        for _ in range(arguments.rounds + 1):
            for name, move in (("constant", constant), ("end to end", end_to_end)):
                rates[name].append(plan.steps * arguments.batch / seconds_of(move, machine.device))
            run.end_epoch(lambda: None)
    medians = {name: statistics.median(values[1:]) for name, values in rates.items()}
    print(f"{machine.name}, {machine.threads} threads, torch {torch.__version__}, {platform.platform()}")
    print(f"{arguments.backbone} at {arguments.size} px from a {store.preparation.size} px store")
    for name, value in medians.items():
        print(f"{name:12} {value:9.1f} images/s")
    print(f"ratio        {medians['end to end'] / medians['constant']:9.3f}  (to reach: 0.95)")


if __name__ == "__main__":
    main()
