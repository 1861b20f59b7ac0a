"""A bundle's explanations: maps of named findings on prepared images."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from thorax.arrays import PixelsBatch
from thorax.bundle import Bundle
from thorax.errors import DataError
from thorax.explain.methods import Maps, Method, explain
from thorax.explain.net import enlarged
from thorax.findings import Findings
from thorax.inference.torch_engine import load_member
from thorax.models import Classifier, pick_device, to_input

__all__ = ["Explainer"]

_BATCH: Final = 8
"""Images that are explained together: a last map of 16 x 16 places and its gradient take 8 MB for these."""


@dataclass(frozen=True)
class _Net:
    classifier: Classifier
    input_size: int
    findings: tuple[str, ...]
    weight: float


class Explainer:
    """A bundle's nets, to be asked where they see a finding.

    A member is shown the whole image as it is, once, whatever its test-time augmentation; the maps of several
    members are averaged with the ensemble's weights. For CAM, that is exact where `Bundle.exact_cam` says so:
    the mean of a map over its places plus a bias is the bundle's logit. Elsewhere it is an approximation.

    Args:
        bundle: Whose nets.
        device: "cpu", "cuda"..., or "auto" for a GPU where there is one.

    Raises:
        RecipeError: There is no such device.
        BundleError: The weights do not fit the architecture that the manifest names.
    """

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

    @property
    def best_method(self) -> Method:
        """The exact CAM where every member has one, else Grad-CAM."""
        return "cam" if all(net.classifier.exact_cam for net in self._nets) else "grad-cam"

    def maps(self, pixels: PixelsBatch, findings: Findings, *, method: Method, seed: int = 0) -> Maps:
        """Return the maps of findings (n, k, s, s) on prepared pixels (n, s, s).

        Args:
            pixels: Images, prepared as the bundle wants them.
            findings: Some of the bundle's, in any order.
            method: See `methods.explain`.
            seed: Of the methods that draw.

        Raises:
            DataError: The bundle does not know one of the findings.
            RecipeError: The method does not go with a net.
        """
        self._refuse_unknown(findings)
        blocks = [pixels[first : first + _BATCH] for first in range(0, len(pixels), _BATCH)]
        return np.concatenate([self._block(block, findings, method=method, seed=seed) for block in blocks])

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

    def _refuse_unknown(self, findings: Findings) -> None:
        unknown = [finding.name for finding in findings if finding not in self.bundle.findings]
        if unknown or not findings:
            known = ", ".join(finding.name for finding in self.bundle.findings)
            raise DataError(
                f"{' and '.join(unknown) or 'no finding'} cannot be explained by the bundle "
                f"{self.bundle.folder}; ask for some of its findings: {known}"
            )
