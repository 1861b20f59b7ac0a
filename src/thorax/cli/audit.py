"""`thorax audit`: what is wrong with a split, a store and what a model made of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from thorax.auditing import Audit, ListedLabels, Lists, Locator
    from thorax.store import Store

__all__ = ["audit"]


def audit(
    store: Annotated[Path, typer.Argument(help="A store with the images and labels.")],
    split: Annotated[str, typer.Option(help="Name of the split, or file:PATH of a list.")] = "",
    part: Annotated[str, typer.Option(help="The part that is measured.")] = "test",
    train_list: Annotated[Path | None, typer.Option(help="Images of training, instead of --split.")] = None,
    val_list: Annotated[Path | None, typer.Option(help="Images of validation.")] = None,
    test_list: Annotated[Path | None, typer.Option(help="Images of the test.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="CSV of a model's probabilities.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle, or the run that made it.")] = None,
    metrics: Annotated[Path | None, typer.Option(help="A metrics.json of `thorax evaluate`.")] = None,
    boxes: Annotated[Path | None, typer.Option(help="CSV of boxes; the store's own if not given.")] = None,
    pixels: Annotated[bool, typer.Option(help="Look for equal and near images.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Look for every fault that leaves a trace; exit code 1 where figures would be wrong."""
    from thorax.auditing import Evidence, Locator, read_boxed_images, read_metrics, read_predictions
    from thorax.auditing import audit as look
    from thorax.bundle import load_bundle
    from thorax.cli.console import progress_bars
    from thorax.store import open_store

    files = {"train": train_list, "val": val_list, "test": test_list}
    images = open_store(store)
    locator = Locator(images.table, images.dataset)
    lists = _lists(images, locator, split, files)
    _refuse_unknown_part(lists, part)
    evidence = Evidence(
        part=part,
        predictions=read_predictions(predictions, locator, images.table.findings) if predictions else None,
        bundle=load_bundle(bundle) if bundle else None,
        metrics=read_metrics(metrics) if metrics else None,
        labels=_labels(split, files),
        boxed=read_boxed_images(boxes, locator) if boxes else None,
        pixels=pixels,
    )
    with progress_bars() as progress:
        found = look(images, lists, evidence, progress=progress)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        _print(found)
    if found.failed:
        raise typer.Exit(1)


def _lists(store: "Store", locator: "Locator", split: str, files: dict[str, Path | None]) -> "Lists":
    """Return the lists of the named split, of its file, or of one file for each part."""
    from thorax.auditing import lists_of_split, locate_parts, read_image_list, read_part_lists
    from thorax.datasets.splits import build_split
    from thorax.errors import DataError

    given = {part: file for part, file in files.items() if file is not None}
    if bool(split) == bool(given):
        raise DataError(
            f"{store.path} can be audited with --split NAME or with lists of its images, and "
            f"{'both are' if split else 'neither is'} given; name one of them, such as --split nih-official"
        )
    if given:
        return locate_parts("lists", {part: read_image_list(file) for part, file in given.items()}, locator)
    if split.startswith("file:"):
        file = Path(split.removeprefix("file:"))
        return locate_parts(f"file:{file.name}", read_part_lists(file), locator)
    built = build_split(split, store.table, dataset=store.dataset, whole_sha256=store.split_sha256)
    return lists_of_split(built, store.dataset)


def _labels(split: str, files: dict[str, Path | None]) -> tuple["ListedLabels", ...]:
    """Return the labels that the lists carry."""
    from thorax.auditing import read_listed_labels

    given = [file for file in files.values() if file is not None]
    if split.startswith("file:"):
        given = [Path(split.removeprefix("file:"))]
    return tuple(labels for file in given if (labels := read_listed_labels(file)) is not None)


def _refuse_unknown_part(lists: "Lists", part: str) -> None:
    from thorax.datasets.splits import PARTS
    from thorax.errors import DataError

    if part not in PARTS:
        raise DataError(f"there is no part {part!r} in {lists.name}; the parts are {', '.join(PARTS)}")


def _print(audit: "Audit") -> None:
    from thorax.cli.console import print_table

    typer.echo(audit.headline)
    if audit.prevalence:
        print_table(*_prevalence_table(audit), title="Prevalence by part")
    for problem in audit.problems:
        typer.echo(f"{problem.severity}: {problem.what} [{problem.kind}]")
        for example in problem.examples:
            typer.echo(f"    {example}")
        typer.echo(f"    -> {problem.remedy}")
    typer.echo(f"looked at: {'; '.join(audit.checked)}")
    for line in audit.unchecked:
        typer.echo(f"not looked at: {line}")


def _prevalence_table(audit: "Audit") -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows: for each finding its positives and their share in each part."""
    parts = list(dict.fromkeys(each.part for each in audit.prevalence))
    counted = {(each.finding, each.part): each for each in audit.prevalence}
    findings = list(dict.fromkeys(each.finding for each in audit.prevalence))
    rows = []
    for finding in findings:
        cells = [counted[finding, part] for part in parts]
        rows.append(
            (
                finding,
                *(f"{cell.num_positive:,} ({cell.share:.1%})" if cell.num_known else "n/a" for cell in cells),
            )
        )
    return ("Finding", *parts), rows
