"""`thorax calibrate`: temperature and operating points of any bundle, fitted on validation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.recipe.literals import CalibrationKind, OperatingPointRule

if TYPE_CHECKING:
    from thorax.bundle import Bundle
    from thorax.inference.ensemble import ValidationPart

__all__ = ["calibrate", "finish"]


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
) -> None:
    """Fit calibration and operating points on the validation part. Patients of training are refused."""
    from thorax.bundle import load_bundle, refuse_used_folder
    from thorax.cli.console import progress_bars
    from thorax.inference.engines import open_predictor
    from thorax.inference.ensemble import Fitting, validation_part, with_test_time
    from thorax.inference.ensemble import calibrate as fit
    from thorax.recipe.load import load_test_time
    from thorax.store import open_store

    opened, images = load_bundle(bundle), open_store(store)
    refuse_used_folder(out)
    changed = with_test_time(opened, lambda current: load_test_time(current, test_time or ()))
    images.verify()
    part = validation_part(changed, images, split or None)
    # The exported engine on a CPU, where the views are still those that it computes.
    predictor = open_predictor(changed, device=device)
    with progress_bars() as progress:
        fitted = fit(predictor, part, out, fitting=Fitting(kind=kind, rule=rule), progress=progress)
    finish(fitted, part)


def finish(bundle: "Bundle", part: "ValidationPart") -> None:
    """Give a calibrated bundle its engine, and say what was fitted, and on what."""
    from thorax.exporting import CHECKED_IMAGES, export_or_say, spread

    assert bundle.manifest.calibration is not None
    pixels = part.store.pixels(spread(part.rows, CHECKED_IMAGES))
    fitted_on = bundle.manifest.calibration.fitted_on
    bundle, refused = export_or_say(bundle, pixels, compared_on=fitted_on)
    for notice in refused:
        typer.echo(f"note: {notice}", err=True)
    typer.echo(_told(bundle))


def _told(bundle: "Bundle") -> str:
    calibration, points = bundle.manifest.calibration, bundle.manifest.operating_points
    assert calibration is not None
    assert points is not None
    on = calibration.fitted_on
    chosen = sum(threshold is not None for threshold in points.thresholds.values())
    return (
        f"{calibration}, {chosen} of {len(points.thresholds)} thresholds "
        f"({points.rule}), fitted on the {on.part} part of {on.split} ({on.num_images:,} images of "
        f"{on.num_patients:,} patients)\nbundle: {bundle.folder}"
    )
