"""`thorax audit`: check a split, a store and a model's results for errors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.cli.output import say, say_json

if TYPE_CHECKING:
    from thorax.auditing import Audit

__all__ = ["audit"]


def audit(
    store: Annotated[Path, typer.Argument(help="A store with the images and labels.")],
    split: Annotated[str, typer.Option(help="Name of the split, or file:PATH of a list with parts.")] = "",
    part: Annotated[str, typer.Option(help="The part that is evaluated.")] = "test",
    train_list: Annotated[
        Path | None, typer.Option(help="List of training images, instead of --split.")
    ] = None,
    val_list: Annotated[Path | None, typer.Option(help="List of validation images.")] = None,
    test_list: Annotated[Path | None, typer.Option(help="List of test images.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="CSV of a model's probabilities.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle, or the run that made it.")] = None,
    metrics: Annotated[Path | None, typer.Option(help="metrics.json of `thorax evaluate`.")] = None,
    boxes: Annotated[Path | None, typer.Option(help="CSV of boxes; default: the store's.")] = None,
    pixels: Annotated[bool, typer.Option(help="Search for identical and nearly identical images.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check for every error that can be detected; exit code 1 if results would be wrong."""
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.workflows.audit import audit as run_audit

    files = {"train": train_list, "val": val_list, "test": test_list}
    lists = {name: file for name, file in files.items() if file is not None}
    with bars_or_lines() as progress:
        report = run_audit(
            store, split=split, lists=lists, part=part, predictions=predictions, bundle=bundle,
            metrics=metrics, boxes=boxes, pixels=pixels, progress=progress,
        )  # fmt: skip
    if as_json:
        say_json(report.as_json(), indent=1)
    else:
        _print(report)
    if report.failed:
        raise typer.Exit(1)


def _print(audit: "Audit") -> None:
    from thorax.auditing.report import prevalence_table
    from thorax.cli.console import print_table

    say(audit.headline)
    if audit.prevalence:
        print_table(*prevalence_table(audit), title="Prevalence by part")
    for problem in audit.problems:
        say(f"{problem.severity}: {problem.what} [{problem.kind}]", prose=True)
        for example in problem.examples:
            say(f"    {example}")
        say(f"    -> {problem.remedy}", prose=True)
    say(f"checked: {'; '.join(audit.checked)}", prose=True)
    for line in audit.unchecked:
        say(f"not checked: {line}", prose=True)
