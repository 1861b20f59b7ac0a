"""`thorax audit`: what is wrong with a split, a store and what a model made of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from thorax.auditing import Audit

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
    from thorax.cli.console import progress_bars
    from thorax.workflows.audit import audit as look

    files = {"train": train_list, "val": val_list, "test": test_list}
    lists = {name: file for name, file in files.items() if file is not None}
    with progress_bars() as progress:
        found = look(
            store, split=split, lists=lists, part=part, predictions=predictions, bundle=bundle,
            metrics=metrics, boxes=boxes, pixels=pixels, progress=progress,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        _print(found)
    if found.failed:
        raise typer.Exit(1)


def _print(audit: "Audit") -> None:
    from thorax.auditing.report import prevalence_table
    from thorax.cli.console import print_table

    typer.echo(audit.headline)
    if audit.prevalence:
        print_table(*prevalence_table(audit), title="Prevalence by part")
    for problem in audit.problems:
        typer.echo(f"{problem.severity}: {problem.what} [{problem.kind}]")
        for example in problem.examples:
            typer.echo(f"    {example}")
        typer.echo(f"    -> {problem.remedy}")
    typer.echo(f"looked at: {'; '.join(audit.checked)}")
    for line in audit.unchecked:
        typer.echo(f"not looked at: {line}")
