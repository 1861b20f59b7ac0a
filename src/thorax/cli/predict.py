"""`thorax predict`: predict radiographs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.bundle.files import model_and_images
from thorax.cli.archive_output import archives_among, predict_archives
from thorax.cli.cluster_options import Address, Cores, Memory, cluster_of, gpus_of
from thorax.cli.interrupts import raise_again
from thorax.cli.output import say
from thorax.cli.prediction_output import (
    predict_into_folder,
    print_predictions,
    watch_into_folder,
    write_dicom,
)
from thorax.cli.prediction_settings import refuse_contradictions
from thorax.errors import ImageError
from thorax.hardware import gc_frozen
from thorax.recipe.literals import EngineName, EngineOrRay, Overlays

if TYPE_CHECKING:
    from thorax.inference.predictor import Predictor

__all__ = ["predict"]


def predict(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="A bundle or the run that made it, if it is not the starter; then PNG, JPEG or DICOM files, "
            "or folders of them; all of these also at s3://BUCKET/...; or dicomweb://HOST/.../studies?QUERY.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The bundle or run; starter: the small model in the package.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for predictions.csv, a page and pictures; after an interruption, the same command "
            "continues."
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(help="With --out: predict what this folder has and what arrives there, until Ctrl-C."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again in a folder with other predictions.")
    ] = False,
    overlays: Annotated[
        Overlays,
        typer.Option(help="With --out: the findings that get a heat map over the thumbnail."),
    ] = "positive",
    dicom_out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results as DICOM objects of the image's study: structured report, color "
            "image and presentation state (needs the extra pacs; docs/pacs.md)."
        ),
    ] = None,
    no_refusals: Annotated[
        bool,
        typer.Option(
            "--no-refusals",
            help="With --dicom-out: no structured report for an image that the input gate holds back.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per image and line.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, with one line per image and finding.")
    ] = False,
    wide: Annotated[
        bool, typer.Option("--wide", help="Print CSV with one line per image and one column per finding.")
    ] = False,
    findings: Annotated[str, typer.Option(help="Only these findings, separated by commas.")] = "",
    ids: Annotated[
        bool,
        typer.Option(
            "--ids",
            help="Add patient id, accession number, study date and UIDs of DICOM files to the results.",
        ),
    ] = False,
    site: Annotated[
        str, typer.Option(help="Calibrate for this site, which `thorax site --save` added to the bundle.")
    ] = "",
    no_gate: Annotated[
        bool, typer.Option("--no-gate", help="Predict also what the model's input gate would hold back.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    engine: Annotated[
        EngineOrRay,
        typer.Option(
            help="What computes the logits; auto: the fastest exact engine. ray: that engine, over a Ray "
            "cluster, with --out; with --address, any other engine works over the cluster too."
        ),
    ] = "auto",
    address: Address = None,
    cores: Cores = None,
    memory: Memory = None,
) -> None:
    """Predict radiographs with a bundle, or without one with the starter, a small model to try Thorax with.

    Unreadable files, and images that the model's input gate holds back, are reported and skipped; the exit
    code is then 4. With --watch it ends with Ctrl-C.
    """
    given = [*(paths or ()), *([watch] if watch else ())]
    over_ray = engine == "ray" or address is not None
    computed_by: EngineName = "auto" if engine == "ray" else engine
    refuse_contradictions(
        images=given, printed=(as_json, as_csv or wide), out=out, dicom_out=dicom_out, watch=watch,
        only_out=overwrite or overlays != "positive", selecting=bool(findings) or ids,
        no_refusals=no_refusals, over_ray=over_ray,
    )  # fmt: skip
    cluster = cluster_of("ray" if over_ray else "local", address, cores, memory, gpus=gpus_of(device))
    if out is not None:
        from thorax.workflows.predict_folder import refuse_unusable

        refuse_unusable(out, overwrite=overwrite)
    if watch is not None:
        from thorax.workflows.watch_folder import refuse_unwatchable

        refuse_unwatchable(watch)
    if dicom_out is not None:
        from thorax.outputs import check_folder

        check_folder(dicom_out)
    with gc_frozen():
        bundle, images = model_and_images(given, model=model)
        predictor = _open(bundle, images, site=site, device=device, engine=computed_by, gate=not no_gate)
    _introduce(predictor, bundle, err=as_json or as_csv or wide)
    raise_again()
    addresses = archives_among(images)
    names = tuple(name.strip() for name in findings.split(",")) if findings else ()
    if addresses:
        tally = predict_archives(predictor, addresses, device=device)
    elif out is not None:
        into = predict_into_folder if watch is None else watch_into_folder
        tally = into(
            predictor, images, out,
            findings=names, ids=ids, overlays=overlays, device=device, overwrite=overwrite,
            **({"cluster": cluster, "engine": computed_by} if cluster else {}),
        )  # fmt: skip
    elif dicom_out is not None:
        tally = write_dicom(predictor, images, dicom_out, refusals=not no_refusals, device=device)
    else:
        form = "json" if as_json else "wide" if wide else "csv" if as_csv else "text"
        tally = print_predictions(predictor, images, form, findings=names, ids=ids)
    shown = not (as_json or as_csv or wide or out)
    advice = ["--no-gate predicts also what is held back"] if tally.held_back else []
    for line in (*tally.lines(warnings=not shown), *advice):
        say(line, err=True)
    if tally.failed:
        raise typer.Exit(ImageError.exit_code)


def _introduce(predictor: "Predictor", bundle: Path, *, err: bool) -> None:
    """Say once what the model says of itself, and whether it has an input gate."""
    for said in filter(None, (predictor.identity.statement, predictor.promise)):
        say(said, err=err, prose=True)
    if predictor.gate_note:
        say(f"{predictor.gate_note} (thorax gate {bundle} --store STORE fits one)", err=True)


def _open(
    bundle: Path, paths: list[Path], *, site: str, device: str, engine: EngineName, gate: bool
) -> "Predictor":
    from thorax.inference.onnx_session import prefetch

    prefetch(bundle, paths, device=device, engine=engine)
    # Only now: importing these takes as long as opening a graph.
    from thorax.imaging.guarded import expect_to_read

    expect_to_read(paths[0])
    from thorax.bundle import load_bundle
    from thorax.inference.engines import open_predictor

    opened = load_bundle(bundle, check_nets=False)
    if site:
        from thorax.bundle.sites import at_site

        opened = at_site(opened, site)
    predictor = open_predictor(opened, device=device, engine=engine)
    return predictor if gate else predictor.without_gate()
