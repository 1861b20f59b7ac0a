"""`thorax calibrate`: set calibration, thresholds and bands of a bundle on validation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thorax.cli.output import say
from thorax.recipe.literals import STANDARD_LEVEL, CalibrationKind, OperatingPointRule
from thorax.wording import counted

if TYPE_CHECKING:
    from thorax.workflows.bundles import WrittenBundle

__all__ = ["calibrate", "print_calibrated"]


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or the run that made it.")],
    store: Annotated[Path, typer.Option(help="A store prepared as the bundle requires.")],
    out: Annotated[Path, typer.Option(help="Folder of the calibrated bundle.")],
    split: Annotated[str, typer.Option(help="Name of the split; default: the bundle's.")] = "",
    kind: Annotated[CalibrationKind, typer.Option(help="One temperature, or Platt scaling by finding.")] = (
        "temperature"
    ),
    rule: Annotated[
        OperatingPointRule, typer.Option(help="Rule that chooses the thresholds.")
    ] = "f1-optimal",
    level: Annotated[
        float, typer.Option(help="Level of the bands in which a finding is not decided, e.g. 0.8.")
    ] = STANDARD_LEVEL,
    test_time: Annotated[
        list[str] | None,
        typer.Option(help="Override test-time augmentation, e.g. flip=true or scales=[1.0,1.1]."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Set calibration, thresholds and bands on validation. Patients used for training are refused."""
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.workflows.bundles import calibrate as calibrate_bundle

    with bars_or_lines() as progress:
        written = calibrate_bundle(
            bundle,
            store,
            out,
            split=split or None,
            kind=kind,
            rule=rule,
            level=level,
            test_time=test_time or (),
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    print_calibrated(written)


def print_calibrated(written: "WrittenBundle") -> None:
    """Print the calibration and the images that it was fitted on."""
    manifest = written.bundle.manifest
    calibration, points = manifest.calibration, manifest.operating_points
    assert calibration is not None
    assert points is not None
    for notice in written.notices:
        say(f"note: {notice}", err=True)
    fitted_on = calibration.fitted_on
    bands = manifest.bands
    banded = f"{counted(len(bands.bands), 'band')} at {100 * bands.level:.3g} %" if bands else "no bands"
    chosen = sum(threshold is not None for threshold in points.thresholds.values())
    say(
        f"{calibration}, {chosen} of {len(points.thresholds)} thresholds "
        f"({points.rule}), {banded}, fitted on the {fitted_on.part} part of {fitted_on.split} "
        f"({fitted_on.num_images:,} images of {fitted_on.num_patients:,} patients)\n"
        f"bundle: {written.bundle.folder}"
    )
