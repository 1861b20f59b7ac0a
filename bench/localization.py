"""The leaderboard of localisation: methods x bundles on the boxes at hand, beside the baselines.

    python bench/localization.py --source FOLDER --work FOLDER --bundle RUN ... [--out FILE.md]
    python bench/localization.py --phantoms 800 --work FOLDER [--recipe small-cpu] [--set KEY=VALUE ...]

The first measures trained bundles on the boxes of a source, for example NIH's, preparing a store in WORK for
each size that they want. The second draws phantoms into WORK, trains a recipe on them and measures that; it
says whether Grad-CAM beats every baseline of the pointing game, in the mean over findings, and on each
finding whose best baseline is below 50 %. --run names its folder in WORK, so that several settings of one
recipe can stand side by side. What WORK holds already is not made again.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from thorax.bundle import Bundle, load_bundle
from thorax.datasets.phantom import write_phantoms
from thorax.datasets.sources import open_source
from thorax.datasets.splits import build_split, registered_sha256
from thorax.errors import RecipeError
from thorax.evaluation.localization.regions import MapOverlap
from thorax.evaluation.localization.scores import Localization, LocalizationScores, MapScores, localize
from thorax.explain import METHODS
from thorax.explain.explainers import Method
from thorax.explain.faithfulness import Faithfulness
from thorax.explain.torch_explainer import TorchExplainer
from thorax.recipe.load import load_recipe
from thorax.recipe.schema import Preparation
from thorax.reporting.localization import CURVES_HEADER, TABLE_HEADER, curves_rows, table_rows
from thorax.reporting.summary import markdown_table
from thorax.store import Store, build_store, open_store
from thorax.training import train
from thorax.workflows.localize import BoxedRow, boxed_rows, faithfulness_of_maps, measure_curves, measure_maps

QUICK = [method for method in METHODS if method not in {"occlusion", "rise", "integrated-gradients"}]
BASELINES = ("random", "center", "mean-box")
MARK = 0.5


def store_of(source: Path, work: Path, preparation: Preparation) -> Store:
    folder = work / f"store-{preparation.size}-{preparation.fit}"
    opened = open_source(source)
    sums = registered_sha256(opened.whole, opened.dataset)
    build_store(opened, folder, preparation, split_sha256=sums)
    return open_store(folder)


def trained_on_phantoms(arguments: argparse.Namespace) -> tuple[Path, Path]:
    phantoms, run = arguments.work / "phantoms", arguments.work / (arguments.run or arguments.recipe)
    recipe = load_recipe(arguments.recipe, [*arguments.settings, "data.split=folder-official"])
    if not (phantoms / "Data_Entry_2017_v2020.csv").is_file():
        write_phantoms(phantoms, patients=arguments.phantoms, size=max(256, recipe.store.size))
    store = store_of(phantoms, arguments.work, recipe.store)
    if not (run / "bundle" / "bundle.json").is_file():
        train(recipe, store, run, resume=True)
    return phantoms, run


def boxed_part(bundle: Bundle, store: Store, arguments: argparse.Namespace) -> list[BoxedRow]:
    split = build_split(
        arguments.split or bundle.split or "",
        store.table,
        dataset=store.dataset,
        whole_sha256=store.split_sha256,
    )
    return boxed_rows(store, split.rows(arguments.part), bundle.findings)


def measured(bundle: Bundle, store: Store, arguments: argparse.Namespace) -> Localization:
    explainer = TorchExplainer(bundle, device=arguments.device)
    boxed = boxed_part(bundle, store, arguments)
    overlaps: dict[str, list[MapOverlap]] = {}
    for method in arguments.method:
        try:
            overlaps |= measure_maps(explainer, store, boxed, methods=[method])
        except RecipeError:
            continue  # the method does not go with this net
    return localize([pair for each in boxed for pair in each.pairs], overlaps)


def curves(bundle: Bundle, store: Store, arguments: argparse.Namespace) -> str:
    """Return deletion and insertion on the first boxed images, as Markdown."""
    explainer = TorchExplainer(bundle, device=arguments.device)
    boxed = boxed_part(bundle, store, arguments)[: arguments.curves]
    found: dict[Method, list[Faithfulness]] = {}
    for method in arguments.method:
        try:
            found |= measure_curves(explainer, store, boxed, methods=[method])
        except RecipeError:
            continue  # the method does not go with this net
    rows = curves_rows(faithfulness_of_maps(found, boxed))
    pairs = sum(len(each.pairs) for each in boxed)
    return f"Deletion and insertion, {pairs} boxed findings:\n\n{markdown_table(CURVES_HEADER, rows)}"


def heading(name: str, bundle: Bundle, found: Localization, arguments: argparse.Namespace) -> str:
    nets = ", ".join(sorted({member.model.backbone for member in bundle.manifest.members}))
    return (
        f"## {name} ({nets})\n\n"
        f"Split {arguments.split or bundle.split}, {arguments.part} part: {found.num_pairs:,} boxed findings "
        f"of {found.num_patients:,} patients; levels and mean boxes fitted on {found.num_fitting:,} of "
        f"others. Means over {len(found.baselines[0].by_finding)} findings.\n"
    )


def table(found: Localization) -> str:
    return markdown_table(TABLE_HEADER, table_rows(found))


def leaderboard(every: dict[str, Localization]) -> str:
    """Return the pointing game, methods and baselines in rows, bundles in columns.

    Over all boxes too: where a finding is boxed in one patient, a mean over findings has no interval.
    """
    of = {name: {each.name: each for each in (*f.methods, *f.baselines)} for name, f in every.items()}
    names = [name for name in (*METHODS, *BASELINES) if any(name in maps for maps in of.values())]

    def rows(pick: Callable[[MapScores], LocalizationScores]) -> list[list[str]]:
        return [
            [name, *(str(pick(maps[name]).pointing) if name in maps else "n/a" for maps in of.values())]
            for name in names
        ]

    header = ["Map", *of]
    return (
        f"## Pointing game, all boxes\n\n{markdown_table(header, rows(lambda each: each.pooled))}\n"
        f"## Pointing game, mean over findings\n\n{markdown_table(header, rows(lambda each: each.mean))}"
    )


def acceptance(found: Localization, bundle: Bundle) -> str:
    """Return where Grad-CAM beats the best baseline of the pointing game, and where it must, as Markdown."""
    (ours,) = (each for each in found.methods if each.name == "grad-cam")
    best = max(found.baselines, key=lambda each: each.mean.pointing.value)
    beaten = ours.mean.pointing.value > best.mean.pointing.value
    verdict = told(does=beaten, must=True)
    rows = [["Mean", str(ours.mean.pointing), best.name, str(best.mean.pointing), "", verdict]]
    for finding in (each for each in bundle.findings if each in ours.by_finding):
        scores = ours.by_finding[finding]
        best = max(found.baselines, key=lambda each: each.by_finding[finding].pointing.value)
        bar = best.by_finding[finding].pointing
        must, does = bar.value < MARK, scores.pointing.value > bar.value
        beaten &= does or not must
        rows.append(
            [
                finding.label,
                str(scores.pointing),
                best.name,
                str(bar),
                f"{scores.num_pairs:,}",
                told(does=does, must=must),
            ]
        )
    header = ["Finding", "Grad-CAM", "Best baseline", "It", "Boxes", "Beaten"]
    end = f"Grad-CAM beats every baseline where it must: **{'yes' if beaten else 'no'}**.\n"
    return f"{markdown_table(header, rows)}\n{end}"


def told(*, does: bool, must: bool) -> str:
    return "yes" if does else "NO" if must else "no, and need not be"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for stores, phantoms and runs")
    parser.add_argument("--source", type=Path, help="folder of a data set with boxes")
    parser.add_argument("--bundle", type=Path, nargs="+", default=[])
    parser.add_argument("--phantoms", type=int, help="patients to draw and train on")
    parser.add_argument("--recipe", default="small-cpu")
    parser.add_argument("--run", help="name of the run's folder; the recipe's if not given")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--split", default="")
    parser.add_argument("--part", default="test")
    parser.add_argument("--method", nargs="+", default=QUICK, choices=METHODS)
    parser.add_argument("--curves", type=int, default=0, help="boxed images for deletion and insertion")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="Markdown file; else to the terminal")
    arguments = parser.parse_args()
    if (arguments.phantoms is None) == (arguments.source is None):
        parser.error("give --source with --bundle, or --phantoms")
    if arguments.phantoms is not None:
        arguments.source, run = trained_on_phantoms(arguments)
        arguments.bundle = [run]
    sections, every = [], {}
    for path in arguments.bundle:
        bundle = load_bundle(path)
        store = store_of(arguments.source, arguments.work, bundle.manifest.preparation)
        found = every[path.name] = measured(bundle, store, arguments)
        sections += [heading(path.name, bundle, found, arguments), table(found)]
        if arguments.phantoms is not None and "grad-cam" in arguments.method:
            sections.append(acceptance(found, bundle))
        if arguments.curves:
            sections.append(curves(bundle, store, arguments))
    parts = [leaderboard(every), *sections] if len(every) > 1 else sections
    text = "\n".join(parts)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
