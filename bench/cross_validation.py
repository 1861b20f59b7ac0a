"""Cross-validation of a recipe, grouped by patient, within the training part of a split.

    python bench/cross_validation.py small-cpu --store STORE --out FOLDER [--folds 5] [--set KEY=VALUE ...]

Choices are made with this, never with the test part, which no fold contains. Each fold trains a whole run
and is measured on the images that it left out; the folder keeps the runs.
"""

import argparse
import statistics
from pathlib import Path

from thorax.bundle import load_bundle, refuse_seen_patients
from thorax.datasets.splits import build_split
from thorax.datasets.table import patient_codes
from thorax.evaluation.discrimination import evaluate_discrimination
from thorax.inference.predictor import Predictor
from thorax.inference.torch_engine import TorchEngine
from thorax.recipe.load import load_recipe
from thorax.store import open_store
from thorax.training import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    store = open_store(arguments.store)
    base = load_recipe(arguments.recipe, arguments.settings).data.split
    scores = []
    for fold in range(1, arguments.folds + 1):
        name = f"{base}/fold-{fold}-of-{arguments.folds}"
        recipe = load_recipe(arguments.recipe, [*arguments.settings, f"data.split={name}"])
        run = train(recipe, store, arguments.out / f"fold-{fold}", resume=True)
        split = build_split(name, store.table, dataset=store.dataset, whole_sha256=store.split_sha256)
        rows = split.rows("test")
        table, bundle = store.table.take(rows), load_bundle(run.bundle)
        refuse_seen_patients(bundle, store.dataset, table.patients().patients)
        result = evaluate_discrimination(
            table.targets(bundle.findings),
            Predictor(bundle, TorchEngine(bundle)).predict_rows(store.pixels, rows),
            patients=patient_codes(table),
            findings=bundle.findings,
            resamples=200,
        )
        scores.append(result.macro_auc.value)
        print(f"fold {fold}: {len(rows)} images, macro AUC {result.macro_auc} over {result.num_findings}")
    print(f"mean {statistics.mean(scores):.4f}, sd {statistics.stdev(scores):.4f} over {len(scores)} folds")


if __name__ == "__main__":
    main()
