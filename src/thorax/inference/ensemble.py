"""Builds bundles from bundles: ensembles, other test-time views, new calibration. Without torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Probabilities, Rows, Targets
from thorax.bundle import (
    LAST_EPOCH,
    Bundle,
    Ensemble,
    Manifest,
    OperatingPoints,
    hashed_patients,
    merged_images,
    refuse_seen_patients,
    seen_images,
    write_bundle,
)
from thorax.bundle.image_prints import ImagePrints, image_prints
from thorax.bundle.split_source import split_source
from thorax.calibration import Platt, Temperature, sigmoid
from thorax.datasets.splits import NIH_DATASET, Split, build_split
from thorax.errors import BundleError, DataError, LeakError
from thorax.evaluation.abstention import choose_bands
from thorax.evaluation.calibration.fit import fit_platt, fit_temperature, negative_log_likelihood
from thorax.evaluation.inputs.join import labeled_images
from thorax.evaluation.operating_points import choose_threshold, parse_rule
from thorax.evaluation.rates import measure_rates
from thorax.findings import Findings
from thorax.image_set import ImageSet
from thorax.inference.pooling import mean_logit
from thorax.inference.predictor import Predictor
from thorax.inference.validation import with_distribution
from thorax.progress import ProgressCallback, stage_progress
from thorax.recipe.literals import STANDARD_LEVEL, CalibrationKind, MeanOf, OperatingPointRule
from thorax.recipe.schema import TestTime
from thorax.store import Store

__all__ = [
    "PLAIN_FITTING",
    "Fitting",
    "ValidationPart",
    "build_ensemble",
    "fit_calibration",
    "fit_ensemble_weights",
    "fit_operating_points",
    "validation_part",
    "with_test_time",
    "write_calibrated",
]

_MAX_STEPS = 1000
_GAP = 1e-6
"""The search for weights ends when the loss is at most this many nats above the minimum."""

Logits = Float64[np.ndarray, "n k"]


def fit_calibration(
    kind: CalibrationKind, targets: Targets, logits: Logits, *, findings: Findings, fitted_on: ImageSet
) -> Temperature | Platt:
    """Fit a calibration to the known labels of a validation part.

    Raises:
        DataError: No label is known, or a logit is not finite.
    """
    if kind == "temperature":
        return Temperature(temperature=fit_temperature(targets, targets >= 0, logits), fitted_on=fitted_on)
    return fit_platt(targets, targets >= 0, logits, findings=findings, fitted_on=fitted_on)


def fit_operating_points(
    targets: Targets,
    probabilities: Probabilities,
    *,
    findings: Findings,
    rule: OperatingPointRule,
    chosen_on: ImageSet,
) -> OperatingPoints:
    """Choose a threshold for each finding by a rule; a finding with labels of one class gets none.

    Args:
        targets: Labels of a validation part; only 1 and 0 count.
        probabilities: Calibrated probabilities.
        findings: The findings of the columns.
        rule: The rule.
        chosen_on: Describes the images.
    """
    thresholds: dict[str, float | None] = {}
    for finding, target, probability in zip(findings, targets.T, probabilities.T, strict=True):
        known = target >= 0
        both = rule == "one-half" or ((target == 1).any() and (target == 0).any())
        thresholds[finding.name] = (
            choose_threshold(parse_rule(rule), target[known] == 1, probability[known]) if both else None
        )
    return OperatingPoints(
        rule=rule, thresholds=thresholds, chosen_on=None if rule == "one-half" else chosen_on
    )


def fit_ensemble_weights(
    targets: Targets, logits: Float64[np.ndarray, "member n k"], *, mean_of: MeanOf
) -> tuple[float, ...]:
    """Return the member weights that minimize the negative log likelihood over the known labels.

    The loss is convex in the weights. They move along the simplex by exponentiated gradients (Kivinen and
    Warmuth 1997) until no other weights can gain more than a millionth of a nat. The result is
    deterministic.

    Raises:
        DataError: No label is known, or a logit is not finite.
    """
    known = targets >= 0
    present = targets[known] == 1
    per_label = logits[:, known]
    if not np.isfinite(per_label).all():
        raise DataError("a logit of a member is not finite; leave that member out")
    weights = np.full(len(logits), 1 / len(logits))

    def loss(candidate: Float64[np.ndarray, " member"]) -> float:
        mean = mean_logit(logits, mean_of=mean_of, weights=candidate.tolist())
        return negative_log_likelihood(targets, known, mean)

    current, rate = loss(weights), 1.0
    for _ in range(_MAX_STEPS):
        mean = mean_logit(per_label[:, :, None], mean_of=mean_of, weights=weights.tolist())[:, 0]
        slope = _slope(per_label, mean, present, mean_of)
        if weights @ slope - slope.min() < _GAP:
            break
        candidate = weights * np.exp(-rate * (slope - slope.min()))
        candidate /= candidate.sum()
        candidate_loss = loss(candidate)
        if candidate_loss < current:
            weights, current, rate = candidate, candidate_loss, rate * 2
        else:
            rate /= 4
    return tuple(float(weight) for weight in weights)


def _slope(
    logits: Float64[np.ndarray, "member label"],
    mean: Float64[np.ndarray, " label"],
    present: np.ndarray,
    mean_of: MeanOf,
) -> Float64[np.ndarray, " member"]:
    """Return the derivative of the loss with respect to each member's weight."""
    if mean_of == "logits":
        return np.asarray(((sigmoid(mean) - present) * logits).mean(axis=1))
    # The loss is -log(sum of weight times the probability that the member assigns to the label).
    sign = np.where(present, 1.0, -1.0)
    log_own, log_mean = -np.logaddexp(0, -sign * logits), -np.logaddexp(0, -sign * mean)
    return np.asarray(-np.exp(log_own - log_mean).mean(axis=1))


@dataclass(frozen=True)
class ValidationPart:
    """Images that calibration may be fitted on.

    Attributes:
        store: The store, prepared as the bundle requires.
        split: The split of the store.
        rows: The rows of the validation part.
    """

    store: Store
    split: Split
    rows: Rows

    @property
    def patients(self) -> list[str]:
        """The patient of each image."""
        return [str(patient) for patient in self.store.table.frame["patient"].to_numpy()[self.rows]]


@dataclass(frozen=True)
class Fitting:
    """What to fit on a validation part.

    Attributes:
        kind: The kind of calibration.
        rule: The rule that chooses thresholds.
        level: The level of the bands in which nothing is decided, at least 0.5 and below 1.
        ensemble_weights: Whether to fit an ensemble's weights first.
    """

    kind: CalibrationKind = "temperature"
    rule: OperatingPointRule = "f1-optimal"
    level: float = STANDARD_LEVEL
    ensemble_weights: bool = False


PLAIN_FITTING = Fitting()
"""One temperature, and F1-optimal thresholds."""


def build_ensemble(bundles: Sequence[Bundle], out: Path, *, name: str, mean_of: MeanOf) -> Bundle:
    """Return a bundle, not yet written, of several bundles' networks: equal weights, not calibrated.

    Each network keeps its test-time views. The findings are those that all members have, in the order of the
    first. Images are prepared at the largest of the members' sizes, so that no network sees less detail than
    before.

    Raises:
        BundleError: There are fewer than two bundles, they have no finding in common or fit radiographs
            differently, or one is an ensemble itself.
    """
    if len(bundles) <= 1:
        raise BundleError(
            f"an ensemble needs at least two bundles, but {len(bundles)} was given; give another one"
        )
    for bundle in bundles:
        if bundle.manifest.ensemble:
            raise BundleError(
                f"{bundle.folder} is an ensemble itself; give the bundles that it was built from"
            )
    findings = [
        name for name in bundles[0].manifest.findings if all(name in b.manifest.findings for b in bundles)
    ]
    if not findings:
        raise BundleError("these bundles have no finding in common; give bundles that share at least one")
    preparations = [bundle.manifest.preparation for bundle in bundles]
    if len({preparation.fit for preparation in preparations}) > 1:
        raise BundleError(
            "these bundles fit radiographs that are not square in different ways "
            f"({', '.join(preparation.fit for preparation in preparations)}); train with the same store.fit"
        )
    files = {f"member-{number}.safetensors": bundle for number, bundle in enumerate(bundles, start=1)}
    members = [
        bundle.manifest.members[0].model_copy(update={"weights": file}) for file, bundle in files.items()
    ]
    manifest = Manifest(
        name=name,
        findings=tuple(findings),
        preparation=max(preparations, key=lambda preparation: preparation.size),
        members=tuple(members),
        ensemble=Ensemble(mean_of=mean_of, weights=(1 / len(bundles),) * len(bundles), fitted_on=None),
        calibration=None,
        operating_points=None,
        patients_sha256="",
    )
    weights = {file: b.weights_of(b.manifest.members[0], "an ensemble") for file, b in files.items()}
    patients = {
        part: frozenset().union(*(bundle.patients.get(part, ()) for bundle in bundles))
        for part in sorted({part for bundle in bundles for part in bundle.patients})
    }
    return Bundle(out, manifest, "", patients, weights)


def with_test_time(bundle: Bundle, change: Callable[[TestTime], TestTime]) -> Bundle:
    """Return the bundle with other views for each member; if any change, the calibration is dropped.

    Nothing is written. The result is meant to be calibrated again.
    """
    old = bundle.manifest
    members = tuple(one.model_copy(update={"test_time": change(one.test_time)}) for one in old.members)
    if members == old.members:
        return bundle
    changes = {
        "members": members,
        "calibration": None,
        "operating_points": None,
        "bands": None,
        "engines": (),
        "sites": (),
        "hit_rates": (),
    }
    return replace(bundle, manifest=old.model_copy(update=changes))


def validation_part(bundle: Bundle, store: Store, split: str | None) -> ValidationPart:
    """Return the validation images of a store that a bundle may be calibrated on.

    Args:
        bundle: The bundle to calibrate.
        store: Images and labels.
        split: Name of the split; None: the bundle's own.

    Raises:
        BundleError: No split is given, and the bundle was not trained on exactly one.
        DataError: The store is prepared differently, or the part is empty.
        LeakError: Training saw some of the patients, or they are in the test part of a split that a member
            was trained on (or of NIH's official one, for an imported network with a split from a file).
    """
    name = split or split_source(bundle)
    if name is None:
        raise BundleError(
            f"{bundle.folder} was not trained on a single split, so its validation part is not known; "
            "name a split with `split`"
        )
    bundle.refuse_other_preparation(store.location, store.preparation)
    chosen = _split(name, store)
    part = ValidationPart(store, chosen, chosen.rows("val"))
    refuse_seen_patients(bundle, store.dataset, part.patients, by=("train", "pretrain"))
    tested = {training.trained_on.split for training in bundle.trainings} - {chosen.name}
    if not bundle.all_trained and name.startswith("file:") and store.dataset == NIH_DATASET:
        # The split of an imported network is unknown; keep the test part of the official one unseen.
        tested.add("nih-official")
    for other in sorted(tested):
        if not other.startswith("file:"):
            _refuse_test_patients(part, _split(other, store))
    return part


def write_calibrated(
    predictor: Predictor,
    part: ValidationPart,
    out: Path,
    *,
    fitting: Fitting = PLAIN_FITTING,
    seen: Mapping[str, ImagePrints] | None = None,
    progress: ProgressCallback | None = None,
) -> Bundle:
    """Write the bundle with calibration, operating points and bands fitted on validation images.

    Args:
        predictor: A predictor with the bundle to calibrate, as loaded or as changed by `with_test_time`.
        part: Images that it may be calibrated on.
        out: Folder of the new bundle.
        fitting: What to fit.
        seen: Fingerprints of the images that its members saw; None: those that the bundle itself keeps.
        progress: Receives the number of predicted images.
    """
    bundle, store = predictor.bundle, part.store
    old = bundle.manifest
    targets = store.table.targets(bundle.findings)[part.rows]
    reference = part.split.image_set("val", part.rows, dataset=store.dataset)
    count = stage_progress(progress, "predicting")
    members = predictor.member_logits_of_rows(store.pixels, part.rows, progress=count)
    mixture = old.ensemble
    if mixture is not None and fitting.ensemble_weights:
        weights = fit_ensemble_weights(targets, members, mean_of=mixture.mean_of)
        mixture = mixture.model_copy(update={"weights": weights, "fitted_on": reference})
    logits = (
        members[0]
        if mixture is None
        else mean_logit(members, mean_of=mixture.mean_of, weights=mixture.weights)
    )
    calibration = fit_calibration(
        fitting.kind, targets, logits, findings=bundle.findings, fitted_on=reference
    )
    probabilities = calibration.apply(logits, old.findings)
    points = fit_operating_points(
        targets, probabilities, findings=bundle.findings, rule=fitting.rule, chosen_on=reference
    )
    cohort = labeled_images(store.table.take(part.rows), bundle.findings)
    rates = measure_rates(cohort, probabilities, points.thresholds, measured_on=reference)
    hashes = frozenset(hashed_patients(store.dataset, part.patients).values())
    bands = choose_bands(
        cohort,
        probabilities,
        chosen_on=reference,
        chose_checkpoint=_chose_checkpoint(bundle, hashes),
        level=fitting.level,
    )
    changes = {
        "format": 2,
        "ensemble": mixture,
        "calibration": calibration,
        "operating_points": points.model_copy(update={"measured": rates}),
        "bands": bands,
        "hit_rates": old.hit_rates if mixture is old.ensemble else (),
    }
    patients = {**bundle.patients, "val": bundle.patients.get("val", frozenset()) | hashes}
    saw = seen_images(bundle) if seen is None else seen
    fitted = {"val": image_prints(store.pixels, part.rows)} if saw else {}
    written = write_bundle(
        out,
        old.model_copy(update=changes),
        weights=bundle.weights,
        patients=patients,
        seen=merged_images([saw, fitted]),
        gate=bundle.gate_file,
    )
    return with_distribution(written, store, part.rows, probabilities, measured_on=reference)


def _chose_checkpoint(bundle: Bundle, patients: frozenset[str]) -> bool | None:
    """Return whether some of these patients chose a net's checkpoint; None where that is not known."""
    if not bundle.all_trained:
        return None
    by_score = any(training.selected_by != LAST_EPOCH for training in bundle.trainings)
    return by_score and bool(patients & bundle.patients.get("val", frozenset()))


def _split(name: str, store: Store) -> Split:
    return build_split(name, store.table, dataset=store.dataset, whole_sha256=store.split_sha256)


def _refuse_test_patients(part: ValidationPart, other: Split) -> None:
    patients = other.table.frame["patient"].to_numpy()[other.parts["test"]]
    tested = set(part.patients) & {str(patient) for patient in patients}
    if tested:
        raise LeakError(
            f"{len(tested)} patients of the validation part of {part.split.name} are in the test part of "
            f"{other.name}, which must stay unseen; calibrate on patients that are in no test part"
        )
