"""From chosen weights to a bundle: calibration and operating points, fitted on validation data."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

import thorax
from thorax.bundle import (
    Calibration,
    Manifest,
    Member,
    OperatingPoints,
    Provenance,
    hashed_patients,
    write_bundle,
)
from thorax.evaluation.calibration import fit_temperature
from thorax.evaluation.operating_points import f1_optimal_threshold
from thorax.inference.predictor import sigmoid
from thorax.models.torchvision_shim import timm
from thorax.models.weights import weights_as_bytes
from thorax.recipe.load import recipe_sha256
from thorax.recipe.schema import Recipe
from thorax.store import Store
from thorax.training.plan import Plan

__all__ = ["Delivery", "deliver_bundle"]

_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Delivery:
    """What is delivered, apart from where.

    Attributes:
        weights: State dict of the classifier.
        exact_cam: Whether its class activation map is exact.
        epoch: The epoch of the weights, counted from 1.
        logits: Of the validation images, by these weights.
    """

    weights: Mapping[str, Tensor]
    exact_cam: bool
    epoch: int
    logits: Float64[np.ndarray, "n k"]


def deliver_bundle(folder: Path, recipe: Recipe, store: Store, plan: Plan, *, delivery: Delivery) -> float:
    """Write the bundle, and return the fitted temperature."""
    targets = plan.val.targets
    temperature = fit_temperature(targets, targets >= 0, delivery.logits)
    manifest = Manifest(
        name=recipe.name,
        findings=tuple(finding.name for finding in plan.findings),
        preparation=store.preparation,
        members=(Member(weights=_WEIGHTS, sha256="", model=recipe.model),),
        exact_cam=delivery.exact_cam,
        calibration=Calibration(temperature=temperature, fitted_on=plan.selected_on),
        operating_points=OperatingPoints(
            thresholds=_thresholds(plan, delivery.logits / temperature), chosen_on=plan.selected_on
        ),
        provenance=_provenance(recipe, store, plan, epoch=delivery.epoch),
        patients_sha256="",
    )
    patients = {
        name: hashed_patients(store.dataset, plan.patients(part)).values()
        for name, part in (("train", plan.train), ("val", plan.val))
    }
    write_bundle(folder, manifest, weights={_WEIGHTS: weights_as_bytes(delivery.weights)}, patients=patients)
    return temperature


def _thresholds(plan: Plan, scaled: Float64[np.ndarray, "n k"]) -> dict[str, float | None]:
    thresholds: dict[str, float | None] = {}
    columns = zip(plan.findings, plan.val.targets.T, sigmoid(scaled).T, strict=True)
    for finding, target, probability in columns:
        known = target >= 0
        one_class_only = not (target == 1).any() or not (target == 0).any()
        point = None if one_class_only else f1_optimal_threshold(target[known] == 1, probability[known])
        thresholds[finding.name] = point.threshold if point else None
    return thresholds


def _provenance(recipe: Recipe, store: Store, plan: Plan, *, epoch: int) -> Provenance:
    selection = recipe.selection
    return Provenance(
        recipe=recipe.name,
        recipe_sha256=recipe_sha256(recipe),
        seed=recipe.training.seed,
        dataset=store.dataset,
        store_fingerprint=store.fingerprint,
        trained_on=plan.trained_on,
        selected_on=plan.selected_on,
        selected_by=f"best {selection.metric} on val" if selection.checkpoint == "best" else "last epoch",
        epoch=epoch,
        versions={
            "thorax": thorax.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "numpy": np.__version__,
        },
    )
