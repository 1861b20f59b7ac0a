"""Predicts findings in images, without torch.

The pipeline is engine -> mean -> calibration -> sigmoid -> operating points; how logits are computed is
left to the engine.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Pixels, PixelsBatch, Probabilities, Rows
from thorax.bundle import Bundle
from thorax.calibration import sigmoid
from thorax.errors import BundleError, ImageError, NotARadiograph
from thorax.findings import Finding
from thorax.hardware import num_threads
from thorax.imaging import ImageSource, ValueRange, prepare, read_guarded, source_name
from thorax.inference.gate import Gate, GateAnswer, check
from thorax.inference.pooling import ViewLogits, member_logits, pooled_logits
from thorax.prediction import FindingPrediction, ModelIdentity, Prediction
from thorax.progress import CountCallback
from thorax.radiograph import Radiograph

__all__ = [
    "Engine",
    "Failure",
    "PredictedImage",
    "Predictor",
    "PreparedImage",
]

_BATCH = 32
"""Images per call of the engine: enough to keep two cores busy; 8 MB of float32 at 256 pixels."""

ReadRows = Callable[[Rows], PixelsBatch]
_Result = TypeVar("_Result")
_Kept = TypeVar("_Kept")


@runtime_checkable
class Engine(Protocol):
    """Something that computes the logits of a bundle's members."""

    def logits(self, pixels: PixelsBatch) -> Sequence[ViewLogits]:
        """Return each member's logits (view, n, k) for prepared pixels (n, s, s), by its findings."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be predicted, and why.

    Attributes:
        source: Its path, or the name and position of an image in memory, such as "<array 3>".
        reason: Why, without that name.
        code: What went wrong, for programs: "unreadable", "unsupported", or "not-a-radiograph" for an image
            that the input gate holds back.
        gate_reasons: The codes of what the gate found, such as "inverted"; empty for other failures.
    """

    source: str
    reason: str
    code: str = ImageError.code
    gate_reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: str, error: ImageError) -> "Failure":
        """Return the failure that an error means; its message begins with the source's name or not."""
        name = os.path.basename(source)  # noqa: PTH119  (pathlib interns every part of every path)
        reasons = error.reasons if isinstance(error, NotARadiograph) else ()
        return cls(source, str(error).removeprefix(f"{name}: "), error.code, reasons)


@dataclass(frozen=True, slots=True, eq=False)
class PredictedImage(Generic[_Kept]):
    """A prediction, with what was kept of its image.

    Attributes:
        prediction: The prediction.
        pixels: The prepared image.
        kept: What the caller's function returned for the radiograph.
        gate: What the input gate said of it.
    """

    prediction: Prediction
    pixels: Pixels
    kept: _Kept
    gate: GateAnswer = field(default_factory=GateAnswer)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage(Generic[_Kept]):
    """A prepared image that waits for the engine; small, whatever the size of its file.

    Attributes:
        source: Path or name of the image.
        pixels: The prepared image.
        warnings: What a reader must know of the image.
        kept: What the caller's function returned for the radiograph.
        gate: What the input gate said of it.
    """

    source: str
    pixels: Pixels
    warnings: tuple[str, ...]
    kept: _Kept
    gate: GateAnswer = field(default_factory=GateAnswer)


class Predictor:
    """Predicts with a bundle.

    Args:
        bundle: The bundle.
        engine: Computes the bundle's logits.
        gate: The input gate, which holds back what is not a radiograph; None: one of rules alone.
        holds_back: Whether it does. Otherwise, what it finds is a warning of the prediction.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine, *, gate: Gate | None = None, holds_back: bool = True
    ) -> None:
        self.bundle = bundle
        self.gate = Gate() if gate is None else gate
        self.holds_back = holds_back
        self._engine = engine

    @property
    def gate_note(self) -> str:
        """What to know of its input gate, a sentence without its period; "" if the bundle has one."""
        if self.gate.is_fitted:
            return ""
        return (
            "this bundle has no fitted input gate: images without contrast, in color, or of another part of "
            "the body by their header are held back, and any other picture is predicted"
        )

    def without_gate(self) -> "Predictor":
        """Return a predictor that holds nothing back, with the same engine."""
        return Predictor(self.bundle, self._engine, gate=self.gate, holds_back=False)

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model, as predictions state it."""
        manifest = self.bundle.manifest
        return ModelIdentity(
            manifest.name,
            self.bundle.sha256,
            calibrated=manifest.calibration is not None,
            statement=manifest.stated,
        )

    @property
    def promise(self) -> str:
        """What its bands promise, as predictions state it; "" without bands."""
        bands = self.bundle.manifest.bands
        return bands.promise if bands else ""

    def logits(self, pixels: PixelsBatch) -> Float64[np.ndarray, "n k"]:
        """Return the pipeline's logits before calibration, (n, k), for prepared pixels (n, s, s)."""
        return pooled_logits(self._engine.logits(pixels), self.bundle.manifest)

    def probabilities(self, pixels: PixelsBatch) -> Probabilities:
        """Return the probability of each finding, (n, k), for prepared pixels (n, s, s)."""
        manifest = self.bundle.manifest
        logits, calibration = self.logits(pixels), manifest.calibration
        if calibration is None:
            return sigmoid(logits)
        with np.errstate(over="ignore", invalid="ignore"):  # a calibration out of all bounds, refused below
            probabilities = calibration.apply(logits, manifest.findings)
        if not np.isfinite(probabilities).all():
            raise BundleError(
                f"the calibration of {self.bundle.folder} gives probabilities that are not numbers, so "
                "nothing is predicted; do not use this bundle"
            )
        return probabilities

    def predict_rows(
        self, read: ReadRows, rows: Rows, *, progress: CountCallback | None = None
    ) -> Probabilities:
        """Return the probability of each finding, (n, k), for rows of a store.

        Args:
            read: Returns the prepared pixels of some rows: `Store.pixels` of a store prepared as the bundle
                requires.
            rows: Row numbers.
            progress: Called with the number of images done and the total.
        """
        return np.concatenate(list(_over_rows(self.probabilities, read, rows, progress)))

    def member_logits_of_rows(
        self, read: ReadRows, rows: Rows, *, progress: CountCallback | None = None
    ) -> Float64[np.ndarray, "member n k"]:
        """Return each member's logits, averaged over its views, for rows of a store; see `predict_rows`."""

        def compute(pixels: PixelsBatch) -> Float64[np.ndarray, "member n k"]:
            return member_logits(self._engine.logits(pixels), self.bundle.manifest)

        return np.concatenate(list(_over_rows(compute, read, rows, progress)), axis=1)

    def predict(self, radiographs: Iterable[Radiograph], sources: Iterable[str]) -> list[Prediction]:
        """Predict radiographs; `sources` are their names in the predictions.

        Raises:
            NotARadiograph: The input gate holds one of them back.
        """
        pairs = zip(radiographs, sources, strict=True)
        prepared = [self.prepare(radiograph, source, _nothing) for radiograph, source in pairs]
        return [image.prediction for image in self.predict_prepared(prepared)]

    def predict_files(
        self, sources: Iterable[ImageSource], *, value_range: ValueRange | None = None
    ) -> Iterator[Prediction | Failure]:
        """Predict files or images in memory, in order; one that cannot be predicted yields a `Failure`.

        The name of an image in memory has its position, such as "<array 3>", counted from 0. Threads read
        the next files while the engine computes, since decoding releases the GIL.
        """
        for outcome in self.predict_images(sources, _nothing, value_range=value_range):
            yield outcome.prediction if isinstance(outcome, PredictedImage) else outcome

    def predict_images(
        self,
        sources: Iterable[ImageSource],
        keep: Callable[[str, Radiograph], _Kept],
        *,
        value_range: ValueRange | None = None,
    ) -> Iterator[PredictedImage[_Kept] | Failure]:
        """Predict as `predict_files` does, and keep something of each radiograph, such as a thumbnail.

        Args:
            sources: See `predict_files`.
            keep: Called with the name and the radiograph of each image that was read, in the thread that read
                it. The radiograph itself is dropped before the image is predicted.
            value_range: See `predict_files`.
        """
        with ThreadPoolExecutor(num_threads()) as readers:
            waiting = (
                [readers.submit(self._read, number, source, keep, value_range) for number, source in batch]
                for batch in _batched(sources)
            )
            for batch in _one_ahead(waiting):
                images = [future.result() for future in batch]
                prepared = [image for image in images if isinstance(image, PreparedImage)]
                predictions = iter(self.predict_prepared(prepared))
                for image in images:
                    yield next(predictions) if isinstance(image, PreparedImage) else image

    def _read(
        self,
        number: int,
        source: ImageSource,
        keep: Callable[[str, Radiograph], _Kept],
        value_range: ValueRange | None,
    ) -> PreparedImage[_Kept] | Failure:
        own = source_name(source)
        name = f"{own[:-1]} {number}>" if own.startswith("<") and own.endswith(">") else own
        try:
            return self.prepare(read_guarded(source, value_range=value_range), name, keep)
        except ImageError as error:
            return replace(Failure.of(own, error), source=name)

    def prepare(
        self, radiograph: Radiograph, source: str, keep: Callable[[str, Radiograph], _Kept]
    ) -> PreparedImage[_Kept]:
        """Prepare a radiograph for `predict_prepared`, for callers that collect batches themselves.

        Args:
            radiograph: The radiograph.
            source: Its path or name in the prediction.
            keep: Called with the name and the radiograph; what it returns stays with the image.
        """
        manifest = self.bundle.manifest
        answer = check(self.gate, radiograph)
        warnings = (*self._warnings(radiograph, answer), *radiograph.origin.doubts)
        if manifest.statement and radiograph.pixels_sha256() in manifest.statement.images_seen:
            warnings += (f"the {manifest.name} was trained on this image: an example, not a measurement",)
        pixels = prepare(radiograph, manifest.preparation)
        return PreparedImage(source, pixels, warnings, keep(source, radiograph), answer)

    def _warnings(self, radiograph: Radiograph, answer: GateAnswer) -> tuple[str, ...]:
        """Return what the gate warns about.

        Raises:
            NotARadiograph: It holds the image back.
        """
        if not answer.refused:
            return answer.warnings
        if self.holds_back:
            codes = tuple(reason.code for reason in answer.reasons if reason.level == "refuse")
            raise NotARadiograph(
                f"{radiograph.origin.name}: held back by the input gate: {answer.text}",
                reasons=codes,
                scores=dict(answer.scores),
            )
        return (f"the input gate, which is off, would hold this image back: {answer.text}", *answer.warnings)

    def predict_prepared(self, images: Sequence[PreparedImage[_Kept]]) -> list[PredictedImage[_Kept]]:
        """Predict prepared images in one call of the engine, in order."""
        if not images:
            return []
        probabilities = self.probabilities(np.stack([image.pixels for image in images]))
        return [
            PredictedImage(
                self.prediction(image.source, row.tolist(), image.warnings),
                image.pixels,
                image.kept,
                image.gate,
            )
            for image, row in zip(images, probabilities, strict=True)
        ]

    def prediction(
        self, source: str, probabilities: Sequence[float], warnings: tuple[str, ...] = ()
    ) -> Prediction:
        """Return the prediction that these probabilities, in the order of the bundle's findings, make.

        Args:
            source: Path or name of the image.
            probabilities: One per finding.
            warnings: What a reader must know of the image.
        """
        points = self.bundle.manifest.operating_points
        return Prediction(
            source=source,
            findings=tuple(
                self._finding(finding, probability)
                for finding, probability in zip(self.bundle.findings, probabilities, strict=True)
            ),
            operating_point=points.rule if points else "",
            model=self.identity,
            warnings=warnings,
            promise=self.promise,
        )

    def _finding(self, finding: Finding, probability: float) -> FindingPrediction:
        manifest = self.bundle.manifest
        points, bands, statement = manifest.operating_points, manifest.bands, manifest.statement
        threshold = points.thresholds.get(finding.name) if points else None
        band = bands.bands.get(finding.name) if bands else None
        return FindingPrediction(
            finding,
            probability,
            threshold,
            prevalence=statement.prevalence.get(finding.name) if statement else None,
            undecided=None if band is None or threshold is None else band.undecided(threshold),
        )


def _over_rows(
    compute: Callable[[PixelsBatch], _Result],
    read: ReadRows,
    rows: Rows,
    progress: CountCallback | None,
) -> Iterator[_Result]:
    for start in range(0, len(rows), _BATCH):
        yield compute(read(rows[start : start + _BATCH]))
        if progress is not None:
            progress(min(start + _BATCH, len(rows)), len(rows))


def _nothing(source: str, radiograph: Radiograph) -> None:
    """Keep nothing of an image."""


def _one_ahead(items: Iterable[_Result]) -> Iterator[_Result]:
    """Yield each item only after fetching the next one."""
    pending: list[_Result] = []
    for item in items:
        yield from pending
        pending = [item]
    yield from pending


def _batched(sources: Iterable[ImageSource]) -> Iterator[list[tuple[int, ImageSource]]]:
    remaining = enumerate(sources)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
