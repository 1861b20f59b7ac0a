"""TorchXRayVision's classifiers: one channel in [-1024, 1024], 18 outputs, operating points."""

import math
from typing import Any

from torch import Tensor

from thorax.errors import BundleError, RecipeError
from thorax.models.legacy.chexnet import densenet_name
from thorax.models.legacy.source import ForeignOptions, Source, classifier_of, settings
from thorax.models.legacy.torchvision_nets import build_torchvision, with_new_names
from thorax.models.legacy.torchxrayvision_facts import WEIGHTS
from thorax.models.legacy.weights_file import WeightsFile, without_prefixes
from thorax.models.tensors import Images

__all__ = ["torchxrayvision"]

_BENT = (
    "TorchXRayVision shows each operating point as 0.5 (op_norm); here probabilities are not bent, and the "
    "operating points are thresholds: images rank the same and fall on the same side"
)


def torchxrayvision(file: WeightsFile, options: ForeignOptions) -> Source:
    """Describe a net of TorchXRayVision: its DenseNet-121, pickled whole or not, or its ResNet-50.

    Its users crop the central square and resize it (XRayCenterCrop, XRayResizer). What it shows is no
    probability: each output's sigmoid is bent so that its operating point becomes 0.5. Ours stays the
    sigmoid, and the operating points become thresholds.

    Labels and operating points are the file's own where it has them (a net that was pickled whole:
    `pathologies`, `targets`, `op_threshs`); else those of the published weights that `options.backbone`
    names, that the net names, or that the file is called.

    Raises:
        RecipeError: There are no published weights of that name.
        BundleError: The file holds no classifier, or labels of another net.
    """
    tensors = without_prefixes(file.tensors, ("module.", "_orig_mod.", "model."))
    own_points = tensors.pop("op_threshs", None)
    rest, weight, bias = classifier_of(with_new_names(tensors), ("classifier", "fc"), path=file.path)
    dense = "features.conv0.weight" in rest
    name = densenet_name(rest) if dense else "resnet50"
    model, preparation = settings(
        {
            "backbone": name,
            "channels": 1,
            "input_size": 224 if dense else 512,
            # (2 x - 1) * 1024 for pixels x in [0, 1] (torchxrayvision.utils.normalize).
            "mean": (0.5,),
            "std": (1 / 2048,),
        },
        options,
    )
    published = _published(file, options)
    points = _points(own_points.tolist() if own_points is not None else file.attributes.get("op_threshs"))
    labels = _labels(file)
    if published:
        labels, points = labels or WEIGHTS[published].labels, points or WEIGHTS[published].thresholds
    _check_counts(file, len(bias), labels=labels, points=points)
    classifier = "classifier" if dense else "fc"
    own = {**rest, f"{classifier}.weight": weight, f"{classifier}.bias": bias}
    return Source(
        model=model,
        preparation=preparation,
        tensors=rest,
        weight=weight,
        bias=bias,
        labels=labels,
        thresholds=points,
        text=f"TorchXRayVision's {published or name}",
        notes=(_BENT,),
        architecture=f"torchvision's {name} with one input channel",
        build=lambda: (build_torchvision(name, model, outputs=len(bias)), own),
        normalise=_scaled,
    )


def _scaled(images: Images) -> Tensor:
    return (2 * images - 1) * 1024


def _published(file: WeightsFile, options: ForeignOptions) -> str | None:
    """Return TorchXRayVision's name of the weights, or None if nobody says it."""
    if options.backbone is not None:
        if options.backbone not in WEIGHTS:
            raise RecipeError(
                f"backbone {options.backbone!r} names no weights of TorchXRayVision; "
                f"give one of {', '.join(WEIGHTS)}"
            )
        return options.backbone
    if (own := file.attributes.get("weights")) in WEIGHTS:
        return str(own)
    return next((name for name, weights in WEIGHTS.items() if weights.file == file.path.name), None)


def _labels(file: WeightsFile) -> tuple[str, ...] | None:
    for name in ("pathologies", "targets"):
        found = file.attributes.get(name)
        if isinstance(found, list) and found and all(isinstance(label, str) for label in found):
            return tuple(found)
    return None


def _points(found: Any) -> tuple[float | None, ...]:
    if not isinstance(found, list) or not all(isinstance(point, float) for point in found):
        return ()
    return tuple(None if math.isnan(point) else point for point in found)


def _check_counts(
    file: WeightsFile, outputs: int, *, labels: tuple[str, ...] | None, points: tuple[float | None, ...]
) -> None:
    for what, count in (("labels", len(labels or ())), ("operating points", len(points))):
        if count not in {0, outputs}:
            raise BundleError(
                f"{file.path} has {outputs} outputs, but {count} {what}; "
                "name the weights that it is with --backbone"
            )
    if outside := [point for point in points if point is not None and not 0 <= point <= 1]:
        raise BundleError(
            f"{file.path} has the operating point {outside[0]:g}, which is no probability; give another kind"
        )
