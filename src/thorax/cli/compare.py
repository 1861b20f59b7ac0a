"""`thorax compare`: how models differ on the same images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thorax.hardware import one_blas_thread

if TYPE_CHECKING:
    from thorax.cli.subject import PartChoice, Subject

__all__ = ["compare"]


def compare(
    models: Annotated[list[Path], typer.Argument(help="Bundles, or CSVs of any model's probabilities.")],
    out: Annotated[Path, typer.Option(help="Folder for comparison.json and comparison.md.")],
    store: Annotated[Path | None, typer.Option(help="A store prepared as the bundles want it.")] = None,
    labels: Annotated[Path | None, typer.Option(help="NIH's label file, where all are CSVs.")] = None,
    logits: Annotated[bool, typer.Option("--logits", help="The CSVs hold logits.")] = False,
    split: Annotated[str, typer.Option(help="Name of the split; a bundle's own if not given.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split.")] = "test",
    view: Annotated[Literal["PA", "AP"] | None, typer.Option(help="Only images of this view.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="The model that others are compared with.")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples of the patients.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Compare models on the same images, with paired intervals and p values. Other images are refused."""
    one_blas_thread()
    from thorax.cli.console import print_table
    from thorax.cli.subject import PartChoice
    from thorax.evaluation.compare import compare as measure
    from thorax.evaluation.labeled import LabeledImages, ScoredImages
    from thorax.reporting.comparison import (
        COMPARISON_HEADER,
        comparison_rows,
        comparison_title,
        write_comparison,
    )
    from thorax.reporting.report import refuse_file

    refuse_file(out)
    _refuse_mixture(models, store, labels)
    names = dict(zip(models, _names(models), strict=False))
    if baseline is not None and baseline not in names:
        raise typer.BadParameter(f"{baseline} is none of the models")
    choice = PartChoice(split=split, part=part, view=view)
    subjects = {
        name: _subject(path, store, labels, choice, logits=logits, device=device)
        for path, name in names.items()
    }
    first = next(iter(subjects.values()))
    _refuse_other_splits(subjects)
    comparison = measure(
        LabeledImages(
            images=first.cohort.images,
            patients=first.cohort.patients,
            targets=first.cohort.targets,
            findings=first.cohort.findings,
        ),
        [
            ScoredImages(
                model=name,
                images=each.cohort.images,
                scores=each.probabilities,
                findings=each.cohort.findings,
            )
            for name, each in subjects.items()
        ],
        baseline=None if baseline is None else names[baseline],
        resamples=resamples,
        seed=seed,
    )
    contexts = {name: each.context for name, each in subjects.items()}
    written = write_comparison(comparison, contexts, out=out)
    for pair in comparison.pairs:
        title = comparison_title(pair, comparison, first.context)
        print_table(COMPARISON_HEADER, comparison_rows(pair), title=title)
    for name, context in contexts.items():
        for warning in context.warnings:
            typer.echo(f"note: {name}: {warning}", err=True)
    typer.echo(f"comparison: {written.json}")


def _subject(
    path: Path,
    store: Path | None,
    labels: Path | None,
    choice: "PartChoice",
    *,
    logits: bool,
    device: str,
) -> "Subject":
    from thorax.cli.subject import predicted_subject, store_subject

    if path.is_dir():
        assert store is not None
        return store_subject(path, store, choice, device=device)
    return predicted_subject(path, labels, store, choice, logits=logits)


def _refuse_mixture(models: Sequence[Path], store: Path | None, labels: Path | None) -> None:
    from thorax.errors import DataError

    if len(set(models)) <= 1:
        raise typer.BadParameter("give at least two different models")
    missing = [str(path) for path in models if not path.exists()]
    if missing:
        raise DataError(f"there is no {missing[0]}; give bundles, or CSVs of probabilities")
    if (store is None) == (labels is None):
        raise typer.BadParameter("give --store, which has the labels too, or --labels for CSVs alone")
    if store is None and any(path.is_dir() for path in models):
        raise typer.BadParameter("a bundle needs --store")


def _refuse_other_splits(subjects: "dict[str, Subject]") -> None:
    """Refuse parts of different splits, although their images may be the same."""
    from thorax.errors import DataError

    where = {each.context.where: name for name, each in subjects.items()}
    if len(where) > 1:
        said = "; ".join(f"{name}: {place}" for place, name in where.items())
        raise DataError(f"the models would be measured on different parts ({said}); name one with --split")


def _names(models: Sequence[Path]) -> list[str]:
    """Return what each model is called: the last piece of its path, or all of it where two share that."""
    short = [path.resolve().name for path in models]
    return [name if short.count(name) == 1 else str(path) for path, name in zip(models, short, strict=True)]
