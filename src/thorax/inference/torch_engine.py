"""The torch engine: logits on a CPU or GPU."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thorax.arrays import PixelsBatch
from thorax.bundle import Bundle, Member
from thorax.errors import BundleError, RecipeError
from thorax.inference.pooling import ViewLogits
from thorax.models import Classifier, build_classifier, load_weights, no_larger_than, pick_device
from thorax.models.tensors import Images, PixelsTensor, full_float32
from thorax.models.test_time_views import apply_view, views
from thorax.recipe.schema import TestTime

__all__ = ["TorchEngine", "load_member", "view_logits"]


@dataclass(frozen=True)
class _Net:
    classifier: Classifier
    input_size: int
    test_time: TestTime


class TorchEngine:
    """A bundle's networks in torch.

    Args:
        bundle: The bundle.
        device: "cpu", "cuda", "cuda:N", or "auto" for a GPU if there is one.

    Raises:
        RecipeError: There is no such device.
        BundleError: The weights do not fit the architecture that the manifest names.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto") -> None:
        self._device = pick_device(device)
        self._nets = [
            _Net(
                load_member(bundle, member).to(self._device).eval(), member.model.input_size, member.test_time
            )
            for member in bundle.manifest.members
        ]

    def logits(self, pixels: PixelsBatch) -> Sequence[ViewLogits]:
        """Return each member's logits (view, n, k) for prepared pixels (n, s, s)."""
        with full_float32():
            return [
                view_logits(
                    net.classifier,
                    torch.from_numpy(pixels).to(self._device),
                    input_size=net.input_size,
                    test_time=net.test_time,
                )
                for net in self._nets
            ]


def load_member(bundle: Bundle, member: Member) -> Classifier:
    """Build a member's network with its weights, on the CPU.

    Raises:
        BundleError: There are no weights, they do not fit, or the network cannot be built here.
    """
    weights = bundle.weights_of(member, "a network in torch")
    model = member.model.model_copy(update={"weights": "none"})
    try:
        with no_larger_than(weights):
            classifier = build_classifier(model, len(member.findings))
    except RecipeError as error:
        made_with = member.provenance.versions.get("timm", "another version")
        raise BundleError(
            f"the network of {bundle.folder}, made with timm {made_with}, cannot be built here: {error}"
        ) from error
    load_weights(classifier, weights)
    classifier.feature_grid = member.places
    return classifier


def view_logits(
    classifier: Callable[[Images], Tensor], pixels: PixelsTensor, *, input_size: int, test_time: TestTime
) -> ViewLogits:
    """Return the logits of each view of each image.

    Args:
        classifier: The network, in evaluation mode.
        pixels: Prepared images, on the network's device.
        input_size: Side of the network's input.
        test_time: Gives the views.
    """
    with torch.inference_mode():
        logits = [classifier(apply_view(pixels, view, input_size)).float() for view in views(test_time)]
        stacked = torch.stack(logits).cpu().numpy()
    return stacked.astype(np.float64)
