"""Predictions of archives that speak DICOMweb, a line for each image."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from thorax.cli.output import say
from thorax.packages import missing_extras_named

if TYPE_CHECKING:
    from thorax.inference.predictor import Predictor
    from thorax.workflows.predicting import Tally

__all__ = ["archives_among", "predict_archives"]


def archives_among(paths: Iterable[Path]) -> list[str]:
    """Return the addresses of archives among paths, as they were typed: a path loses a second slash.

    Raises:
        typer.BadParameter: Some are addresses, and others are files.
    """
    texts = list(map(str, paths))
    found = [re.sub(r"^(dicomweb(?:\+http)?):/+", r"\1://", text) for text in texts]
    addresses = [text for text in found if text.startswith(("dicomweb://", "dicomweb+http://"))]
    if addresses and len(addresses) < len(texts):
        raise typer.BadParameter("give addresses of archives, or files and folders")
    return addresses


def predict_archives(predictor: "Predictor", addresses: Sequence[str], *, device: str) -> "Tally":
    """Predict archives, store the results there, and print a line for each image."""
    with missing_extras_named("predict dicomweb://", extra="pacs"):
        from thorax.pacs.archive import predict_archive, read_place
        from thorax.pacs.maker import open_maker
    from thorax.workflows.predicting import Tally

    places = [read_place(address) for address in addresses]
    maker, tally, outcomes = open_maker(predictor, device=device), Tally(), Counter[str]()
    if maker.note:
        say(maker.note, err=True)
    for place in places:
        for image in predict_archive(maker, place):
            outcomes[image.outcome] += 1
            if image.outcome in {"stored", "there"}:
                tally.predicted += 1
            else:
                tally.failed += 1
                tally.held_back += image.outcome == "held back"
            said = image.prediction.as_line() if image.prediction else image.reason
            say(f"{image.sop_uid}: {image.outcome}{f': {said}' if said else ''}")
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    say(counts or "no radiograph was found", err=True)
    return tally
