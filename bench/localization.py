"""The leaderboard of localisation: methods x bundles on the boxes at hand, beside the baselines.

    python bench/localization.py --source FOLDER --work FOLDER --bundle RUN ... [--out FILE.md]
    python bench/localization.py --phantoms 800 --work FOLDER [--recipe small-cpu] [--set KEY=VALUE ...]

The first measures trained bundles on the boxes of a source, for example NIH's, preparing a store in WORK for
each size that they want. The second draws phantoms into WORK, trains a recipe on them and measures that; it
says whether Grad-CAM beats every baseline of the pointing game, in the mean over findings, and on each
finding whose best baseline is below 50 %. What WORK holds already is not made again.
"""

import argparse
from pathlib import Path

from thorax.bundle import Bundle, load_bundle
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.source import open_source
from thorax.datasets.splits import build_split, registered_sha256
from thorax.errors import RecipeError
from thorax.evaluation.localization import Localization, MapScores, localize
from thorax.explain import METHODS, Explainer
from thorax.explain.localization_table import TABLE_HEADER, table_rows
from thorax.explain.localize import boxed_rows, measure_maps
from thorax.recipe.load import load_recipe
from thorax.recipe.schema import Preparation
from thorax.store import Store, build_store, open_store
from thorax.training import train

QUICK = [method for method in METHODS if method not in {"occlusion", "rise", "integrated-gradients"}]
MARK = 0.5


def store_of(source: Path, work: Path, preparation: Preparation) -> Store:
    folder = work / f"store-{preparation.size}-{preparation.fit}"
    opened = open_source(source)
    sums = registered_sha256(opened.whole, opened.dataset)
    build_store(opened, folder, preparation, split_sha256=sums)
    return open_store(folder)


def trained_on_phantoms(arguments: argparse.Namespace) -> tuple[Path, Path]:
    phantoms, run = arguments.work / "phantoms", arguments.work / arguments.recipe
    recipe = load_recipe(arguments.recipe, [*arguments.settings, "data.split=folder-official"])
    if not (phantoms / "Data_Entry_2017_v2020.csv").is_file():
        write_phantoms(phantoms, patients=arguments.phantoms, size=max(256, recipe.store.size))
    store = store_of(phantoms, arguments.work, recipe.store)
    if not (run / "bundle" / "bundle.json").is_file():
        train(recipe, store, run, resume=True)
    return phantoms, run


def measured(bundle: Bundle, store: Store, arguments: argparse.Namespace) -> Localization:
    explainer = Explainer(bundle, device=arguments.device)
    split = build_split(
        arguments.split or bundle.split,
        store.table,
        dataset=store.dataset,
        whole_sha256=store.split_sha256,
    )
    boxed = boxed_rows(store, split.rows(arguments.part), bundle.findings)
    overlaps = {}
    for method in arguments.method:
        try:
            overlaps |= measure_maps(explainer, store, boxed, methods=[method])
        except RecipeError:
            continue  # the method does not go with this net
    return localize([pair for each in boxed for pair in each.pairs], overlaps)


def heading(bundle: Bundle, found: Localization, arguments: argparse.Namespace) -> str:
    nets = ", ".join(sorted({member.model.backbone for member in bundle.manifest.members}))
    return (
        f"## {bundle.manifest.name} ({nets})\n\n"
        f"Split {arguments.split or bundle.split}, {arguments.part} part: {found.num_pairs:,} boxed findings "
        f"of {found.num_patients:,} patients; levels and mean boxes fitted on {found.num_fitting:,} of "
        f"others. Means over {len(found.baselines[0].by_finding)} findings.\n"
    )


def table(found: Localization) -> str:
    rule = ("---", *("---:" for _ in TABLE_HEADER[1:]))
    lines = (TABLE_HEADER, rule, *table_rows(found))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def verdict(found: Localization) -> str:
    """Say where Grad-CAM beats the best baseline of the pointing game, and where it must."""
    by_name = {each.name: each for each in found.methods}
    ours: MapScores = by_name["grad-cam"]
    best = max(each.mean.pointing.value for each in found.baselines)
    lines = [f"mean over findings: Grad-CAM {ours.mean.pointing}, best baseline {best:.3f}"]
    beaten = ours.mean.pointing.value > best
    for finding, scores in ours.by_finding.items():
        bar = max(each.by_finding[finding].pointing.value for each in found.baselines)
        must, does = bar < MARK, scores.pointing.value > bar
        beaten &= does or not must
        lines.append(
            f"{finding.label}: {scores.pointing}, best baseline {bar:.3f}, {scores.num_pairs} boxes"
            + ("" if does else ", not beaten" if must else ", not beaten, and need not be")
        )
    return "\n".join([*lines, f"Grad-CAM beats the baselines where it must: {'yes' if beaten else 'NO'}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for stores, phantoms and runs")
    parser.add_argument("--source", type=Path, help="folder of a data set with boxes")
    parser.add_argument("--bundle", type=Path, nargs="+", default=[])
    parser.add_argument("--phantoms", type=int, help="patients to draw and train on")
    parser.add_argument("--recipe", default="small-cpu")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--split", default="")
    parser.add_argument("--part", default="test")
    parser.add_argument("--method", nargs="+", default=QUICK, choices=METHODS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="Markdown file; else to the terminal")
    arguments = parser.parse_args()
    if (arguments.phantoms is None) == (arguments.source is None):
        parser.error("give --source with --bundle, or --phantoms")
    if arguments.phantoms is not None:
        arguments.source, run = trained_on_phantoms(arguments)
        arguments.bundle = [run]
    parts = ["# Localisation\n"]
    for path in arguments.bundle:
        bundle = load_bundle(path)
        store = store_of(arguments.source, arguments.work, bundle.manifest.preparation)
        found = measured(bundle, store, arguments)
        parts += [heading(bundle, found, arguments), table(found)]
        if "grad-cam" in arguments.method:
            print(f"{bundle.manifest.name}\n{verdict(found)}\n")
    text = "\n".join(parts)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
