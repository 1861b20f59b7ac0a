"""Images to predictions.

The predictor knows the pipeline (engine -> mean -> calibration -> sigmoid -> operating points) and nothing
of how logits are computed; an engine does that. No torch here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Pixels, PixelsBatch, Probabilities, Rows
from thorax.bundle import Bundle, Manifest
from thorax.calibration import sigmoid
from thorax.errors import ImageError
from thorax.hardware import num_threads
from thorax.imaging import ImageSource, ValueRange, prepare, read_radiograph, source_name
from thorax.prediction import FindingPrediction, ModelIdentity, Prediction
from thorax.progress import CountCallback
from thorax.radiograph import Radiograph, ViewPosition
from thorax.recipe.literals import MeanOf

__all__ = [
    "Engine",
    "Failure",
    "Predictor",
    "ViewLogits",
    "mean_logit",
    "member_logits",
    "pooled_logits",
]

ViewLogits = Float64[np.ndarray, "_view n _k"]
"""Logits of one member for each view of each image."""

Stack = Float64[np.ndarray, "source n k"]


def mean_logit(
    logits: Stack, *, mean_of: MeanOf, weights: Sequence[float] | None = None
) -> Float64[np.ndarray, "n k"]:
    """Return the weighted mean of logits, or the logit of the weighted mean of their probabilities.

    One source is returned as it is, to the bit. Nothing is clipped: the logit of a mean of probabilities is
    computed from logarithms, so that it stays exact where they round to 1.

    Args:
        logits: From each source.
        mean_of: What is averaged.
        weights: Of the sources, adding up to 1; equal ones if not given.
    """
    if len(logits) == 1:
        first: Float64[np.ndarray, "n k"] = logits[0]
        return first
    shares = np.full(len(logits), 1 / len(logits)) if weights is None else np.asarray(weights, dtype=float)
    if mean_of == "logits":
        return np.asarray(np.tensordot(shares, logits, axes=1))
    some = shares > 0
    log_share = np.log(shares[some])[:, None, None]
    log_present = np.logaddexp.reduce(log_share - np.logaddexp(0, -logits[some]), axis=0)
    log_absent = np.logaddexp.reduce(log_share - np.logaddexp(0, logits[some]), axis=0)
    return np.asarray(log_present - log_absent)


def member_logits(logits: Sequence[ViewLogits], manifest: Manifest) -> Stack:
    """Return each member's mean over its views, in the columns of the bundle's findings."""
    found = []
    for member, views in zip(manifest.members, logits, strict=True):
        columns = [member.findings.index(name) for name in manifest.findings]
        found.append(mean_logit(views, mean_of=member.test_time.mean_of)[:, columns])
    return np.stack(found)


def pooled_logits(logits: Sequence[ViewLogits], manifest: Manifest) -> Float64[np.ndarray, "n k"]:
    """Return the logits of the whole pipeline, before calibration.

    Args:
        logits: From each member, in the manifest's order.
        manifest: How they become one.
    """
    members = member_logits(logits, manifest)
    if manifest.ensemble is None:
        only: Float64[np.ndarray, "n k"] = members[0]
        return only
    return mean_logit(members, mean_of=manifest.ensemble.mean_of, weights=manifest.ensemble.weights)


_BATCH = 32
"""Images per call of the engine: enough to keep two cores busy, 8 MB of float32 at 256 pixels."""

ReadRows = Callable[[Rows], PixelsBatch]
_Result = TypeVar("_Result")


@runtime_checkable
class Engine(Protocol):
    """Computes the logits of a bundle's members."""

    def logits(self, pixels: PixelsBatch) -> Sequence[ViewLogits]:
        """Return each member's logits (view, n, k) of prepared pixels (n, s, s), in the member's findings."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be predicted, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Ready:
    """An image on its way to the engine: small, whatever the size of its file."""

    source: str
    pixels: Pixels
    warnings: tuple[str, ...]


class Predictor:
    """A bundle at work.

    Args:
        bundle: What to predict with.
        engine: Computes the bundle's logits.
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle = bundle
        self._engine = engine

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        manifest = self.bundle.manifest
        return ModelIdentity(manifest.name, self.bundle.sha256, calibrated=manifest.calibration is not None)

    def logits(self, pixels: PixelsBatch) -> Float64[np.ndarray, "n k"]:
        """Return the pipeline's logits before calibration, (n, k), of prepared pixels (n, s, s)."""
        return pooled_logits(self._engine.logits(pixels), self.bundle.manifest)

    def probabilities(self, pixels: PixelsBatch) -> Probabilities:
        """Return the probability of each finding, (n, k), of prepared pixels (n, s, s)."""
        manifest = self.bundle.manifest
        logits, calibration = self.logits(pixels), manifest.calibration
        return sigmoid(logits) if calibration is None else calibration.apply(logits, manifest.findings)

    def predict_rows(
        self, read: ReadRows, rows: Rows, *, progress: CountCallback | None = None
    ) -> Probabilities:
        """Return the probability of each finding, (n, k), of rows of a store.

        Args:
            read: Gives the prepared pixels of some rows: `Store.pixels` of a store prepared as the
                bundle wants it.
            rows: Row numbers.
            progress: Called with the number of images done and the number of all.
        """
        return np.concatenate(list(_over_rows(self.probabilities, read, rows, progress)))

    def member_logits_of_rows(
        self, read: ReadRows, rows: Rows, *, progress: CountCallback | None = None
    ) -> Float64[np.ndarray, "member n k"]:
        """Return each member's own logits, meant over its views, of rows of a store; see `predict_rows`."""

        def compute(pixels: PixelsBatch) -> Float64[np.ndarray, "member n k"]:
            return member_logits(self._engine.logits(pixels), self.bundle.manifest)

        return np.concatenate(list(_over_rows(compute, read, rows, progress)), axis=1)

    def predict(self, radiographs: Iterable[Radiograph], sources: Iterable[str]) -> list[Prediction]:
        """Return the predictions of radiographs; `sources` is what each is called."""
        pairs = zip(radiographs, sources, strict=True)
        return self._predict_ready([self._ready(radiograph, source) for radiograph, source in pairs])

    def predict_files(
        self, sources: Iterable[ImageSource], *, value_range: ValueRange | None = None
    ) -> Iterator[Prediction | Failure]:
        """Predict files, or images in memory, in order; one that cannot be read becomes a `Failure`.

        The next files are read in threads while the engine computes: decoding leaves Python's lock free.
        """
        with ThreadPoolExecutor(num_threads()) as readers:
            waiting = (
                [readers.submit(self._read, source, value_range) for source in batch]
                for batch in _batched(sources)
            )
            for batch in _one_ahead(waiting):
                read = [each.result() for each in batch]
                predictions = iter(self._predict_ready([each for each in read if isinstance(each, _Ready)]))
                for each in read:
                    yield next(predictions) if isinstance(each, _Ready) else each

    def _read(self, source: ImageSource, value_range: ValueRange | None) -> "_Ready | Failure":
        try:
            return self._ready(read_radiograph(source, value_range=value_range), source_name(source))
        except ImageError as error:
            return Failure(source_name(source), str(error))

    def _ready(self, radiograph: Radiograph, source: str) -> "_Ready":
        return _Ready(source, prepare(radiograph, self.bundle.manifest.preparation), _warnings(radiograph))

    def _predict_ready(self, images: "list[_Ready]") -> list[Prediction]:
        if not images:
            return []
        probabilities = self.probabilities(np.stack([each.pixels for each in images]))
        return [self._prediction(image, row) for image, row in zip(images, probabilities, strict=True)]

    def _prediction(self, image: "_Ready", probabilities: Float64[np.ndarray, " k"]) -> Prediction:
        points = self.bundle.manifest.operating_points
        thresholds = points.thresholds if points else {}
        return Prediction(
            source=image.source,
            findings=tuple(
                FindingPrediction(finding, float(probability), thresholds.get(finding.name))
                for finding, probability in zip(self.bundle.findings, probabilities, strict=True)
            ),
            operating_point=points.rule if points else "",
            model=self.identity,
            warnings=image.warnings,
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


def _warnings(radiograph: Radiograph) -> tuple[str, ...]:
    if radiograph.view is ViewPosition.LATERAL:
        return ("this is a lateral view; the model has only learnt frontal ones",)
    return ()


def _one_ahead(items: Iterable[_Result]) -> Iterator[_Result]:
    """Yield the items, each after the next was taken."""
    taken: list[_Result] = []
    for item in items:
        yield from taken
        taken = [item]
    yield from taken


def _batched(sources: Iterable[ImageSource]) -> Iterator[list[ImageSource]]:
    remaining = iter(sources)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
