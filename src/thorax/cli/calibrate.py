"""`thorax calibrate`: temperature and operating points of any bundle, fitted on validation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.recipe.literals import CalibrationKind, OperatingPointRule

if TYPE_CHECKING:
    from thorax.workflows.bundles import WrittenBundle

__all__ = ["calibrate", "print_calibrated"]


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    store: Annotated[Path, typer.Option(help="A store prepared as the bundle wants it.")],
    out: Annotated[Path, typer.Option(help="Folder of the calibrated bundle.")],
    split: Annotated[str, typer.Option(help="Name of the split; the bundle's own if not given.")] = "",
    kind: Annotated[CalibrationKind, typer.Option(help="One temperature, or Platt's for each finding.")] = (
        "temperature"
    ),
    rule: Annotated[OperatingPointRule, typer.Option(help="How thresholds are chosen.")] = "f1-optimal",
    test_time: Annotated[
        list[str] | None,
        typer.Option(help="Change the views that are averaged, such as flip=true or scales=[1.0,1.1]."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Fit calibration and operating points on the validation part. Patients of training are refused."""
    from thorax.cli.console import progress_bars
    from thorax.workflows.bundles import calibrate as calibrate_bundle

    with progress_bars() as progress:
        written = calibrate_bundle(
            bundle,
            store,
            out,
            split=split or None,
            kind=kind,
            rule=rule,
            test_time=test_time or (),
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    print_calibrated(written)


def print_calibrated(written: "WrittenBundle") -> None:
    """Print what was fitted, and on what."""
    manifest = written.bundle.manifest
    calibration, points = manifest.calibration, manifest.operating_points
    assert calibration is not None
    assert points is not None
    for notice in written.notices:
        typer.echo(f"note: {notice}", err=True)
    on = calibration.fitted_on
    chosen = sum(threshold is not None for threshold in points.thresholds.values())
    typer.echo(
        f"{calibration}, {chosen} of {len(points.thresholds)} thresholds "
        f"({points.rule}), fitted on the {on.part} part of {on.split} ({on.num_images:,} images of "
        f"{on.num_patients:,} patients)\nbundle: {written.bundle.folder}"
    )
