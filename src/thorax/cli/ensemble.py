"""`thorax ensemble`: several bundles as one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thorax.recipe.literals import MeanOf, OperatingPointRule

if TYPE_CHECKING:
    from thorax.bundle import Bundle

__all__ = ["ensemble"]


def ensemble(
    bundles: Annotated[list[Path], typer.Argument(help="Two or more bundles, or the runs that made them.")],
    out: Annotated[Path, typer.Option(help="Folder of the ensemble's bundle.")],
    name: Annotated[str, typer.Option(help="What the ensemble is called.")] = "ensemble",
    mean_of: Annotated[MeanOf, typer.Option("--mean", help="What is averaged.")] = "probabilities",
    store: Annotated[
        Path | None, typer.Option(help="A store to calibrate it on; without one it stays uncalibrated.")
    ] = None,
    split: Annotated[str, typer.Option(help="Name of the split; the members' own if not given.")] = "",
    weights: Annotated[
        Literal["equal", "validation"], typer.Option(help="Equal weights, or fitted on validation.")
    ] = "equal",
    rule: Annotated[OperatingPointRule, typer.Option(help="How thresholds are chosen.")] = "f1-optimal",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Average the outputs of several bundles; weights and calibration are fitted on validation."""
    from thorax.bundle import load_bundle, refuse_used_folder, write_bundle
    from thorax.cli.calibrate import finish
    from thorax.cli.console import progress_bars
    from thorax.inference.ensemble import Fitting, build_ensemble, calibrate, validation_part
    from thorax.inference.predictor import Predictor
    from thorax.store import open_store

    if store is None and weights == "validation":
        raise typer.BadParameter("--weights validation needs --store: the weights are fitted on its images")
    refuse_used_folder(out)
    united = build_ensemble([load_bundle(path) for path in bundles], out, name=name, mean_of=mean_of)
    if store is None:
        write_bundle(out, united.manifest, weights=united.weights, patients=united.patients)
        typer.echo(f"not calibrated: fit it with thorax calibrate {out} --store ... --out ...\nbundle: {out}")
        return
    images = open_store(store)
    images.verify()
    part = validation_part(united, images, split or None)
    # Only now: torch takes seconds to import, and what is wrong above is said at once.
    from thorax.inference.torch_engine import TorchEngine

    predictor = Predictor(united, TorchEngine(united, device=device))
    with progress_bars() as progress:
        fitting = Fitting(rule=rule, ensemble_weights=weights == "validation")
        fitted = calibrate(predictor, part, out, fitting=fitting, progress=progress)
    typer.echo(_told_weights(fitted))
    finish(fitted, part)


def _told_weights(bundle: "Bundle") -> str:
    mixture = bundle.manifest.ensemble
    assert mixture is not None
    shares = ", ".join(f"{weight:.3f}" for weight in mixture.weights)
    return f"{len(mixture.weights)} members, mean of {mixture.mean_of}, weights {shares}"
