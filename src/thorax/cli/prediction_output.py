"""Where `thorax predict` puts its predictions: on standard output, or into a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thorax.cli.output import say
from thorax.cli.prediction_formats import (
    print_csv,
    print_held_back,
    print_json,
    print_row,
    print_text,
    print_wide,
)
from thorax.wording import counted

if TYPE_CHECKING:
    from thorax.inference.predictor import Predictor
    from thorax.workflows.predict_folder import FolderPredictions
    from thorax.workflows.predicting import FilePrediction, Tally

__all__ = ["predict_into_folder", "print_predictions", "watch_into_folder", "write_dicom"]


def predict_into_folder(predictor: "Predictor", images: list[Path], out: Path, **settings: Any) -> "Tally":
    """Predict files and folders into a folder, name what was written, and return the tally."""
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.workflows.predict_folder import predict_folder

    with bars_or_lines() as progress:
        done = predict_folder(predictor, images, out, **settings, progress=progress, failed=_say_failure)
    _name(done)
    return done.tally


def watch_into_folder(predictor: "Predictor", images: list[Path], out: Path, **settings: Any) -> "Tally":
    """Predict what folders have and what arrives in them, until Ctrl-C, and return the tally."""
    from thorax.workflows.watch_folder import stopped_by_signals, watch_folder

    say(f"watching {', '.join(dict.fromkeys(map(str, images)))}; Ctrl-C ends it")
    with stopped_by_signals() as stop:
        done = watch_folder(
            predictor, images, out, **settings, stop=stop, failed=_say_failure, predicted=print_row
        )
    _name(done)
    return done.tally


def _name(done: "FolderPredictions") -> None:
    earlier = f" ({done.earlier:,} files were done earlier)" if done.earlier else ""
    if done.note:
        say(done.note, err=True)
    say(f"{counted(done.tally.predicted, 'image')} predicted{earlier}: {done.folder / 'predictions.csv'}")
    if done.tally.predicted:
        say(f"page: {done.folder / 'index.html'}")


def print_predictions(
    predictor: "Predictor", images: list[Path], form: str, *, findings: tuple[str, ...], ids: bool
) -> "Tally":
    """Predict files and folders, print them in a form (json, csv, wide or text), and return the tally."""
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.findings import select_findings
    from thorax.workflows.predicting import FEW, Tally, predictions_of

    chosen, tally = select_findings(findings, predictor.bundle.findings), Tally()
    with bars_or_lines() as progress:
        predictions: Iterator[FilePrediction[None]] = predictions_of(
            predictor,
            images,
            chosen,
            tally=tally,
            ids=ids,
            by_study=form == "text",
            progress=progress,
            failed=_say_failure,
            held_back=print_held_back if form == "json" else None,
        )
        match form:
            case "json":
                print_json(predictions)
            case "csv":
                print_csv(predictions, ids=ids)
            case "wide":
                print_wide(predictions, chosen, ids=ids)
            case _:
                print_text(predictions, few=FEW)
    return tally


def write_dicom(
    predictor: "Predictor", images: list[Path], folder: Path, *, refusals: bool, device: str
) -> "Tally":
    """Write results as DICOM files, print a line for each image, and return the tally."""
    from thorax.cli.progress_lines import bars_or_lines
    from thorax.pacs.maker import open_maker
    from thorax.workflows.dicom_results import write_dicom_results
    from thorax.workflows.predicting import Tally

    maker, tally = open_maker(predictor, device=device), Tally()
    if maker.note:
        say(maker.note, err=True)
    with bars_or_lines() as progress:
        for image in write_dicom_results(
            maker, images, folder, tally=tally, refusals=refusals, progress=progress, failed=_say_failure
        ):
            say(image.line)
            for remark in image.remarks:
                say(f"{image.file.path}: {remark}", err=True)
    return tally


def _say_failure(source: str, reason: str) -> None:
    from thorax.workflows.predicting import one_line

    say(one_line(source, reason), err=True, prose=True)
