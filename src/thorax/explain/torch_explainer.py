"""The torch explainer: every method, on any device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import numpy as np
import torch

from thorax.arrays import Attribution, Pixels, PixelsBatch
from thorax.bundle import Bundle
from thorax.errors import RecipeError
from thorax.explain.attributions import (
    attention_rollout,
    gradient_rollout,
    integrated_gradients,
    occlusion,
    rise,
    smooth_grad,
)
from thorax.explain.cam import MapsTensor, eigen_cam, enlarge_maps, exact_cam, gradient_cam
from thorax.explain.explainers import Maps, Method, finite_maps, refuse_unknown
from thorax.explain.faithfulness import CELLS, Faithfulness, faithfulness
from thorax.findings import Finding, Findings
from thorax.inference.torch_engine import load_member
from thorax.models import Classifier, pick_device, to_input
from thorax.models.tensors import Images

__all__ = ["TorchExplainer", "explain"]


def explain(
    classifier: Classifier, images: Images, columns: Sequence[int], *, method: Method, seed: int = 0
) -> Maps:
    """Return maps of some outputs of a network, at its input size.

    The network may be in any mode and on any device. It is left unchanged, without hooks or gradients. The
    maps of an image do not depend on the rest of the batch. The settings of a method are the defaults of its
    function in this package.

    Args:
        classifier: The network.
        images: Images at its input size, on its device.
        columns: Indices of the outputs.
        method: The method; those of `NOT_OF_A_FINDING` give one map for all columns.
        seed: Seed of the random methods, smooth-grad and rise.

    Returns:
        The maps. Larger values support the finding more. Negative values are evidence against it, with cam,
        hirescam, integrated-gradients, occlusion and rise; the other methods have none.

    Raises:
        RecipeError: The network does not support the method; the message names one that it supports.
    """
    maps = _maps(classifier, images, columns, method=method, seed=seed)
    return maps.detach().expand(-1, len(columns), -1, -1).float().cpu().numpy()


def _maps(  # noqa: PLR0911  (one return per method)
    classifier: Classifier, images: Images, columns: Sequence[int], *, method: Method, seed: int
) -> MapsTensor:
    match method:
        case "cam":
            return exact_cam(classifier, images, columns)
        case "grad-cam" | "grad-cam++" | "hirescam" | "layer-cam":
            return gradient_cam(classifier, images, columns, method=method)
        case "eigen-cam":
            return eigen_cam(classifier, images)
        case "rollout":
            return attention_rollout(classifier, images)
        case "gradient-rollout":
            return gradient_rollout(classifier, images, columns)
        case "integrated-gradients":
            return integrated_gradients(classifier, images, columns)
        case "smooth-grad":
            return smooth_grad(classifier, images, columns, seed=seed)
        case "occlusion":
            return occlusion(classifier, images, columns)
        case "rise":
            return rise(classifier, images, columns, seed=seed)
    assert_never(method)


_BATCH: Final = 8
"""Images explained together: their feature maps of 16 x 16 locations and gradients take 8 MB."""


@dataclass(frozen=True)
class _Net:
    classifier: Classifier
    input_size: int
    findings: tuple[str, ...]
    weight: float


class TorchExplainer:
    """A bundle's networks in torch; see `Explainer`.

    Args:
        bundle: The bundle.
        device: "cpu", "cuda", "cuda:N", or "auto" for a GPU if there is one.

    Raises:
        RecipeError: There is no such device.
        BundleError: The weights do not fit the architecture that the manifest names.
    """

    library = "torch"

    def __init__(self, bundle: Bundle, *, device: str = "auto") -> None:
        self.bundle = bundle
        self._device = pick_device(device)
        members, ensemble = bundle.manifest.members, bundle.manifest.ensemble
        weights = (1.0,) if ensemble is None else ensemble.weights
        self._nets = [
            _Net(
                load_member(bundle, member).to(self._device).eval(),
                member.model.input_size,
                member.findings,
                weight,
            )
            for member, weight in zip(members, weights, strict=True)
        ]

    def maps(self, pixels: PixelsBatch, findings: Findings, *, method: Method, seed: int = 0) -> Maps:
        """Return the maps of findings (n, k, s, s) for prepared pixels (n, s, s); see `Explainer`."""
        refuse_unknown(self.bundle, findings)
        blocks = [pixels[first : first + _BATCH] for first in range(0, len(pixels), _BATCH)]
        maps = [self._block(block, findings, method=method, seed=seed) for block in blocks]
        return finite_maps(self.bundle, np.concatenate(maps))

    def faithfulness(
        self,
        pixels: Pixels,
        finding: Finding,
        *,
        attributions: Sequence[Attribution],
        cells: int = CELLS,
        seed: int = 0,
    ) -> tuple[Faithfulness, ...]:
        """Return the deletion and insertion curves of a finding's maps (s, s) on one image (s, s).

        Raises:
            RecipeError: The bundle has several networks, whose inputs may differ.
            DataError: The bundle does not predict the finding, or a map has another size than the image.
        """
        refuse_unknown(self.bundle, (finding,))
        if len(self._nets) > 1:
            raise RecipeError(
                f"{self.bundle.folder} is an ensemble of {len(self._nets)} networks, but deletion and "
                "insertion need a single one; measure the bundles that it was built from"
            )
        (net,) = self._nets
        resized = enlarge_maps(torch.from_numpy(np.stack(attributions))[None], net.input_size)[0].numpy()
        return faithfulness(
            net.classifier,
            to_input(torch.from_numpy(pixels[None]).to(self._device), net.input_size),
            net.findings.index(finding.name),
            attributions=list(resized),
            cells=cells,
            seed=seed,
        )

    def _block(self, pixels: PixelsBatch, findings: Findings, *, method: Method, seed: int) -> Maps:
        images = torch.from_numpy(pixels).to(self._device)
        total = np.zeros((len(pixels), len(findings), *pixels.shape[1:]), dtype=np.float32)
        for net in self._nets:
            columns = [net.findings.index(finding.name) for finding in findings]
            maps = explain(
                net.classifier, to_input(images, net.input_size), columns, method=method, seed=seed
            )
            total += net.weight * enlarge_maps(torch.from_numpy(maps), pixels.shape[-1]).numpy()
        return total
