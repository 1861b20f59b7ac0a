"""The engine that computes logits with torch, on a CPU or a GPU."""

import numpy as np
import torch

from thorax.arrays import PixelsBatch, Scores
from thorax.bundle import Bundle
from thorax.errors import BundleError, RecipeError
from thorax.models import build_classifier, load_weights, pick_device, to_input

__all__ = ["TorchEngine"]


class TorchEngine:
    """A bundle's net in torch.

    Args:
        bundle: Whose net.
        device: "cpu", "cuda"..., or "auto" for a GPU where there is one.

    Raises:
        RecipeError: There is no such device.
        BundleError: The weights do not fit the architecture that the manifest names.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto") -> None:
        member = bundle.manifest.members[0]
        self._device = pick_device(device)
        self._input_size = member.model.input_size
        model = member.model.model_copy(update={"weights": "none"})
        try:
            classifier = build_classifier(model, len(bundle.findings))
        except RecipeError as error:
            made_with = bundle.manifest.provenance.versions.get("timm", "another version")
            raise BundleError(
                f"the net of {bundle.folder}, made with timm {made_with}, cannot be built here: {error}"
            ) from error
        load_weights(classifier, bundle.folder / member.weights)
        self._classifier = classifier.to(self._device).eval()

    def logits(self, pixels: PixelsBatch) -> Scores:
        """Return the logits (n, k) of prepared pixels (n, s, s)."""
        with torch.inference_mode():
            images = to_input(torch.from_numpy(pixels).to(self._device), self._input_size)
            logits: Scores = self._classifier(images).float().cpu().numpy().astype(np.float64)
        return logits
