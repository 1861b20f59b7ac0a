"""Reads a foreign checkpoint into a `Classifier`, tests it against its source, and writes a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor

import thorax
from thorax.atomic_io import sha256_of_file
from thorax.bundle import Bundle, Imported, Manifest, Member, OperatingPoints, write_bundle
from thorax.checkpoints.foreign_net import ForeignCheckpoint, ForeignOptions, match_tensors
from thorax.checkpoints.keras_file import read_keras_file
from thorax.checkpoints.keras_nets import keras
from thorax.checkpoints.timm_nets import eva_x, mae, timm_net
from thorax.checkpoints.torchvision_nets import chexnet, torchvision
from thorax.checkpoints.torchxrayvision import torchxrayvision
from thorax.checkpoints.weights_file import WeightsFile, read_weights_file
from thorax.errors import BundleError, RecipeError
from thorax.findings import Findings, finding_or_new
from thorax.models.backbones import timm
from thorax.models.classifier import Classifier, build_classifier
from thorax.models.receptive_field import measure_feature_grid
from thorax.models.tensors import Images
from thorax.models.weights import weights_as_bytes
from thorax.recipe.literals import ForeignKind
from thorax.recipe.schema import Network, Preparation

__all__ = ["ForeignNet", "probe_image", "read_foreign", "write_imported"]

_WEIGHTS = "weights.safetensors"

_TOLERANCE = 1e-3
"""Largest difference of logits in the self-test, relative to the largest logit if that is above 1.

float32 sums in another order differ by less.
"""


@dataclass(frozen=True, kw_only=True)
class ForeignNet:
    """A foreign checkpoint, loaded into a `Classifier`.

    Attributes:
        model: The network; its `weights` are "none", since they are in `classifier`.
        preparation: How the source prepared its input.
        findings: The findings in the order of the outputs, without those that the source never trained.
        classifier: The network with the source's weights, in evaluation mode.
        thresholds: The source's own thresholds on probabilities, by name of the finding; empty if it has
            none.
        source: The origin of the weights, for people.
        sha256: SHA-256 of the checkpoint.
        difference: Result of the self-test: the largest difference between our logits and those of the
            source's own architecture on a probe image.
        compared_with: That architecture, for people.
        notes: Caveats for comparing results with the source's.
    """

    model: Network
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
    """Read another project's checkpoint into a `Classifier`.

    No code in a pickle is run. Every tensor must match by name and shape, or the file is refused.

    Args:
        path: A safetensors file, one written by `torch.save`, or an HDF5 file of Keras.
        kind: The project that it comes from.
        options: What only the user can know.

    Raises:
        BundleError: The file cannot be read, holds more than weights, or does not match the network; or
            the source's own architecture gives other logits.
        RecipeError: An option that only the user can know is missing or invalid.
    """
    options = options or ForeignOptions()
    file = read_keras_file(path) if kind == "keras" else read_weights_file(path)
    source = _describe(file, kind, options)
    labels = _labels(source, options, path)
    trained = [output for output, label in enumerate(labels) if label]
    findings = tuple(finding_or_new(labels[output]) for output in trained)
    _refuse_duplicates(findings, path)
    classifier = _load_classifier(source, trained, path)
    difference = _self_test(source, classifier, trained, path)
    thresholds = source.thresholds or (None,) * len(labels)
    pairs = zip(findings, (thresholds[output] for output in trained), strict=True)
    return ForeignNet(
        model=source.model,
        preparation=source.preparation,
        findings=findings,
        classifier=classifier,
        thresholds={finding.name: threshold for finding, threshold in pairs if threshold is not None},
        source=f"{source.text}, from {path.name}",
        sha256=sha256_of_file(path),
        difference=difference,
        compared_with=source.architecture,
        notes=source.notes,
    )


def probe_image(size: int) -> Images:
    """Return the image of the self-test: a ramp with noise, in [0, 1], identical on every machine."""
    index = torch.arange(size * size, dtype=torch.float64).reshape(1, 1, size, size)
    ramp = index / (size * size - 1)
    # Not a random generator, whose numbers may change with the version of torch.
    noise = torch.frac(torch.sin(index * 12.9898) * 43758.5453).abs()
    return (0.7 * ramp + 0.3 * noise).float()


def _describe(file: WeightsFile, kind: ForeignKind, options: ForeignOptions) -> ForeignCheckpoint:
    match kind:
        case "chexnet-torchvision":
            describe = chexnet
        case "torchxrayvision":
            describe = torchxrayvision
        case "torchvision":
            describe = torchvision
        case "keras":
            describe = keras
        case "timm":
            describe = timm_net
        case "mae":
            describe = mae
        case "eva-x":
            describe = eva_x
        case _:
            assert_never(kind)
    return describe(file, options)


def _labels(source: ForeignCheckpoint, options: ForeignOptions, path: Path) -> tuple[str, ...]:
    """Return the name of each output; empty where it was not trained."""
    outputs = source.head.num_outputs
    if options.findings is not None:
        if len(options.findings) != outputs:
            raise RecipeError(
                f"{len(options.findings)} findings were named for the {outputs} outputs of {path}; "
                "name the finding of every output, in order, empty where an output is to be left out"
            )
        return tuple("" if finding is None else finding.name for finding in options.findings)
    if source.labels is None:
        raise RecipeError(
            f"the meaning of the {outputs} outputs of {path} is unknown; name the finding of each output, in "
            "order, with `findings`"
        )
    return source.labels


def _refuse_duplicates(findings: Findings, path: Path) -> None:
    duplicates = sorted({finding.name for finding in findings if findings.count(finding) > 1})
    if duplicates or not findings:
        problem = f"two outputs for {', '.join(duplicates)}" if duplicates else "no output with a finding"
        raise BundleError(f"{path} has {problem}; name the finding of each output, in order, with `findings`")


def _load_classifier(source: ForeignCheckpoint, trained: list[int], path: Path) -> Classifier:
    classifier = build_classifier(source.model, len(trained))
    expected = classifier.state_dict()
    constants = {name: expected[name] for name in ("mean", "std")}
    given = {f"backbone.{name}": tensor for name, tensor in source.tensors.items()}
    given |= {f"head.{name}": tensor for name, tensor in source.head.tensors(trained).items()}
    classifier.load_state_dict(match_tensors(expected, constants | given, path=path))
    return classifier.eval()


def _self_test(source: ForeignCheckpoint, classifier: Classifier, trained: list[int], path: Path) -> float:
    """Return the largest difference between our logits and those of the source's own architecture."""
    net, tensors = source.build()
    net.load_state_dict(match_tensors(net.state_dict(), tensors, path=path))
    net.eval()
    probe = probe_image(source.model.input_size)
    with torch.inference_mode():
        expected: Tensor = net(source.normalize(probe))[:, trained]
        difference = float((classifier(probe) - expected).abs().max())
    # Written so that a NaN fails too.
    if not difference <= _TOLERANCE * max(1.0, float(expected.abs().max())):
        raise BundleError(
            f"{path} gives other logits here than in {source.architecture} (by {difference:.3g} on the probe "
            "image), so it was not imported; give only the arguments that the network was built with, or "
            "report this with the versions of torch and timm"
        )
    return difference


def write_imported(checkpoint: ForeignNet, out: Path, *, name: str) -> Bundle:
    """Write an imported checkpoint as a bundle: not calibrated, with the thresholds of the source.

    Args:
        checkpoint: What `read_foreign` returned.
        out: Folder of the bundle.
        name: Name of the model.
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
    thresholds = {finding: checkpoint.thresholds.get(finding) for finding in names}
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
