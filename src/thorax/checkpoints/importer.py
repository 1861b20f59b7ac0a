"""From a foreign checkpoint in our classifier to a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor

import thorax
from thorax.atomic_io import sha256_of_file
from thorax.bundle import Bundle, Imported, Manifest, Member, OperatingPoints, write_bundle
from thorax.checkpoints.foreign_net import ForeignCheckpoint, ForeignOptions, matched
from thorax.checkpoints.timm_nets import eva_x, mae, timm_net
from thorax.checkpoints.torchvision_nets import chexnet, torchvision
from thorax.checkpoints.torchxrayvision import torchxrayvision
from thorax.checkpoints.weights_file import WeightsFile, read_weights_file
from thorax.errors import BundleError, RecipeError
from thorax.findings import Findings, finding_or_new
from thorax.models.backbones import timm
from thorax.models.classifier import Classifier, build_classifier, weights_as_bytes
from thorax.models.receptive_field import measure_feature_grid
from thorax.models.tensors import Images
from thorax.recipe.literals import ForeignKind
from thorax.recipe.schema import Model, Preparation

__all__ = ["ForeignNet", "deliver_imported", "probe_image", "read_foreign"]

_WEIGHTS = "weights.safetensors"

_TOLERANCE = 1e-3
"""Of the self-test, relative to the largest logit where that is above 1: float32 in another order."""


@dataclass(frozen=True, kw_only=True)
class ForeignNet:
    """A foreign checkpoint in our classifier.

    Attributes:
        model: The net; its `weights` are "none", since they are in `classifier`.
        preparation: How the source's users made its input.
        findings: In the order of the outputs; what the source never trained is not among them.
        classifier: With the source's weights, in evaluation mode.
        thresholds: The source's own operating points on probabilities, by the finding's name; empty where
            it has none.
        source: Where the weights come from, in words.
        sha256: Of the checkpoint.
        difference: The self-test: the largest difference between our logits and those of the source's own
            architecture on a probe image.
        compared_with: That architecture, in words.
        notes: What somebody who compares figures must know.
    """

    model: Model
    preparation: Preparation
    findings: Findings
    classifier: Classifier
    thresholds: Mapping[str, float]
    source: str
    sha256: str
    difference: float
    compared_with: str
    notes: tuple[str, ...]


def read_foreign(path: Path, kind: ForeignKind, options: ForeignOptions | None = None) -> ForeignNet:
    """Read another project's checkpoint into our classifier.

    Nothing in a pickle is run. Each tensor is matched by name and shape, or the file is refused.

    Args:
        path: safetensors, or what `torch.save` wrote.
        kind: Where it comes from.
        options: What only the user can know.

    Raises:
        BundleError: The file cannot be read, holds more than weights, or does not fit; or the source's own
            architecture gives other logits.
        RecipeError: Something that only the user can know was not given, or cannot be.
    """
    options = options or ForeignOptions()
    file = read_weights_file(path)
    source = _described(file, kind, options)
    labels = _labels(source, options, path)
    kept = [output for output, label in enumerate(labels) if label]
    findings = tuple(finding_or_new(labels[output]) for output in kept)
    _refuse_twins(findings, path)
    classifier = _loaded(source, kept, path)
    difference = _self_test(source, classifier, kept, path)
    points = source.thresholds or (None,) * len(labels)
    pairs = zip(findings, (points[output] for output in kept), strict=True)
    return ForeignNet(
        model=source.model,
        preparation=source.preparation,
        findings=findings,
        classifier=classifier,
        thresholds={finding.name: point for finding, point in pairs if point is not None},
        source=f"{source.text}, from {path.name}",
        sha256=sha256_of_file(path),
        difference=difference,
        compared_with=source.architecture,
        notes=source.notes,
    )


def probe_image(size: int) -> Images:
    """Return the image of the self-test: a ramp under noise, in [0, 1], the same wherever it is made."""
    places = torch.arange(size * size, dtype=torch.float64).reshape(1, 1, size, size)
    ramp = places / (size * size - 1)
    # A generator's numbers may change with torch; the fraction of a large multiple does not.
    noise = torch.frac(torch.sin(places * 12.9898) * 43758.5453).abs()
    return (0.7 * ramp + 0.3 * noise).float()


def _described(file: WeightsFile, kind: ForeignKind, options: ForeignOptions) -> ForeignCheckpoint:
    match kind:
        case "chexnet-torchvision":
            return chexnet(file, options)
        case "torchxrayvision":
            return torchxrayvision(file, options)
        case "torchvision":
            return torchvision(file, options)
        case "timm":
            return timm_net(file, options)
        case "mae":
            return mae(file, options)
        case "eva-x":
            return eva_x(file, options)
        case _:
            assert_never(kind)


def _labels(source: ForeignCheckpoint, options: ForeignOptions, path: Path) -> tuple[str, ...]:
    """Return the name of each output; empty where it was not trained."""
    outputs = len(source.bias)
    if options.findings is not None:
        if len(options.findings) != outputs:
            raise RecipeError(
                f"{len(options.findings)} findings were named for the {outputs} outputs of {path}; "
                "name each output, in order"
            )
        return tuple(finding.name for finding in options.findings)
    if source.labels is None:
        raise RecipeError(
            f"nothing says what the {outputs} outputs of {path} mean; name the finding of each in order "
            "with `findings`"
        )
    return source.labels


def _refuse_twins(findings: Findings, path: Path) -> None:
    twins = sorted({finding.name for finding in findings if findings.count(finding) > 1})
    if twins or not findings:
        what = f"two outputs for {', '.join(twins)}" if twins else "no output that was trained"
        raise BundleError(f"{path} has {what}; name the finding of each output in order with `findings`")


def _loaded(source: ForeignCheckpoint, kept: list[int], path: Path) -> Classifier:
    classifier = build_classifier(source.model, len(kept))
    own = classifier.state_dict()
    constants = {name: own[name] for name in ("mean", "std")}
    found = {f"backbone.{name}": tensor for name, tensor in source.tensors.items()}
    found |= {"head.weight": source.weight[kept], "head.bias": source.bias[kept]}
    classifier.load_state_dict(matched(own, constants | found, path=path))
    return classifier.eval()


def _self_test(source: ForeignCheckpoint, classifier: Classifier, kept: list[int], path: Path) -> float:
    """Return the largest difference of a logit between our net and the source's own architecture."""
    net, own = source.build()
    net.load_state_dict(matched(net.state_dict(), own, path=path))
    net.eval()
    probe = probe_image(source.model.input_size)
    with torch.inference_mode():
        expected: Tensor = net(source.normalize(probe))[:, kept]
        difference = float((classifier(probe) - expected).abs().max())
    # A NaN is not below it either.
    if not difference <= _TOLERANCE * max(1.0, float(expected.abs().max())):
        raise BundleError(
            f"{path} gives other logits here than in {source.architecture} (by {difference:.3g} on the probe "
            "image), so it was not imported; give no other arguments than the net was built with, or report "
            "it with the versions of torch and timm"
        )
    return difference


def deliver_imported(checkpoint: ForeignNet, out: Path, *, name: str) -> Bundle:
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
        places=measure_feature_grid(checkpoint.classifier, checkpoint.model.input_size),
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
