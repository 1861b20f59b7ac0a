"""Options of `thorax predict` that contradict each other, refused before any work."""

from collections.abc import Iterable
from pathlib import Path

import typer

from thorax.atomic_io import is_remote
from thorax.cli.archive_output import archives_among
from thorax.packages import require

__all__ = ["refuse_contradictions"]


def refuse_contradictions(
    *,
    images: Iterable[Path],
    printed: Iterable[bool],
    out: Path | None,
    dicom_out: Path | None,
    watch: Path | None,
    only_out: bool,
    selecting: bool,
    no_refusals: bool,
    over_ray: bool,
) -> None:
    """Refuse options that do not go together, and a missing extra.

    Args:
        images: What is to be predicted.
        printed: Whether each form of printing was asked for.
        out: The folder of predictions.
        dicom_out: The folder of DICOM objects.
        watch: The folder to watch.
        only_out: Whether an option was given that concerns `out` alone.
        selecting: Whether findings or identifiers were selected.
        no_refusals: Whether images that are held back get no object.
        over_ray: Whether a Ray cluster predicts.

    Raises:
        typer.BadParameter: Two of them contradict each other.
        MissingExtra: DICOM objects need a package that is not installed.
    """
    images = list(images)
    forms = [*printed, out is not None, dicom_out is not None]
    for wrong, advice in (
        (forms.count(True) > 1, "choose one of --json, --csv, --out and --dicom-out"),
        (not images, "give images or folders, or a folder to --watch"),
        (
            watch and is_remote(watch),
            "only folders of this disk can be watched; --out continues with what is new",
        ),
        (watch and not out, "--watch needs --out, the folder that keeps what was predicted"),
        (only_out and not out, "--overwrite and --overlays concern the folder that --out names; add it"),
        (selecting and dicom_out, "--dicom-out has all findings and ids; leave --findings and --ids out"),
        (
            (any(forms) or only_out or selecting) and archives_among(images),
            "an archive gets the results itself; leave the other options for output out",
        ),
        (
            over_ray and (watch or not out),
            "a Ray cluster predicts what is there into a folder; add --out, and leave --watch out",
        ),
        (no_refusals and not dicom_out, "--no-refusals concerns the folder that --dicom-out names; add it"),
    ):
        if wrong:
            raise typer.BadParameter(advice)
    if dicom_out is not None:
        require("highdicom", "predict --dicom-out")
