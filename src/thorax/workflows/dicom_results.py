"""Results of DICOM images as DICOM files, one folder per study; what is there is not made again."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from thorax.atomic_io import exclusive_lock, write_bytes
from thorax.errors import ImageError
from thorax.imaging.not_images import is_not_an_image
from thorax.imaging.read import file_content
from thorax.inference.predictor import Failure
from thorax.outputs import make_folder
from thorax.pacs.finishing import encoded
from thorax.pacs.maker import ResultMaker
from thorax.pacs.results import Results, report_uids
from thorax.pacs.source import read_source
from thorax.progress import ProgressCallback
from thorax.quoting import visible
from thorax.workflows.image_list import ImageFile, list_files
from thorax.workflows.predicting import Tally, counting, refuse_nothing

__all__ = ["WrittenResults", "write_dicom_results"]


@dataclass(frozen=True, slots=True, eq=False)
class WrittenResults:
    """What became of an image.

    Attributes:
        file: The image.
        folder: The folder of its study.
        results: Its results; None if they were there before, so that nothing was computed.
        written: The files; of results that were there before, the report.
        held_back: Why the input gate holds it back; "" for an image that was predicted.
    """

    file: ImageFile
    folder: Path
    results: Results | None
    written: tuple[Path, ...]
    held_back: str = ""

    @property
    def line(self) -> str:
        """What to say of it in a line."""
        path = visible(self.file.path)
        if self.results is None:
            held = "held back" if self.held_back else "done"
            return f"{path}  was {held} before: {self.written[0]}"
        objects = f"{', '.join(file.name[:2] for file in self.written) or 'nothing'} in {self.folder}"
        if self.results.prediction is None:
            return f"{path}  held back: {objects}"
        return f"{path}  {self.results.prediction.as_line()}: {objects}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was repaired on the copy of the image's header, and which object was not made."""
        return (*self.results.repairs, *self.results.notes) if self.results else ()


def write_dicom_results(
    maker: ResultMaker,
    paths: Sequence[Path],
    folder: Path,
    *,
    tally: Tally,
    refusals: bool = True,
    failed: Callable[[str, str], None],
    progress: ProgressCallback | None = None,
) -> Iterator[WrittenResults]:
    """Write the results of DICOM files, and of those in folders, and yield what became of each image.

    Each file is written whole or not at all, and named after the UID that is derived from model and image.
    The structured report comes last: an image whose report is there is done, and the same command continues
    after an interruption.

    Args:
        maker: The model.
        paths: Files and folders.
        folder: Where the results go, in a folder for each study, named by its UID.
        tally: Counts the images, also those that were done before.
        refusals: Whether an image that the input gate holds back gets a report that says so.
        failed: Receives each file that gets no prediction, and the reason.
        progress: Called while images are predicted, unless they are few.

    Raises:
        DataError: Another process writes into the folder.
    """

    def lose(place: str, reason: str) -> None:
        tally.failed += 1
        failed(place, reason)

    contents: dict[str, str] = {}  # the hash of each image's file, by its UID
    make_folder(folder)
    done = counting(paths, progress, without=folder)
    with exclusive_lock(folder, doing="writing results into"):
        for number, file in zip(count(1), list_files(paths, failed=lose, without=folder), strict=False):
            try:
                outcome = _outcome(maker, file, folder, contents, refusals=refusals)
            except ImageError as error:
                if not file.given and is_not_an_image(Path(file.path)):
                    tally.others[Path(file.path).name] += 1
                else:
                    lose(file.path, Failure.of(file.path, error).reason)
            else:
                _count(outcome, tally, lose)
                yield outcome
            done(number)
    refuse_nothing(tally, paths, lose)


def _outcome(
    maker: ResultMaker, file: ImageFile, folder: Path, contents: dict[str, str], *, refusals: bool
) -> WrittenResults:
    content = file_content(file.path)
    assert content is not None
    image = read_source(content, Path(file.path).name)
    digest = hashlib.sha256(content).hexdigest()
    if contents.setdefault(image.uid, digest) != digest:
        raise ImageError(
            f"{image.name}: another file with the same SOP Instance UID was given before, and results would "
            "belong to both; give each image a UID of its own"
        )
    study = folder / str(image.header.StudyInstanceUID)
    predicted, refused = (study / _name("SR", uid) for uid in report_uids(image, maker.predictor.bundle))
    if predicted.is_file():
        return WrittenResults(file, study, None, (predicted,))
    if maker.predictor.holds_back and refused.is_file():
        reason = f"held back by the input gate before; {refused} says why"
        return WrittenResults(file, study, None, (refused,), reason)
    results = maker.results_of(image, content)
    if results.refusal and not refusals:
        return WrittenResults(file, study, results, (), results.refusal)
    study.mkdir(exist_ok=True)
    written = []
    for dataset in results.objects:
        path = study / _name(str(dataset.Modality), str(dataset.SOPInstanceUID))
        write_bytes(path, encoded(dataset))
        written.append(path)
    return WrittenResults(file, study, results, tuple(written), results.refusal)


def _name(modality: str, uid: str) -> str:
    return f"{modality}-{uid}.dcm"


def _count(outcome: WrittenResults, tally: Tally, lose: Callable[[str, str], None]) -> None:
    results = outcome.results
    if outcome.held_back:
        tally.held_back += 1
        lose(outcome.file.path, outcome.held_back)
        return
    tally.predicted += 1
    if results is not None and results.prediction is not None:
        tally.add_warnings(results.prediction.warnings)
