"""How fast training is, beside what the same net could do and beside the loop that people write.

    python bench/train.py [--rounds 5] [--gpu-rounds 3]

On the CPU, the recipe `small-cpu`; on a GPU, DenseNet-121 at 224 pixels in batches of 256 and the recipe
`efficientnet-b3`, with published weights left out (there is no network). Without a GPU its rows are n/a. In
one run, interleaved, medians of:

- end to end: an epoch as `train` goes through it: pixels, draws, augmentation, steps, log;
- constant: the same compiled net and optimiser stepping on one batch that lies ready on the device;
- usual: what public projects do. On the CPU: eager float32 in PyTorch's own memory layout, on the store's
  pixels, without augmentation, in a process of its own (`thorax train` sets how its process keeps memory).
  On a GPU: a DataLoader with all cores, PIL on PNG of 1024 pixels,
  torchvision's transforms, eager float32.

Images are phantoms, as often as it takes to fill an epoch; compilation is listed apart.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rows import Row, environment, print_rows
from torch import nn

from thorax.datasets.phantom import write_phantoms
from thorax.datasets.sources import open_source
from thorax.datasets.splits import registered_sha256
from thorax.hardware import keep_freed_memory
from thorax.models.backbones import timm
from thorax.recipe.load import load_recipe
from thorax.recipe.schema import Preparation, Recipe
from thorax.store import Store, build_store, open_store
from thorax.training.batches import Part
from thorax.training.checkpoint import Checkpointer
from thorax.training.compute import deterministic, pick_compute
from thorax.training.logbook import Logbook
from thorax.training.plan import TrainingPlan, plan_run
from thorax.training.run import Run

CPU_STEPS = 40
GPU_STEPS = 60
USUAL_STEPS = 12
EFFICIENTNET_IMAGES, EFFICIENTNET_VALIDATION, EFFICIENTNET_EPOCHS = 28_000, 6_000, 50
MOVES = ["augment.rotate=8", "augment.translate=0.05", "augment.zoom=[0.9,1.1]"]
GRAYS = ["augment.brightness=0.1", "augment.contrast=0.15"]
UNPUBLISHED = [
    *("data.split=folder-official", "model.weights=none", "training.compile=on"),
    *("selection.metric=loss", "early_stopping.metric=loss"),  # a handful of phantoms may have no positive
]


@dataclass(frozen=True)
class Rates:
    """Images/s of one recipe.

    Attributes:
        name: What was measured.
        end_to_end: Of whole epochs.
        constant: Of one batch that lies ready.
        validation: Of validation passes.
        first_seconds: What the first two steps and the first validation took, compilation included.
    """

    name: str
    end_to_end: float
    constant: float
    validation: float
    first_seconds: float


def phantoms(folder: Path, *, patients: int, size: int) -> Path:
    return write_phantoms(folder / f"phantoms-{size}", patients=patients, size=size).folder


def store_of(source: Path, folder: Path, preparation: Preparation) -> Store:
    opened = open_source(source)
    sums = registered_sha256(opened.whole, opened.dataset)
    build_store(opened, folder / f"store-{preparation.size}", preparation, split_sha256=sums)
    return open_store(folder / f"store-{preparation.size}")


def filled(part: Part, images: int) -> Part:
    """Return a part of so many images: the same ones over and over."""
    places = np.arange(images) % len(part)
    return Part(part.store, part.rows[places], part.targets[places])


def planned(recipe: Recipe, store: Store, steps: int) -> TrainingPlan:
    size = recipe.training.batch_size
    few = recipe.training.model_copy(update={"batch_size": 2})  # the store may hold less than one batch
    plan = plan_run(recipe.model_copy(update={"training": few}), store)
    return replace(plan, train=filled(plan.train, steps * size), val=filled(plan.val, 8 * size), steps=steps)


def seconds_of(move: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    move()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rates_of(
    recipe: Recipe, plan: TrainingPlan, *, device: str, rounds: int, usual: Callable[[], float] | None = None
) -> tuple[Rates, float]:
    """Measure a recipe; also return the usual loop's images/s, measured between its rounds."""
    training = recipe.training
    compute = pick_compute(device, training.precision, compiling=training.compile)
    images = plan.steps * training.batch_size
    found: dict[str, list[float]] = {"constant": [], "end to end": [], "validation": [], "usual": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        deterministic(training.determinism, threads=compute.threads),
        closing(Logbook(Path(folder) / "log.jsonl")) as log,
    ):
        checkpointer = Checkpointer(Path(folder) / "checkpoints", minutes=60.0)
        run = Run(recipe, plan, compute=compute, log=log, checkpointer=checkpointer, checkpoint=None)
        first = next(run.batches())
        ready = first.pixels.unsqueeze(1).float().div(255), first.targets, first.known
        size = recipe.model.input_size
        ready = (nn.functional.interpolate(ready[0], size=(size, size)), *ready[1:])

        def constant() -> None:
            for step in range(plan.steps):
                run.learner.step(*ready, lr=1e-4, epoch_step=step, step=step)

        def end_to_end() -> None:
            for batch in run.batches():
                run.step(batch)

        def validation() -> None:
            run.end_epoch(lambda: None)

        first_seconds = seconds_of(lambda: begin(run), compute.device)
        for _ in range(rounds):
            for name, move, count in (
                ("constant", constant, images),
                ("end to end", end_to_end, images),
                ("validation", validation, len(plan.val)),
            ):
                found[name].append(count / seconds_of(move, compute.device))
            if usual is not None:
                found["usual"].append(usual())
    medians = {name: statistics.median(values) for name, values in found.items() if values}
    title = f"{recipe.name}, {recipe.model.backbone}, {training.determinism}"
    rates = Rates(title, medians["end to end"], medians["constant"], medians["validation"], first_seconds)
    return rates, medians.get("usual", float("nan"))


def begin(run: Run) -> None:
    """Compile what is compiled: two steps and a validation."""
    for _, batch in zip(range(2), run.batches(), strict=False):
        run.step(batch)
    run.end_epoch(lambda: None)


@cache
def plain_loop(store: Path, steps: int) -> Callable[[], float]:
    """Return the loop that people write, on a CPU; it gives images/s."""
    recipe = cpu_recipe()
    model, part = recipe.model, planned(recipe, open_store(store), steps).train
    torch.manual_seed(0)
    net = timm.create_model(
        model.backbone, in_chans=model.channels, num_classes=part.targets.shape[1], **model.arguments
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    criterion = nn.BCEWithLogitsLoss()
    size = recipe.training.batch_size

    def epoch() -> float:
        net.train()
        start = time.perf_counter()
        for step in range(steps):
            rows = slice(step * size, (step + 1) * size)
            images = torch.from_numpy(part.store.pixels(part.rows[rows]))[:, None].float() / 255
            targets = torch.from_numpy(part.targets[rows]).float().clamp(min=0)
            optimizer.zero_grad()
            loss = criterion(net((images - model.mean[0]) / model.std[0]), targets)
            loss.backward()
            optimizer.step()
            loss.item()
        return steps * size / (time.perf_counter() - start)

    return epoch


def plain_epoch(store: Path, steps: int) -> float:
    return plain_loop(store, steps)()


class Files(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """PNG files as public projects read them."""

    def __init__(self, files: list[Path], count: int) -> None:
        from torchvision import transforms  # noqa: PLC0415  (only where a GPU is: it needs its own torch)

        self._files, self._count = files, count
        self._transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.RandomResizedCrop(224, scale=(0.8, 1)),
                transforms.RandomHorizontalFlip(),
                transforms.RandomRotation(8),
                transforms.ColorJitter(brightness=0.1, contrast=0.15),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = Image.open(self._files[index % len(self._files)]).convert("RGB")
        return self._transform(image), torch.zeros(14)


def usual_loop(files: list[Path], *, batch: int) -> Callable[[], float]:
    """Return the loop of public projects on a GPU; it gives images/s, its workers' start left out."""
    torch.manual_seed(0)
    net = timm.create_model("densenet121", num_classes=14).cuda().train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    criterion = nn.BCEWithLogitsLoss()
    loader = torch.utils.data.DataLoader(
        Files(files, (USUAL_STEPS + 1) * batch),
        batch_size=batch,
        shuffle=True,
        num_workers=os.cpu_count() or 1,
        pin_memory=True,
    )

    def epoch() -> float:
        start = 0.0
        for step, (images, targets) in enumerate(loader):
            optimizer.zero_grad()
            loss = criterion(net(images.cuda(non_blocking=True)), targets.cuda(non_blocking=True))
            loss.backward()
            optimizer.step()
            loss.item()
            if step == 0:
                start = time.perf_counter()
        return USUAL_STEPS * batch / (time.perf_counter() - start)

    return epoch


def cpu_recipe() -> Recipe:
    return load_recipe("small-cpu", ["data.split=folder-official", "training.epochs=1000"])


def cpu_rows(folder: Path, rounds: int) -> list[Row]:
    keep_freed_memory()  # as `thorax train` does
    recipe = cpu_recipe()
    store = store_of(phantoms(folder, patients=100, size=128), folder, recipe.store)
    plan = planned(recipe, store, CPU_STEPS)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:

        def usual() -> float:
            return other.submit(plain_epoch, store.path, CPU_STEPS).result()

        usual()
        rates, plain = rates_of(recipe, plan, device="cpu", rounds=rounds, usual=usual)
    return [
        Row.rate("epoch of training, CPU", "constant batch", rates.end_to_end, rates.constant, reach=0.97),
        Row.rate("epoch of training, CPU", "eager contiguous loop", rates.end_to_end, plain, reach=1.4),
    ]


def densenet_rows(folder: Path, rounds: int) -> list[Row]:
    settings = [*UNPUBLISHED, *MOVES, *GRAYS, "training.batch_size=256", "training.epochs=1000"]
    source = phantoms(folder, patients=40, size=1024)
    found, plain = {}, float("nan")
    for mode in ("fast", "exact"):
        recipe = load_recipe("chexnet", [*settings, f"training.determinism={mode}"])
        plan = planned(recipe, store_of(source, folder, recipe.store), GPU_STEPS)
        usual = usual_loop(sorted(source.rglob("*.png")), batch=256) if mode == "fast" else None
        found[mode], loop = rates_of(recipe, plan, device="cuda", rounds=rounds, usual=usual)
        plain = loop if usual else plain
    fast, exact = found["fast"], found["exact"]
    what = "epoch of training, GPU, DenseNet-121 at 224, batch 256"
    return [
        Row.rate(f"{what}, fast", "constant batch", fast.end_to_end, fast.constant, reach=0.97),
        Row.rate(f"{what}, exact", "constant batch", exact.end_to_end, exact.constant, reach=0.97),
        Row.rate(f"{what}, fast", "usual loop", fast.end_to_end, plain, reach=5),
        Row.rate(f"{what}, exact", "fast", exact.end_to_end, fast.end_to_end, reach=0.85),
        Row.rate("DenseNet-121 at 224, training, fast", "4,500 images/s", fast.end_to_end, 4500, reach=1),
        Row.note("compilation and first steps, DenseNet-121, fast", f"{fast.first_seconds:.0f} s"),
        Row.note("validation, DenseNet-121, float32", f"{fast.validation:,.0f} images/s"),
    ]


def efficientnet_rows(folder: Path, rounds: int) -> list[Row]:
    recipe = load_recipe(
        "efficientnet-b3",
        [*UNPUBLISHED, "data.sample=none", "training.determinism=fast", "training.epochs=1000"],
    )
    store = store_of(phantoms(folder, patients=40, size=1024), folder, recipe.store)
    rates, _ = rates_of(recipe, planned(recipe, store, GPU_STEPS), device="cuda", rounds=rounds)
    images, seen = EFFICIENTNET_IMAGES * EFFICIENTNET_EPOCHS, EFFICIENTNET_VALIDATION * EFFICIENTNET_EPOCHS
    minutes = (images / rates.end_to_end + seen / rates.validation) / 60
    return [
        Row.limit(
            f"efficientnet-b3, {images:,} training and {seen:,} validation images, fast",
            f"{rates.end_to_end:,.0f} and {rates.validation:,.0f} images/s",
            minutes,
            unit="minutes",
            below=10,
        ),
        Row.note("compilation and first steps, efficientnet-b3", f"{rates.first_seconds:.0f} s"),
    ]


def rows(folder: Path, *, rounds: int, gpu_rounds: int) -> list[Row]:
    """Return the table's rows on training; those of a GPU are n/a where there is none."""
    found = cpu_rows(folder, rounds)
    if torch.cuda.is_available():
        return [*found, *densenet_rows(folder, gpu_rounds), *efficientnet_rows(folder, gpu_rounds)]
    what = "epoch of training, GPU, DenseNet-121 at 224, batch 256"
    return [
        *found,
        Row.missing(what, "constant batch", reach=0.97),
        Row.missing(what, "usual loop", reach=5),
        Row.missing(f"{what}, exact", "fast", reach=0.85),
        Row.missing("DenseNet-121 at 224, training", "4,500 images/s", reach=1),
        Row.missing("efficientnet-b3, 50 epochs of 28,000 images", "10 minutes", reach=1),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gpu-rounds", type=int, default=3)
    parser.add_argument("--only", choices=["cpu", "densenet", "efficientnet"], help="some of the rows")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(environment())
        match arguments.only:
            case "cpu":
                found = cpu_rows(Path(folder), arguments.rounds)
            case "densenet":
                found = densenet_rows(Path(folder), arguments.gpu_rounds)
            case "efficientnet":
                found = efficientnet_rows(Path(folder), arguments.gpu_rounds)
            case _:
                found = rows(Path(folder), rounds=arguments.rounds, gpu_rounds=arguments.gpu_rounds)
        print_rows(found)


if __name__ == "__main__":
    main()
