"""`thorax evaluate`: a bundle on one part of a split, with intervals and a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from thorax.bundle import Bundle
    from thorax.store import Store

__all__ = ["evaluate"]


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    store: Annotated[Path, typer.Option(help="A store prepared as the bundle wants it.")],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json and report.html.")],
    split: Annotated[str, typer.Option(help="Name of the split; the bundle's own if not given.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split.")] = "test",
    view: Annotated[Literal["PA", "AP"] | None, typer.Option(help="Only images of this view.")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples of the patients.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Evaluate a bundle. Patients that training or selection saw are refused."""
    from importlib.metadata import version

    from thorax.bundle import load_bundle, refuse_seen_patients
    from thorax.cli.console import print_table, progress_bar
    from thorax.datasets.splits import build_split
    from thorax.datasets.table import patient_codes
    from thorax.evaluation.evaluate import Context
    from thorax.evaluation.evaluate import evaluate as measure
    from thorax.inference.predictor import Predictor
    from thorax.inference.torch_engine import TorchEngine
    from thorax.reporting.report import SUMMARY_HEADER, headline, summary_rows, write_report
    from thorax.store import open_store

    opened, images = load_bundle(bundle), open_store(store)
    _refuse_file(out)
    opened.refuse_other_preparation(images.path, images.preparation)
    images.verify()
    chosen = build_split(
        split or _own_split(opened),
        images.table,
        dataset=images.dataset,
        whole_sha256=images.split_sha256,
    )
    rows = chosen.rows(part, views=(view,) if view else ())
    table = images.table.take(rows)
    refuse_seen_patients(opened, images.dataset, table.patients().patients)
    predictor = Predictor(opened, TorchEngine(opened, device=device))
    with progress_bar("predicting", unit="images") as progress:
        probabilities = predictor.predict_rows(images.pixels, rows, progress=progress)
    evaluation = measure(
        table.targets(opened.findings),
        probabilities,
        patients=patient_codes(table),
        findings=opened.findings,
        resamples=resamples,
        seed=seed,
    )
    context = Context(
        split=chosen.name,
        part=part,
        split_sha256=chosen.sha256,
        images_sha256=chosen.images_sha256(rows),
        dataset=images.dataset,
        model=predictor.identity,
        versions={name: version(name) for name in ("thorax", "torch", "numpy")},
        warnings=_warnings(opened, images, chosen.name, part=part, num_images=len(rows), view=view),
    )
    written = write_report(evaluation, context, out=out)
    print_table(SUMMARY_HEADER, summary_rows(evaluation), title=headline(evaluation, context))
    for warning in context.warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(f"report: {written.html}")


def _warnings(
    bundle: "Bundle", store: "Store", split: str, *, part: str, num_images: int, view: str | None
) -> tuple[str, ...]:
    """Say what a reader must know about the images behind the figures."""
    from thorax.datasets.splits import NIH_OFFICIAL_TEST_IMAGES

    foreign = sorted({training.dataset for training in bundle.trainings} - {store.dataset})
    notes = [
        f"Only images of view {view}." if view else "",
        f"{store.num_rejected:,} files of the store could not be used and are in no part."
        if store.num_rejected
        else "",
        f"The model was trained on {', '.join(foreign)}: patients that both data sets have cannot be "
        "recognised."
        if foreign
        else "",
        "Which patients an imported net was trained on is not known: they may be among these."
        if not bundle.all_trained
        else "",
        f"{num_images:,} of the {NIH_OFFICIAL_TEST_IMAGES:,} images of NIH's official test part."
        if (split, part) == ("nih-official", "test") and num_images != NIH_OFFICIAL_TEST_IMAGES
        else "",
    ]
    return tuple(note for note in notes if note)


def _own_split(bundle: "Bundle") -> str:
    from thorax.errors import BundleError

    if bundle.split is None:
        raise BundleError(f"{bundle.folder} was not trained on one split; name the one to use with --split")
    return bundle.split


def _refuse_file(out: Path) -> None:
    from thorax.errors import DataError

    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; give a folder for the report with --out")
