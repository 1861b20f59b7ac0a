"""CheXNet re-implementations in torch: torchvision's DenseNet under the names of its time."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from thorax.checkpoints.foreign_net import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ForeignCheckpoint,
    ForeignOptions,
    classifier_of,
    depth_of,
    settings,
)
from thorax.checkpoints.torchvision_nets import torchvision_checkpoint, with_new_names
from thorax.checkpoints.weights_file import WeightsFile, without_prefixes
from thorax.findings import NIH14

__all__ = ["chexnet", "densenet_name"]

_WRAPPERS = ("module.", "_orig_mod.", "model.", "densenet121.", "densenet169.", "densenet201.")

_BY_BLOCKS: dict[tuple[int, ...], str] = {
    (6, 12, 24, 16): "densenet121",
    (6, 12, 32, 32): "densenet169",
    (6, 12, 48, 32): "densenet201",
    (6, 12, 36, 24): "densenet161",
}

_TEN_CROPS = "its users prepared 256 pixels and averaged ten crops of 224; here the whole image is one view"


def chexnet(file: WeightsFile, options: ForeignOptions) -> ForeignCheckpoint:
    """Describe a DenseNet of a CheXNet re-implementation.

    arnoweng/CheXNet and zoogzog/chexnet save {"state_dict": ...} with the names
    module.densenet121.features.denseblock1.denselayer1.norm.1.weight; jrzech/reproduce-chexnet pickles the
    whole net. All three have ImageNet's normalisation, a sigmoid behind the classifier, and 14 outputs in
    CheXNet's order (model.py, ChexnetTrainer.py and cxr_dataset.py of these repositories).
    """
    tensors = with_new_names(without_prefixes(file.tensors, _WRAPPERS))
    rest, weight, bias = classifier_of(tensors, ("classifier.0", "classifier"), path=file.path)
    name = densenet_name(rest)
    model, preparation = settings(
        {"backbone": name, "channels": 3, "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
        options,
        # jrzech resizes to 224; the others to 256, from which they crop.
        size=None if file.whole_net else 256,
    )
    checkpoint = torchvision_checkpoint(
        name,
        (model, preparation),
        (rest, weight, bias),
        classifier="classifier",
        labels=tuple(finding.name for finding in NIH14) if len(bias) == len(NIH14) else None,
        text=f"a {name} of a CheXNet re-implementation",
    )
    return checkpoint if file.whole_net else replace(checkpoint, notes=(_TEN_CROPS,))


def densenet_name(tensors: Mapping[str, Tensor]) -> str:
    """Return which of torchvision's DenseNets has these tensors, by the number of its layers."""
    blocks = tuple(depth_of(tensors, f"features.denseblock{block}") for block in (1, 2, 3, 4))
    # Whatever else it is: the list of what does not fit will say more than a count of layers.
    return _BY_BLOCKS.get(blocks, "densenet121")
