"""Turn chosen weights into a bundle, with calibration, thresholds and bands set on validation data."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

import thorax
from thorax.bundle import (
    LAST_EPOCH,
    Bundle,
    Manifest,
    Member,
    Trained,
    attach_gate,
    hashed_patients,
    seen_images,
    write_bundle,
)
from thorax.bundle.image_prints import ImagePrints, image_prints, merged_prints
from thorax.bundle.input_gate import gate_bytes
from thorax.calibration import Temperature
from thorax.evaluation.abstention import choose_bands
from thorax.evaluation.calibration.fit import fit_temperature
from thorax.evaluation.inputs.join import labeled_images
from thorax.evaluation.rates import measure_rates
from thorax.exporting import CHECKED_IMAGES, evenly_spaced, export_if_possible
from thorax.gating import fit_store_gate, too_few
from thorax.inference.ensemble import fit_operating_points
from thorax.inference.validation import with_distribution
from thorax.models import build_classifier, measure_feature_grid
from thorax.models.backbones import timm
from thorax.models.weights import weights_as_bytes
from thorax.progress import ProgressCallback
from thorax.recipe.load import recipe_sha256
from thorax.recipe.schema import Recipe
from thorax.store import Store
from thorax.training.batches import Part
from thorax.training.plan import TrainingPlan

__all__ = ["Finalization", "write_final_bundle"]

_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Finalization:
    """The chosen weights and their validation logits.

    Attributes:
        weights: State dict of the classifier.
        epoch: The epoch of the weights, counted from 1.
        logits: Logits of the validation images with these weights, as the bundle will compute them.
    """

    weights: Mapping[str, Tensor]
    epoch: int
    logits: Float64[np.ndarray, "n k"]


def write_final_bundle(
    folder: Path,
    recipe: Recipe,
    store: Store,
    plan: TrainingPlan,
    *,
    final: Finalization,
    progress: ProgressCallback | None = None,
) -> tuple[float, tuple[str, ...]]:
    """Write the bundle, and export it for an engine that does not need torch.

    Args:
        folder: The bundle's folder.
        recipe: The run's recipe.
        store: The store that it was trained on.
        plan: Its parts and findings.
        final: The chosen weights.
        progress: Receives how fitting the input gate goes, which takes a minute or two.

    Returns:
        The fitted temperature, and notices to the user, one sentence each.
    """
    targets = plan.val.targets
    calibration = Temperature(
        temperature=fit_temperature(targets, targets >= 0, final.logits), fitted_on=plan.selected_on
    )
    names = tuple(finding.name for finding in plan.findings)
    probabilities = calibration.apply(final.logits, names)
    points = fit_operating_points(
        targets,
        probabilities,
        findings=plan.findings,
        rule=recipe.selection.operating_point,
        chosen_on=plan.selected_on,
    )
    cohort = labeled_images(store.table.take(plan.val.rows), plan.findings)
    rates = measure_rates(cohort, probabilities, points.thresholds, measured_on=plan.selected_on)
    classifier = build_classifier(recipe.model.model_copy(update={"weights": "none"}), len(names))
    classifier.load_state_dict(dict(final.weights))
    member = Member(
        weights=_WEIGHTS,
        sha256="",
        model=recipe.model,
        findings=names,
        exact_cam=classifier.exact_cam,
        places=measure_feature_grid(classifier, recipe.model.input_size),
        test_time=recipe.test_time,
        provenance=_provenance(recipe, store, plan, epoch=final.epoch),
    )
    manifest = Manifest(
        format=2,
        name=recipe.name,
        findings=names,
        preparation=store.preparation,
        members=(member,),
        calibration=calibration,
        operating_points=points.model_copy(update={"measured": rates}),
        bands=choose_bands(
            cohort, probabilities, chosen_on=plan.selected_on, chose_checkpoint=_chosen_by_score(recipe)
        ),
        patients_sha256="",
    )
    weights = {_WEIGHTS: weights_as_bytes(final.weights)}
    bundle = write_bundle(
        folder,
        manifest,
        weights=weights,
        patients=_seen_patients(store, plan),
        seen=_seen_images(store, plan),
    )
    bundle = _with_gate(bundle, store, plan, progress)
    bundle = with_distribution(bundle, store, plan.val.rows, probabilities, measured_on=plan.selected_on)
    pixels = store.pixels(evenly_spaced(plan.val.rows, CHECKED_IMAGES))
    return calibration.temperature, export_if_possible(bundle, pixels, compared_on=plan.selected_on)[1]


def _with_gate(bundle: Bundle, store: Store, plan: TrainingPlan, progress: ProgressCallback | None) -> Bundle:
    """Return the bundle with an input gate, unless there are too few images for one."""
    if too_few(len(plan.train.rows), len(plan.val.rows)):
        return bundle
    fitted = fit_store_gate(
        store,
        train=(plan.train.rows, plan.trained_on),
        val=(plan.val.rows, plan.selected_on),
        progress=progress,
    )
    return attach_gate(bundle, fitted.section, gate_bytes(fitted.numbers))


def _chosen_by_score(recipe: Recipe) -> bool:
    return recipe.selection.checkpoint == "best" or recipe.early_stopping is not None


def _seen_patients(store: Store, plan: TrainingPlan) -> dict[str, Iterable[str]]:
    """Return the hashed patients that this run has seen, and those that its backbone had seen before.

    The backbone's validation patients remain validation patients, who may choose and calibrate again.
    """

    def hashes_of(part: Part) -> set[str]:
        return set(hashed_patients(store.dataset, plan.patients(part)).values())

    train, val = hashes_of(plan.train), hashes_of(plan.val)
    if plan.origin is None:
        return {"train": train, "val": val}
    before = plan.origin.patients
    pretrain = before.get("train", frozenset()) | before.get("pretrain", frozenset())
    return {"train": train, "val": val | before.get("val", frozenset()), "pretrain": pretrain}


def _seen_images(store: Store, plan: TrainingPlan) -> Mapping[str, ImagePrints]:
    """Return the fingerprints of the images that this run has seen, and of those that its backbone had seen.

    The parts are those of `_seen_patients`.
    """
    own = {
        name: image_prints(store.pixels, part.rows)
        for name, part in (("train", plan.train), ("val", plan.val))
    }
    before = seen_images(plan.origin) if plan.origin else {}
    pretrain = [before[part] for part in ("train", "pretrain") if part in before]
    val = [own["val"], *([before["val"]] if "val" in before else [])]
    seen = {"train": own["train"], "val": merged_prints(val)}
    return seen | ({"pretrain": merged_prints(pretrain)} if pretrain else {})


def _provenance(recipe: Recipe, store: Store, plan: TrainingPlan, *, epoch: int) -> Trained:
    selection = recipe.selection
    return Trained(
        recipe=recipe.name,
        recipe_sha256=recipe_sha256(recipe),
        seed=recipe.training.seed,
        dataset=store.dataset,
        store_fingerprint=store.fingerprint,
        trained_on=plan.trained_on,
        selected_on=plan.selected_on,
        selected_by=f"best {selection.metric} on val" if selection.checkpoint == "best" else LAST_EPOCH,
        epoch=epoch,
        started_from=plan.origin.sha256 if plan.origin else None,
        initial_weights=plan.initial_weights,
        versions={
            "thorax": thorax.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "numpy": np.__version__,
        },
    )
