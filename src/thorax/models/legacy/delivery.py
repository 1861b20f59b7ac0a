"""From a foreign checkpoint in our classifier to a bundle."""

from pathlib import Path

import torch

import thorax
from thorax.bundle import Bundle, Imported, Manifest, Member, OperatingPoints, write_bundle
from thorax.models.legacy.foreign import Imported as Checkpoint
from thorax.models.places import measure_places
from thorax.models.torchvision_shim import timm
from thorax.models.weights import weights_as_bytes

__all__ = ["deliver_imported"]

_WEIGHTS = "weights.safetensors"


def deliver_imported(checkpoint: Checkpoint, out: Path, *, name: str) -> Bundle:
    """Write the bundle of an imported checkpoint: not calibrated, its thresholds those of the source.

    Args:
        checkpoint: What `read_foreign` returned.
        out: Folder of the bundle.
        name: What the model is called.
    """
    names = tuple(finding.name for finding in checkpoint.findings)
    provenance = Imported(
        source=checkpoint.source,
        file_sha256=checkpoint.sha256,
        self_test=checkpoint.difference,
        compared_with=checkpoint.compared_with,
        notes=checkpoint.notes,
        versions={"thorax": thorax.__version__, "torch": torch.__version__, "timm": timm.__version__},
    )
    member = Member(
        weights=_WEIGHTS,
        sha256="",
        model=checkpoint.model,
        findings=names,
        exact_cam=checkpoint.classifier.exact_cam,
        places=measure_places(checkpoint.classifier, checkpoint.model.input_size),
        provenance=provenance,
    )
    thresholds = {each: checkpoint.thresholds.get(each) for each in names}
    points = OperatingPoints(rule="source", thresholds=thresholds, chosen_on=None)
    manifest = Manifest(
        name=name,
        findings=names,
        preparation=checkpoint.preparation,
        members=(member,),
        calibration=None,
        operating_points=points if checkpoint.thresholds else None,
        patients_sha256="",
    )
    weights = {_WEIGHTS: weights_as_bytes(checkpoint.classifier.state_dict())}
    return write_bundle(out, manifest, weights=weights, patients={})
