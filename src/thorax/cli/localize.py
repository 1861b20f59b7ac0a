"""`thorax localize`: how well a bundle's maps point at boxed findings, beside baselines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from thorax.bundle import Bundle
    from thorax.evaluation.localization.scores import Localization, MapFaithfulness
    from thorax.explain import Explainer
    from thorax.store import Store

__all__ = ["localize"]

_FEW = 100
"""Boxes of a figure below which the reader is told that they are few."""


def localize(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    store: Annotated[Path, typer.Option(help="A store with boxes, prepared as the bundle wants it.")],
    out: Annotated[Path, typer.Option(help="Folder for localization.json and localization.md.")],
    split: Annotated[str, typer.Option(help="Name of the split; the bundle's own if not given.")] = "",
    part: Annotated[str, typer.Option(help="Part of the split.")] = "test",
    method: Annotated[
        list[str] | None,
        typer.Option(help="cam where the net has an exact one, else grad-cam. May be repeated."),
    ] = None,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness",
            help="Deletion and insertion too: thousands of passes for each box; better on a GPU.",
        ),
    ] = False,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples of the patients.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of resamples, random maps and methods that draw.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Measure maps against boxes. Patients that training or selection saw are refused."""
    import numpy as np

    from thorax.bundle import load_bundle
    from thorax.cli.console import print_table, progress_bar
    from thorax.cli.explain import chosen_methods
    from thorax.datasets.splits import build_split
    from thorax.errors import BundleError, DataError
    from thorax.evaluation.evaluate import Context
    from thorax.evaluation.localization.scores import localize as compare
    from thorax.explain import open_explainer, open_torch_explainer
    from thorax.packages import versions
    from thorax.prediction import ModelIdentity
    from thorax.reporting.localization import (
        CURVES_HEADER,
        TABLE_HEADER,
        curves_rows,
        table_rows,
        write_localization,
    )
    from thorax.store import open_store
    from thorax.workflows.localize import boxed_rows, measure_maps

    opened, images = load_bundle(bundle), open_store(store)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; give a folder for the figures with --out")
    images.verify()
    name = split or opened.split
    if name is None:
        raise BundleError(f"{opened.folder} was not trained on one split; name the one to use with --split")
    chosen = build_split(name, images.table, dataset=images.dataset, whole_sha256=images.split_sha256)
    boxed = boxed_rows(images, chosen.rows(part), opened.findings)
    methods = chosen_methods(method, opened)
    explainer: Explainer
    curves: tuple[MapFaithfulness, ...] = ()
    if faithfulness:
        explainer = by_torch = open_torch_explainer(opened, methods=methods, device=device)
        from thorax.workflows.localize import faithfulness_of_maps, measure_curves

        with progress_bar("blurring", unit="images") as progress:
            measured = measure_curves(by_torch, images, boxed, methods=methods, seed=seed, progress=progress)
        curves = faithfulness_of_maps(measured, boxed, resamples=resamples, seed=seed)
    else:
        explainer = open_explainer(opened, methods=methods, device=device)
    with progress_bar("explaining", unit="images") as progress:
        overlaps = measure_maps(explainer, images, boxed, methods=methods, seed=seed, progress=progress)
    pairs = [pair for each in boxed for pair in each.pairs]
    found = compare(pairs, overlaps, resamples=resamples, seed=seed)
    rows = np.array([each.row for each in boxed], dtype=np.int64)
    manifest = opened.manifest
    context = Context(
        split=chosen.name,
        part=part,
        split_sha256=chosen.sha256,
        images_sha256=chosen.images_sha256(rows),
        dataset=images.dataset,
        model=ModelIdentity(manifest.name, opened.sha256, calibrated=manifest.calibration is not None),
        versions=versions("thorax", explainer.library, "numpy"),
        warnings=_warnings(opened, images, found),
    )
    _, table = write_localization(found, context, out=out, curves=curves)
    title = f"{chosen.name}, {part} part, {found.num_pairs:,} boxes of {found.num_patients:,} patients"
    print_table(TABLE_HEADER, table_rows(found), title=title)
    if curves:
        print_table(CURVES_HEADER, curves_rows(curves), title="Deletion and insertion")
    for warning in context.warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(f"table: {table}")


def _warnings(bundle: "Bundle", store: "Store", found: "Localization") -> tuple[str, ...]:
    """Say what a reader must know about the boxes behind the figures."""
    foreign = sorted({training.dataset for training in bundle.trainings} - {store.dataset})
    notes = [
        f"Only {found.num_pairs:,} boxes: the figures can hardly tell methods apart."
        if found.num_pairs < _FEW
        else "",
        f"The model was trained on {', '.join(foreign)}: patients that both data sets have cannot be "
        "recognised."
        if foreign
        else "",
        "Which patients an imported net was trained on is not known: they may be among these."
        if not bundle.all_trained
        else "",
    ]
    return tuple(note for note in notes if note)
