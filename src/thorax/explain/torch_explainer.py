"""The explainer that computes with torch: every method, on any device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from thorax.arrays import Attribution, Pixels, PixelsBatch
from thorax.bundle import Bundle
from thorax.errors import RecipeError
from thorax.explain.choices import Maps, Method
from thorax.explain.explainer import refuse_unknown
from thorax.explain.faithfulness import CELLS, Faithfulness, faithfulness
from thorax.explain.methods import explain
from thorax.explain.net import enlarged
from thorax.findings import Finding, Findings
from thorax.inference.torch_engine import load_member
from thorax.models import Classifier, pick_device, to_input

__all__ = ["TorchExplainer"]

_BATCH: Final = 8
"""Images that are explained together: a last map of 16 x 16 places and its gradient take 8 MB for these."""


@dataclass(frozen=True)
class _Net:
    classifier: Classifier
    input_size: int
    findings: tuple[str, ...]
    weight: float


class TorchExplainer:
    """A bundle's nets in torch; see `Explainer`.

    Args:
        bundle: Whose nets.
        device: "cpu", "cuda"..., or "auto" for a GPU where there is one.

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
        """Return the maps of findings (n, k, s, s) on prepared pixels (n, s, s); see `Explainer`."""
        refuse_unknown(self.bundle, findings)
        blocks = [pixels[first : first + _BATCH] for first in range(0, len(pixels), _BATCH)]
        return np.concatenate([self._block(block, findings, method=method, seed=seed) for block in blocks])

    def faithfulness(
        self,
        pixels: Pixels,
        finding: Finding,
        *,
        attributions: Sequence[Attribution],
        cells: int = CELLS,
        seed: int = 0,
    ) -> tuple[Faithfulness, ...]:
        """Return the deletion and insertion curves of maps (s, s) of a finding on one image (s, s).

        Raises:
            RecipeError: The bundle has several nets; their probability is of no one input.
            DataError: The bundle does not know the finding, or a map is not of the image's size.
        """
        refuse_unknown(self.bundle, (finding,))
        if len(self._nets) > 1:
            raise RecipeError(
                f"{self.bundle.folder} is an ensemble of {len(self._nets)} nets, and deletion and insertion "
                "are of one net; measure the bundles that it was made of"
            )
        (net,) = self._nets
        resized = enlarged(torch.from_numpy(np.stack(attributions))[None], net.input_size)[0].numpy()
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
            total += net.weight * enlarged(torch.from_numpy(maps), pixels.shape[-1]).numpy()
        return total
