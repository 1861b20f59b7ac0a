"""Checkpoints of TorchXRayVision's classifiers, with the thresholds of its published weights."""

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from thorax.checkpoints.foreign_head import split_classifier
from thorax.checkpoints.foreign_net import ForeignCheckpoint, ForeignOptions, resolve_settings
from thorax.checkpoints.torchvision_names import densenet_name
from thorax.checkpoints.torchvision_nets import modernized, torchvision_checkpoint
from thorax.checkpoints.weights_file import WeightsFile
from thorax.errors import BundleError, RecipeError
from thorax.models.tensors import Images

__all__ = ["OUTPUTS", "WEIGHTS", "PublishedWeights", "torchxrayvision"]

OUTPUTS = (
    "Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis",
    "Effusion", "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion",
    "Fracture", "Lung Opacity", "Enlarged Cardiomediastinum",
)  # fmt: skip
"""The 18 outputs that all these networks have, in order."""


@dataclass(frozen=True)
class PublishedWeights:
    """One set of published weights.

    Attributes:
        file: Name of the file that TorchXRayVision downloads.
        thresholds: For each output, the probability that TorchXRayVision displays as 0.5 ("op_threshs").
            None if it has none: it then displays 0.5 for every image, since the output was not trained.
    """

    file: str
    thresholds: tuple[float | None, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The finding of each output; empty where it was not trained."""
        pairs = zip(OUTPUTS, self.thresholds, strict=True)
        return tuple("" if threshold is None else name for name, threshold in pairs)


def _densenet(data: str, thresholds: tuple[float | None, ...]) -> PublishedWeights:
    return PublishedWeights(f"{data}-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt", thresholds)


WEIGHTS = {
    "densenet121-res224-all": _densenet("nih-pc-chex-mimic_ch-google-openi-kaggle", (
        0.07422872, 0.038290843, 0.09814756, 0.0098118475, 0.023601074, 0.0022490358, 0.010060724,
        0.103246614, 0.056810737, 0.026791653, 0.050318155, 0.023985857, 0.01939503, 0.042889766,
        0.053369623, 0.035975814, 0.20204692, 0.05015312,
    )),
    "densenet121-res224-nih": _densenet("nih", (
        0.039117552, 0.0034529066, 0.11396341, 0.0057298196, 0.00045666535, 0.0018880932,
        0.012037827, 0.038744126, 0.0037213727, 0.014730946, 0.016149804, 0.054241467, 0.037198864,
        0.0004403434, None, None, None, None,
    )),
    "densenet121-res224-pc": _densenet("pc", (
        0.031012505, 0.013347598, 0.081435576, 0.001262615, 0.002587246, 0.0035944257, 0.0023071,
        0.055412333, 0.044385884, 0.042766232, 0.043258056, 0.037629247, 0.005658899, 0.0091741895,
        None, 0.026507627, None, None,
    )),
    "densenet121-res224-chex": _densenet("chex", (
        0.1988969, 0.05710573, None, 0.0531293, 0.1435217, None, None, 0.27212676, 0.07749717, None,
        0.19712369, None, None, None, 0.09932402, 0.09273402, 0.3270967, 0.10888247,
    )),
    "densenet121-res224-rsna": _densenet("kaggle", (
        None, None, None, None, None, None, None, None, 0.13486601, None, None, None, None, None,
        None, None, 0.13511065, None,
    )),
    "densenet121-res224-mimic_nb": _densenet("mimic_nb", (
        0.08558747, 0.011884617, None, 0.0040595434, 0.010733786, None, None, 0.118761964,
        0.022924708, None, 0.06358637, None, None, None, 0.022143636, 0.017476924, 0.1258702,
        0.014020768,
    )),
    "densenet121-res224-mimic_ch": _densenet("mimic_ch", (
        0.09121389, 0.010573786, None, 0.005023008, 0.003698257, None, None, 0.08001232,
        0.037242252, None, 0.05006329, None, None, None, 0.019866971, 0.03823637, 0.11303808,
        0.0069147074,
    )),
    "resnet50-res512-all": PublishedWeights("pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt", (
        0.51570356, 0.50444704, 0.53787947, 0.50723547, 0.5025118, 0.5035252, 0.5038076, 0.51862943,
        0.5078151, 0.50724894, 0.5056339, 0.510706, 0.5053923, 0.5020846, None, 0.5080557,
        0.5138526, None,
    )),
}  # fmt: skip
"""Every set of classifier weights, by TorchXRayVision's name."""

_SHORT_NAMES = {
    **{name.removeprefix("densenet121-res224-"): name for name in WEIGHTS if name.startswith("densenet121")},
    "resnet50": "resnet50-res512-all",
}
"""The data that weights were trained on, or the network where there is one set, and their full names."""

_NOT_RESCALED = (
    "TorchXRayVision rescales probabilities so that each operating point becomes 0.5 (op_norm); here they "
    "are not rescaled, and the operating points are thresholds: for equal pixels, rankings and decisions are "
    "the same"
)

# Measured by bench/torchxrayvision_resize.py; docs/experiments.md has the whole.
_OTHER_RESIZE = (
    "images are resized as everywhere in Thorax, not by TorchXRayVision's XRayResizer: on 14 NIH radiographs "
    "of 1024 pixels the gray levels differ by 1.4 (RMS; at most 25), so decisions near a threshold can "
    "differ: 92 of 980 in five networks with random weights and the medians of their outputs as thresholds"
)


def torchxrayvision(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a checkpoint of TorchXRayVision: its DenseNet-121, pickled whole or not, or its ResNet-50.

    The input has one channel in [-1024, 1024], from a central square (XRayCenterCrop, XRayResizer). What
    TorchXRayVision displays is not a probability: it rescales each sigmoid so that the operating point
    becomes 0.5. Here the sigmoid is kept, and the operating points become thresholds. Radiographs are
    resized by `imaging.prepare`, whose filter is another; a note says by how much the results differ.

    Labels and operating points come from the file if it has them (a pickled network: `pathologies`,
    `targets`, `op_threshs`); otherwise from the published weights identified by `options.backbone`, by the
    network, or by the name of the file.

    Raises:
        RecipeError: There are no published weights of that name.
        BundleError: The file holds no classifier, or labels of another network.
    """
    inner = modernized(file)
    own_points = inner.tensors.get("op_threshs")
    net = replace(
        inner, tensors={name: inner.tensors[name] for name in inner.tensors if name != "op_threshs"}
    )
    rest, head = split_classifier(net.unwrapped(), ("classifier", "fc"))
    dense = "features.conv0.weight" in rest
    name = densenet_name(rest) if dense else "resnet50"
    model, preparation = resolve_settings(
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
    _check_counts(file, head.num_outputs, labels=labels, points=points)
    if labels is None and options.findings is None:
        raise _unnamed_weights(file, name, head.num_outputs)
    checkpoint = torchvision_checkpoint(
        name,
        (model, preparation),
        (rest, head),
        labels=labels,
        text=f"TorchXRayVision's {published or name}",
    )
    return replace(
        checkpoint,
        thresholds=points,
        notes=(_NOT_RESCALED, _OTHER_RESIZE),
        architecture=f"torchvision's {name} with one input channel",
        normalize=_scaled,
    )


def _scaled(images: Images) -> Tensor:
    return (2 * images - 1) * 1024


def _published(file: WeightsFile, options: ForeignOptions) -> str | None:
    """Return TorchXRayVision's name of the weights, or None if it is not known."""
    if options.backbone is not None:
        name = _SHORT_NAMES.get(options.backbone, options.backbone)
        if name not in WEIGHTS:
            raise RecipeError(
                f"backbone {options.backbone!r} is not the name of TorchXRayVision's weights; "
                f"give one of {', '.join(WEIGHTS)}"
            )
        return name
    if (own := file.attributes.get("weights")) in WEIGHTS:
        return str(own)
    return next((name for name, weights in WEIGHTS.items() if weights.file == file.path.name), None)


def _unnamed_weights(file: WeightsFile, network: str, outputs: int) -> RecipeError:
    names = [name for name in WEIGHTS if name.startswith(network)] if outputs == len(OUTPUTS) else []
    published = f"their name as `backbone` ({', '.join(names)}) or " if names else ""
    return RecipeError(
        f"{file.path} holds the tensors of a {network} with {outputs} outputs, but neither the file nor its "
        "name says which of TorchXRayVision's weights they are, so the meaning of the outputs is unknown; "
        f"give {published}the finding of each output with `findings`, empty where an output was not trained"
    )


def _labels(file: WeightsFile) -> tuple[str, ...] | None:
    for name in ("pathologies", "targets"):
        labels = file.attributes.get(name)
        if isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels):
            return tuple(labels)
    return None


def _points(values: Any) -> tuple[float | None, ...]:
    if not isinstance(values, list) or not all(isinstance(point, float) for point in values):
        return ()
    return tuple(None if math.isnan(point) else point for point in values)


def _check_counts(
    file: WeightsFile, outputs: int, *, labels: tuple[str, ...] | None, points: tuple[float | None, ...]
) -> None:
    for what, count in (("labels", len(labels or ())), ("operating points", len(points))):
        if count not in {0, outputs}:
            raise BundleError(
                f"{file.path} has {outputs} outputs, but {count} {what}; "
                "give the name of its weights as `backbone`"
            )
    if outside := [point for point in points if point is not None and not 0 <= point <= 1]:
        raise BundleError(
            f"{file.path} has the operating point {outside[0]:g}, which is not a probability; "
            "give another `kind`"
        )
