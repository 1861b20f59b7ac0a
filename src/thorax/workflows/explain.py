"""Where in radiographs findings come from, by one method or several, as values and as pictures."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from thorax.atomic_io import StrPath, atomic_write
from thorax.bundle import Bundle, load_bundle
from thorax.errors import DataError, ImageError, NotARadiograph
from thorax.explain import Explainer, Method, open_explainer, reading_notes
from thorax.explain.explainers import methods_named
from thorax.explain.pdf import PdfPages
from thorax.explain.picture import (
    PICTURE_ENDINGS,
    Drawing,
    PictureKind,
    add_page,
    picture_kind,
    write_picture,
)
from thorax.explain.radiograph import (
    Explained,
    explain_radiograph,
    picture_heading,
    side_by_side,
    silent_notes,
)
from thorax.findings import Findings, select_findings
from thorax.hardware import blas_on_one_thread
from thorax.imaging import read_guarded, source_name
from thorax.imaging.not_images import is_not_an_image
from thorax.inference.engines import open_predictor
from thorax.inference.predictor import Failure, Predictor
from thorax.outputs import check_output
from thorax.prediction import Prediction
from thorax.progress import CountCallback, ProgressCallback, stage_progress
from thorax.radiograph import Radiograph
from thorax.workflows.image_list import ImageFile, list_files

__all__ = ["ExplainedRadiograph", "explain", "explain_files"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExplainedRadiograph:
    """Maps of findings in one radiograph.

    Attributes:
        radiograph: The image.
        prediction: What the bundle predicts for it.
        maps: For each finding, the map of each method.
        model_notes: What a reader of any map of the model must know, each a sentence without its full stop.
        silent_notes: What to know of the maps that have no evidence; empty if all have some.
        picture: The file in which they were drawn; None for none.
    """

    radiograph: Radiograph
    prediction: Prediction
    maps: tuple[Explained, ...]
    model_notes: tuple[str, ...]
    silent_notes: tuple[str, ...]
    picture: Path | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the maps must know, each a sentence without its full stop."""
        return (*self.prediction.warnings, *self.model_notes, *self.silent_notes)

    def as_json(self) -> dict[str, Any]:
        """Return source and maps as JSON would have them: places and boxes in pixels of the radiograph.

        The model's statement and the picture are there if there is one.
        """
        probability = {entry.finding: entry.probability for entry in self.prediction.findings}
        maps = [
            {
                "finding": entry.finding.name,
                "probability": probability[entry.finding],
                "method": entry.method,
                "highest": entry.highest,
                "place": None if entry.place is None else list(entry.place),
                "box": None if entry.box is None else list(entry.box),
            }
            for entry in self.maps
        ]
        stated = self.prediction.model.statement
        model = {"model": {"statement": stated}} if stated else {}
        picture = {} if self.picture is None else {"picture": str(self.picture)}
        return {"source": self.prediction.source, "maps": maps, **model, **picture}

    def save(
        self, path: StrPath, *, opacity: float = 0.6, contour: float | None = None, box: bool = False
    ) -> None:
        """Draw the radiograph and the maps over it, side by side with captions.

        Args:
            path: Ends in .png, .jpg, .svg or .pdf; a file that is there is replaced.
            opacity: Of a map where it is highest, from 0 to 1.
            contour: Fraction of the highest value at which a line is drawn; None draws none.
            box: Whether to draw the box around the highest place.

        Raises:
            DataError: The file's name ends otherwise.
        """
        write_picture(Path(path), **_drawn(self, _Style(opacity, contour, box)))


@dataclass(frozen=True, slots=True)
class _Style:
    """How maps are drawn; see `ExplainedRadiograph.save`."""

    opacity: float
    contour: float | None
    box: bool


def _drawn(result: ExplainedRadiograph, style: _Style) -> dict[str, Any]:
    """Return the arguments of `write_picture` and `add_page`, after the file."""
    panels, columns = side_by_side(result.maps, result.radiograph, result.prediction.findings)
    return {
        "pixels": result.radiograph.pixels,
        "panels": panels,
        "drawing": Drawing(opacity=style.opacity, contour=style.contour, boxes=style.box, columns=columns),
        "heading": picture_heading(result.prediction.source, result.prediction.model),
    }


def explain(
    bundle: StrPath,
    image: StrPath,
    *,
    findings: Sequence[str] = (),
    methods: Sequence[str] = (),
    level: float = 0.5,
    seed: int = 0,
    device: str = "auto",
    out: StrPath | None = None,
    opacity: float = 0.6,
    contour: bool = False,
    box: bool = False,
    overwrite: bool = False,
    gate: bool = True,
) -> ExplainedRadiograph:
    """Locate findings in a radiograph: the maximum and a box of each map, and optionally a picture.

    Args:
        bundle: A bundle, or the run that made it.
        image: A PNG, JPEG or DICOM file.
        findings: The findings to explain; if empty, all positive ones, or the most probable one.
        methods: Names of methods; if empty, CAM if the network has an exact one, otherwise Grad-CAM.
        level: Fraction of a map's maximum at which its box and contour are drawn.
        seed: Seed of random methods.
        device: "auto", "cpu", "cuda" or "cuda:N".
        out: A picture to write: .png, .jpg, .svg or .pdf.
        opacity: Opacity of the overlay at the map's maximum, from 0 to 1.
        contour: Draw the contour at that level.
        box: Draw the box at that level.
        overwrite: Replace the file `out`.
        gate: Whether the model's input gate holds back what is not a frontal chest radiograph.

    Raises:
        BundleError: There is no bundle.
        DataError: The bundle does not predict a finding; or `out` has another extension or already exists.
        ImageError: The image cannot be read as a radiograph, or the input gate holds it back.
        RecipeError: There is no such method, or the network does not support it.
    """
    if out is not None:  # checked before minutes of computing
        picture_kind(Path(out))
        check_output(Path(out), overwrite=overwrite)
    opened = _opened(
        bundle, findings=findings, methods=methods, level=level, seed=seed, device=device, gate=gate
    )
    result = opened.explained(image)
    if out is None:
        return result
    result.save(out, opacity=opacity, contour=level if contour else None, box=box)
    return replace(result, picture=Path(out))


def explain_files(
    bundle: StrPath,
    images: Sequence[StrPath],
    *,
    findings: Sequence[str] = (),
    methods: Sequence[str] = (),
    level: float = 0.5,
    seed: int = 0,
    device: str = "auto",
    out: StrPath | None = None,
    kind: PictureKind = "png",
    opacity: float = 0.6,
    contour: bool = False,
    box: bool = False,
    overwrite: bool = False,
    gate: bool = True,
    progress: ProgressCallback | None = None,
    left_out: Callable[[str], None] | None = None,
) -> Iterator[ExplainedRadiograph | Failure]:
    """Locate findings in several radiographs, one after the other; see `explain`.

    A file that cannot be read, or is held back, yields a `Failure`, and the others go on. Files in a folder
    that are not images are left out, as `predict_folder` does.

    Args:
        bundle: A bundle, or the run that made it.
        images: PNG, JPEG or DICOM files, or folders of them.
        findings: See `explain`; if empty, each image has its own.
        methods: See `explain`.
        level: See `explain`.
        seed: See `explain`.
        device: See `explain`.
        out: A folder for one picture of each image, or a name that ends in .pdf for one file with a page of
            each.
        kind: Kind of the pictures in a folder.
        opacity: See `explain`.
        contour: See `explain`.
        box: See `explain`.
        overwrite: Replace the file `out`, or pictures in the folder `out`.
        gate: See `explain`.
        progress: Receives the number of images.
        left_out: Receives the path of each file in a folder that is not an image.

    Raises:
        BundleError: There is no bundle.
        DataError: The bundle does not predict a finding; `out` is the name of one picture, or exists already.
        RecipeError: There is no such method, or the network does not support it.
    """
    pages = out is not None and Path(out).suffix.lower() == ".pdf"
    if out is not None and not pages and Path(out).suffix.lower() in PICTURE_ENDINGS:
        raise DataError(
            f"{out} is the name of one picture, and several images were given; give a folder, or a name that "
            "ends in .pdf for a page of each"
        )
    if out is not None:
        check_output(Path(out), overwrite=overwrite, folder=not pages)
    opened = _opened(
        bundle, findings=findings, methods=methods, level=level, seed=seed, device=device, gate=gate
    )
    results = _each(opened, images, stage_progress(progress, "explaining"), left_out)
    style = _Style(opacity, level if contour else None, box)
    if out is None:
        return results
    return _as_pages(results, Path(out), style) if pages else _as_files(results, Path(out), kind, style)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A bundle that is open for explaining, and what is asked of it."""

    bundle: Bundle
    explainer: Explainer
    predictor: Predictor
    findings: Findings
    methods: Sequence[Method]
    level: float
    seed: int

    def explained(self, image: StrPath) -> ExplainedRadiograph:
        """Explain an image.

        Raises:
            ImageError: It cannot be read as a radiograph, or the input gate holds it back.
        """
        radiograph = read_guarded(image)
        with blas_on_one_thread():
            (prediction,) = self.predictor.predict([radiograph], [source_name(image)])
            maps = explain_radiograph(
                self.explainer,
                radiograph,
                _chosen(self.findings, prediction),
                methods=self.methods,
                level=self.level,
                seed=self.seed,
            )
        return ExplainedRadiograph(
            radiograph=radiograph,
            prediction=prediction,
            maps=tuple(maps),
            model_notes=tuple(reading_notes(self.bundle, self.methods)),
            silent_notes=tuple(silent_notes(maps, has_weights=self.bundle.manifest.has_weights)),
        )


def _opened(
    bundle: StrPath,
    *,
    findings: Sequence[str],
    methods: Sequence[str],
    level: float,
    seed: int,
    device: str,
    gate: bool,
) -> _Opened:
    opened = load_bundle(bundle)
    names = methods_named(methods, opened)
    chosen = select_findings(findings, opened.findings) if findings else ()
    predictor = open_predictor(opened, device=device)
    return _Opened(
        bundle=opened,
        explainer=open_explainer(opened, methods=names, device=device),
        predictor=predictor if gate else predictor.without_gate(),
        findings=chosen,
        methods=names,
        level=level,
        seed=seed,
    )


def _each(
    opened: _Opened,
    images: Sequence[StrPath],
    counted: CountCallback | None,
    left_out: Callable[[str], None] | None,
) -> Iterator[ExplainedRadiograph | Failure]:
    failures: list[Failure] = []

    def failed(path: str, reason: str) -> None:
        failures.append(Failure(path, reason))

    files = list(list_files(list(map(Path, images)), failed=failed))
    yield from failures
    num_images = len(failures)
    for number, file in enumerate(files, 1):
        result = _result(opened, file)
        if counted is not None:
            counted(number, len(files))
        if result is not None:
            num_images += 1
            yield result
        elif left_out is not None:
            left_out(file.path)
    if files and not num_images:
        yield Failure(", ".join(map(str, images)), "no image among the files in this folder")


def _result(opened: _Opened, file: ImageFile) -> ExplainedRadiograph | Failure | None:
    """Explain a file; return None for one in a folder that is not an image."""
    try:
        return opened.explained(file.path)
    except NotARadiograph as error:
        return Failure.of(file.path, error)
    except ImageError as error:
        other = not file.given and is_not_an_image(Path(file.path))
        return None if other else Failure.of(file.path, error)


def _as_files(
    results: Iterator[ExplainedRadiograph | Failure], folder: Path, kind: PictureKind, style: _Style
) -> Iterator[ExplainedRadiograph | Failure]:
    """Draw each result into a file of the folder, named after its image; a number tells equal names apart."""
    taken: set[str] = set()
    for result in results:
        if isinstance(result, Failure):
            yield result
            continue
        stem = Path(result.prediction.source).stem
        names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        name = next(name for name in names if name.casefold() not in taken)
        taken.add(name.casefold())
        path = folder / f"{name}.{kind}"
        write_picture(path, **_drawn(result, style))
        yield replace(result, picture=path)


def _as_pages(
    results: Iterator[ExplainedRadiograph | Failure], path: Path, style: _Style
) -> Iterator[ExplainedRadiograph | Failure]:
    """Draw each result as a page of a PDF, which is there in the end if there is a page."""
    with ExitStack() as opened:
        pages: PdfPages | None = None
        for result in results:
            if isinstance(result, Failure):
                yield result
                continue
            if pages is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = opened.enter_context(atomic_write(path))
                pages = PdfPages(opened.enter_context(temporary.open("wb")))
            add_page(pages, **_drawn(result, style))
            yield replace(result, picture=path)
        if pages is not None:
            pages.finish()


def _chosen(asked: Findings, prediction: Prediction) -> Findings:
    if asked:
        return asked
    positive = tuple(entry.finding for entry in prediction.findings if entry.positive)
    return positive or (max(prediction.findings, key=lambda entry: entry.probability).finding,)
