"""Predict files and folders one after the other, with a tally of what became of them."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any, Final, Generic, TypeVar

from thorax.arrays import Pixels
from thorax.atomic_io import is_remote
from thorax.errors import NotARadiograph
from thorax.findings import Findings
from thorax.imaging.identity import Identity, read_identity
from thorax.imaging.not_images import is_not_an_image
from thorax.inference.predictor import Failure, Predictor
from thorax.prediction import Prediction
from thorax.progress import ProgressCallback, stage_progress
from thorax.quoting import visible
from thorax.radiograph import Radiograph
from thorax.wording import counted
from thorax.workflows.image_list import ImageFile, fetched, list_files, release

__all__ = [
    "FEW",
    "FilePrediction",
    "LeftOut",
    "Tally",
    "counting",
    "one_line",
    "predict_listed",
    "predictions_of",
    "refuse_nothing",
]

FEW: Final = 5
"""Up to so many files take seconds and fit a screen: each gets a table, and progress is not reported."""

_MOST_BY_STUDY: Final = 1000
"""Files that are put in order by study: their headers are read first, which takes 2 ms each."""

_NAMED: Final = 8
"""Kinds of other files that are named; the others are counted."""

_Kept = TypeVar("_Kept")


@dataclass(frozen=True, slots=True, eq=False)
class FilePrediction(Generic[_Kept]):
    """The prediction of a file.

    Attributes:
        file: The file.
        prediction: Its prediction.
        pixels: The prepared image.
        kept: What the caller's function returned for the radiograph.
        identity: Its identifiers, if they were asked for.
    """

    file: ImageFile
    prediction: Prediction
    pixels: Pixels
    kept: _Kept
    identity: Identity | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file without a prediction.

    Attributes:
        file: The file.
        reason: Why it could not be predicted; "" for a file in a folder that is not an image.
        code: What went wrong, for programs; see `Failure`.
        gate_reasons: What the input gate found, for an image that it holds back.
    """

    file: ImageFile
    reason: str
    code: str = ""
    gate_reasons: tuple[str, ...] = ()

    @property
    def held_back(self) -> bool:
        """Whether it is an image that the input gate holds back."""
        return self.code == NotARadiograph.code

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON: there are no probabilities."""
        return {
            "source": self.file.path,
            "error": self.code,
            "reasons": list(self.gate_reasons),
            "message": self.reason,
        }


@dataclass(slots=True)
class Tally:
    """What became of the files.

    Attributes:
        predicted: Images that were predicted.
        failed: Files that could not be predicted.
        held_back: Those among them that the input gate holds back.
        others: Names of the files in folders that are not images, with their numbers.
        warned: Images with a warning.
        warnings: The warnings, with the number of images that have each.
    """

    predicted: int = 0
    failed: int = 0
    held_back: int = 0
    others: Counter[str] = field(default_factory=Counter)
    warned: int = 0
    warnings: Counter[str] = field(default_factory=Counter)

    def add_warnings(self, warnings: Sequence[str]) -> None:
        """Count the warnings of an image."""
        self.warned += bool(warnings)
        self.warnings.update(warnings)

    def add_other(self, path: str) -> None:
        """Count a file in a folder that is not an image."""
        self.others[Path(path).name] += 1

    @property
    def total(self) -> int:
        """The files that are images by name or content."""
        return self.predicted + self.failed

    def lines(self, *, warnings: bool = True, done: str = "predicted") -> list[str]:
        """Return what to say at the end: warnings, files that are not images, and failures, a line each.

        Args:
            warnings: Whether the warnings were not shown with each image.
            done: What was done with the files, such as "explained".
        """
        lines = []
        if self.warned and warnings:
            said = "; ".join(f"{count:,}: {visible(text)}" for text, count in self.warnings.most_common())
            if self.predicted == 1:
                lines.append(f"the image has warnings: {'; '.join(map(visible, self.warnings))}")
            else:
                have = "has" if self.warned == 1 else "have"
                lines.append(f"{self.warned:,} of {self.predicted:,} images {have} warnings ({said})")
        if self.others:
            names = [
                visible(name) + (f" ({count:,})" if count > 1 else "")
                for name, count in sorted(self.others.items())
            ]
            more = [f"{len(names) - _NAMED:,} other names"] if len(names) > _NAMED else []
            count = self.others.total()
            what = "file is not an image and was" if count == 1 else "files are not images and were"
            lines.append(f"{count:,} {what} left out: {', '.join([*names[:_NAMED], *more])}")
        if self.failed:
            gated = f", {self.held_back:,} of them held back by the input gate" if self.held_back else ""
            lines.append(f"{self.failed:,} of {counted(self.total, 'file')} could not be {done}{gated}")
        return lines


def one_line(source: str, reason: str) -> str:
    """Return a failure in one line; most reasons begin with the file's name or path themselves."""
    shown, name = visible(source), visible(Path(source).name)
    if reason.startswith(f"{shown} "):
        return visible(reason)
    return f"{shown}: {visible(reason).removeprefix(f'{name}: ')}"


def predict_listed(
    predictor: Predictor,
    files: Iterable[ImageFile],
    keep: Callable[[str, Radiograph], _Kept],
    *,
    ids: bool = False,
) -> Iterator[FilePrediction[_Kept] | LeftOut]:
    """Predict files in order; rows come as they are computed, so memory does not grow with their number.

    Args:
        predictor: The model.
        files: The files.
        keep: See `Predictor.predict_images`.
        ids: Whether to read the identifiers of DICOM files.
    """
    waiting: deque[ImageFile] = deque()
    result: FilePrediction[_Kept] | LeftOut

    def sources() -> Iterator[str]:
        for file in fetched(files):
            waiting.append(file)
            yield file.path

    def look(source: str, radiograph: Radiograph) -> tuple[_Kept, Identity | None]:
        return keep(source, radiograph), read_identity(source) if ids else None

    for outcome in predictor.predict_images(sources(), look):
        file = waiting.popleft()
        if isinstance(outcome, Failure):
            unread = outcome.code != NotARadiograph.code
            other = unread and not file.given and is_not_an_image(Path(file.path))
            result = LeftOut(file, "") if other else _left_out(file, outcome)
        else:
            kept, identity = outcome.kept
            result = FilePrediction(file, outcome.prediction, outcome.pixels, kept, identity)
        release(file)
        yield result


def _left_out(file: ImageFile, failure: Failure) -> LeftOut:
    return LeftOut(file, failure.reason, failure.code, failure.gate_reasons)


def predictions_of(
    predictor: Predictor,
    paths: Sequence[Path],
    findings: Findings,
    *,
    tally: Tally,
    ids: bool = False,
    by_study: bool = False,
    progress: ProgressCallback | None = None,
    failed: Callable[[str, str], None],
    held_back: Callable[[LeftOut], None] | None = None,
) -> Iterator[FilePrediction[None]]:
    """Predict files and folders, and yield the predictions in order.

    Args:
        predictor: The model.
        paths: Files and folders.
        findings: The findings to keep, in order.
        tally: Counts the files.
        ids: Whether to read the identifiers of DICOM files.
        by_study: Whether to put the images of one study together, if there are at most a thousand files.
        progress: Called while files are predicted, unless they are few.
        failed: Receives each file that could not be predicted, and the reason.
        held_back: Also receives each image that the input gate holds back.
    """

    def lose(place: str, reason: str) -> None:
        tally.failed += 1
        failed(place, reason)

    done = counting(paths, progress)
    files = list_files(paths, failed=lose)
    if by_study:
        files = _by_study(files)
    for number, outcome in enumerate(predict_listed(predictor, files, _nothing, ids=ids), start=1):
        if isinstance(outcome, FilePrediction):
            tally.predicted += 1
            tally.add_warnings(outcome.prediction.warnings)
            yield replace(outcome, prediction=outcome.prediction.only(findings))
        elif outcome.reason:
            tally.held_back += outcome.held_back
            if outcome.held_back and held_back is not None:
                held_back(outcome)
            lose(outcome.file.path, outcome.reason)
        else:
            tally.add_other(outcome.file.path)
        done(number)
    refuse_nothing(tally, paths, lose)


def _by_study(files: Iterator[ImageFile]) -> Iterator[ImageFile]:
    """Yield each study with several images as a whole, where its first image is."""
    first = list(islice(files, _MOST_BY_STUDY + 1))
    if any(file.state is not None for file in first):  # their headers are read with all of the file
        yield from first
        yield from files
        return
    if not 1 < len(first) <= _MOST_BY_STUDY:
        yield from first
        yield from files
        return
    together: dict[str, list[ImageFile]] = {}
    for file in first:
        together.setdefault(read_identity(file.path).study_uid or f"file {file.path}", []).append(file)
    number = 0
    for members in together.values():
        number += len(members) > 1
        study = (number, len(members)) if len(members) > 1 else None
        yield from (replace(file, study=study) for file in members)


def refuse_nothing(tally: Tally, paths: Sequence[Path], lose: Callable[[str, str], None]) -> None:
    """Count it as a failure if folders hold files, but not a single image."""
    if tally.total == 0 and tally.others:
        lose(", ".join(map(str, paths)), "no image among the files in this folder")


def _nothing(source: str, radiograph: Radiograph) -> None:
    """Keep nothing of an image."""


def counting(
    paths: Sequence[Path], progress: ProgressCallback | None, *, without: Path | None = None
) -> Callable[[int], None]:
    """Return a function that reports how many of the files are done.

    They are counted on a thread meanwhile: until then, and for a few files, nothing is reported.

    Args:
        paths: Files and folders.
        progress: Receives the progress; None reports nothing.
        without: A folder whose files are left out.
    """
    report = stage_progress(progress, "predicting", unit="files")
    if report is None:
        return lambda _done: None
    total = 0

    def count() -> None:
        nonlocal total
        total = sum(1 for _ in list_files(paths, failed=lambda _place, _why: None, without=without))

    if any(map(is_remote, paths)):
        count()  # no thread may be in Arrow when Python ends
    else:
        Thread(target=count, daemon=True).start()

    def done(number: int) -> None:
        if total > FEW:
            report(number, max(total, number))

    return done
