"""New bundles from old ones: ensembles, other views, and calibration fitted anew. No torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Probabilities, Rows, Targets
from thorax.bundle import (
    Bundle,
    Ensemble,
    Manifest,
    OperatingPoints,
    hashed_patients,
    refuse_seen_patients,
    write_bundle,
)
from thorax.calibration import Platt, Temperature, sigmoid
from thorax.datasets.splits import NIH_DATASET, Split, build_split
from thorax.errors import BundleError, DataError, LeakError
from thorax.evaluation.calibration.fit import fit_platt, fit_temperature, negative_log_likelihood
from thorax.evaluation.operating_points import choose_threshold, parse_rule
from thorax.findings import Findings
from thorax.image_set import ImageSet
from thorax.inference.predictor import (
    Predictor,
    mean_logit,
)
from thorax.progress import ProgressCallback, stage_progress
from thorax.recipe.literals import CalibrationKind, MeanOf, OperatingPointRule
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
"""Nats above the best weights at which the search for them ends."""

Logits = Float64[np.ndarray, "n k"]


def fit_calibration(
    kind: CalibrationKind, targets: Targets, logits: Logits, *, findings: Findings, fitted_on: ImageSet
) -> Temperature | Platt:
    """Return the calibration that fits the sure labels of a validation part best.

    Raises:
        DataError: No label is sure, or a logit is not finite.
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
    """Choose a threshold per finding by a rule; a finding of one class only has none.

    Args:
        targets: Labels of a validation part; only 1 and 0 count.
        probabilities: Calibrated.
        findings: What the columns stand for.
        rule: How.
        chosen_on: What the images are.
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
    """Return the members' weights with the least negative log likelihood over the sure labels.

    The loss is convex in the weights. They move along the simplex by exponentiated gradients (Kivinen and
    Warmuth 1997) until no better ones can gain more than a millionth of a nat: the same weights each time.

    Raises:
        DataError: No label is sure, or a logit is not finite.
    """
    known = targets >= 0
    present = targets[known] == 1
    per_label = logits[:, known]
    if not np.isfinite(per_label).all():
        raise DataError("a member's logit is not finite; leave that member out")
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
        moved = weights * np.exp(-rate * (slope - slope.min()))
        moved /= moved.sum()
        found = loss(moved)
        if found < current:
            weights, current, rate = moved, found, rate * 2
        else:
            rate /= 4
    return tuple(float(weight) for weight in weights)


def _slope(
    logits: Float64[np.ndarray, "member label"],
    mean: Float64[np.ndarray, " label"],
    present: np.ndarray,
    mean_of: MeanOf,
) -> Float64[np.ndarray, " member"]:
    """Return the derivative of the loss by each member's weight."""
    if mean_of == "logits":
        return np.asarray(((sigmoid(mean) - present) * logits).mean(axis=1))
    # Of -log(sum of weight times the probability that the member gives to the label).
    sign = np.where(present, 1.0, -1.0)
    log_own, log_mean = -np.logaddexp(0, -sign * logits), -np.logaddexp(0, -sign * mean)
    return np.asarray(-np.exp(log_own - log_mean).mean(axis=1))


@dataclass(frozen=True)
class ValidationPart:
    """Images that calibration may be fitted on.

    Attributes:
        store: Where they are, prepared as the bundle wants it.
        split: The split that divides the store.
        rows: The rows of its validation part.
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
    """What is fitted on a validation part.

    Attributes:
        kind: How logits become probabilities.
        rule: How the thresholds are chosen.
        ensemble_weights: Whether an ensemble's weights are fitted first.
    """

    kind: CalibrationKind = "temperature"
    rule: OperatingPointRule = "f1-optimal"
    ensemble_weights: bool = False


PLAIN_FITTING = Fitting()
"""One temperature, and F1-optimal thresholds."""


def build_ensemble(bundles: Sequence[Bundle], out: Path, *, name: str, mean_of: MeanOf) -> Bundle:
    """Return a bundle, not written yet, of several bundles' nets: equal weights, not calibrated.

    Each net is shown the views that it was shown before.

    Its findings are those that all members have, in the first one's order. Each net is shown images prepared
    at the largest of their sizes, so that none is shown less than it was.

    Raises:
        BundleError: There are fewer than two, they have no finding in common or fit radiographs differently,
            or one is an ensemble itself.
    """
    if len(bundles) <= 1:
        raise BundleError("an ensemble needs at least two bundles, and this is one; give another one")
    for bundle in bundles:
        if bundle.manifest.ensemble:
            raise BundleError(f"{bundle.folder} is an ensemble itself; give the bundles that it was made of")
    findings = [
        name for name in bundles[0].manifest.findings if all(name in b.manifest.findings for b in bundles)
    ]
    if not findings:
        raise BundleError("these bundles have no finding in common; there is nothing to average")
    preparations = [bundle.manifest.preparation for bundle in bundles]
    if len({each.fit for each in preparations}) > 1:
        raise BundleError(
            "these bundles want radiographs that are not square fitted in different ways "
            f"({', '.join(each.fit for each in preparations)}); train their recipes with the same store.fit"
        )
    files = {f"member-{number}.safetensors": bundle for number, bundle in enumerate(bundles, start=1)}
    members = [
        bundle.manifest.members[0].model_copy(update={"weights": file}) for file, bundle in files.items()
    ]
    manifest = Manifest(
        name=name,
        findings=tuple(findings),
        preparation=max(preparations, key=lambda each: each.size),
        members=tuple(members),
        ensemble=Ensemble(mean_of=mean_of, weights=(1 / len(bundles),) * len(bundles), fitted_on=None),
        calibration=None,
        operating_points=None,
        patients_sha256="",
    )
    weights = {file: b.weights[b.manifest.members[0].weights] for file, b in files.items()}
    patients = {
        part: frozenset().union(*(bundle.patients.get(part, ()) for bundle in bundles))
        for part in sorted({part for bundle in bundles for part in bundle.patients})
    }
    return Bundle(out, manifest, "", patients, weights)


def with_test_time(bundle: Bundle, change: Callable[[TestTime], TestTime]) -> Bundle:
    """Return the bundle with other views for each member; where any changes, it is no longer calibrated.

    Nothing is written: the result serves to calibrate it anew.
    """
    old = bundle.manifest
    members = tuple(
        member.model_copy(update={"test_time": change(member.test_time)}) for member in old.members
    )
    if members == old.members:
        return bundle
    changes = {"members": members, "calibration": None, "operating_points": None, "engines": ()}
    return replace(bundle, manifest=old.model_copy(update=changes))


def validation_part(bundle: Bundle, store: Store, split: str | None) -> ValidationPart:
    """Return the validation images of a store that a bundle may be calibrated on.

    Args:
        bundle: What is to be calibrated.
        store: Images and labels.
        split: Name of the split; the bundle's own if None.

    Raises:
        BundleError: No split is given, and the bundle was not trained on exactly one.
        DataError: The store is prepared otherwise, or the part is empty.
        LeakError: Training saw some of the patients, or they belong to the test part of a split that a
            member was trained on (of NIH's official one, where an imported net meets a split of a file).
    """
    name = split or bundle.split
    if name is None:
        raise BundleError(
            f"{bundle.folder} was not trained on one split, so its validation part is not known; "
            "name a split with `split`"
        )
    bundle.refuse_other_preparation(store.path, store.preparation)
    chosen = _split(name, store)
    part = ValidationPart(store, chosen, chosen.rows("val"))
    refuse_seen_patients(bundle, store.dataset, part.patients, by=("train", "pretrain"))
    tested = {training.trained_on.split for training in bundle.trainings} - {name}
    if not bundle.all_trained and name.startswith("file:") and store.dataset == NIH_DATASET:
        # Nobody knows which split an imported net is of: what everybody is measured on stays unseen.
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
    progress: ProgressCallback | None = None,
) -> Bundle:
    """Write the bundle with calibration and operating points fitted on validation images.

    Args:
        predictor: The bundle to calibrate, as loaded or as `with_test_time` changed it, at work.
        part: Images that it may be calibrated on.
        out: Folder of the new bundle.
        fitting: What is fitted.
        progress: Receives how many images are predicted.
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
    points = fit_operating_points(
        targets,
        calibration.apply(logits, old.findings),
        findings=bundle.findings,
        rule=fitting.rule,
        chosen_on=reference,
    )
    changes = {"ensemble": mixture, "calibration": calibration, "operating_points": points}
    hashes = frozenset(hashed_patients(store.dataset, part.patients).values())
    patients = {**bundle.patients, "val": bundle.patients.get("val", frozenset()) | hashes}
    return write_bundle(out, old.model_copy(update=changes), weights=bundle.weights, patients=patients)


def _split(name: str, store: Store) -> Split:
    return build_split(name, store.table, dataset=store.dataset, whole_sha256=store.split_sha256)


def _refuse_test_patients(part: ValidationPart, other: Split) -> None:
    patients = other.table.frame["patient"].to_numpy()[other.parts["test"]]
    tested = set(part.patients) & {str(patient) for patient in patients}
    if tested:
        raise LeakError(
            f"{len(tested)} patients of the validation part of {part.split.name} are in the test part of "
            f"{other.name}, where they would be measured; calibrate on patients that no test part holds"
        )
