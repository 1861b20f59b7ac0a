"""The explainer that takes the exact CAM from exported nets, on a CPU. No torch."""

from typing import Final

import numpy as np

from thorax.arrays import PixelsBatch
from thorax.bundle import Bundle
from thorax.bundle.manifest import Exported
from thorax.errors import RecipeError
from thorax.explain.geometry import enlarge_arrays
from thorax.explain.methods import Maps, Method, refuse_unknown
from thorax.findings import Findings
from thorax.inference.onnx_engine import OnnxEngine

__all__ = ["OnnxExplainer"]

_BATCH: Final = 8
"""Images that are explained together: 14 maps of each at 1024 pixels take 470 MB."""


class OnnxExplainer:
    """A bundle's nets in onnxruntime, with their exact CAM and no other method; see `Explainer`.

    Args:
        bundle: Whose nets.
        exported: Its engine whose nets all have a CAM.
        threads: Of each run; None: OMP_NUM_THREADS, or every core.

    Raises:
        BundleError: A file is nothing that this onnxruntime can run.
    """

    library = "onnxruntime"

    def __init__(self, bundle: Bundle, exported: Exported, *, threads: int | None = None) -> None:
        self.bundle = bundle
        self._engine = OnnxEngine(bundle.exported_files(exported), threads=threads)

    def maps(self, pixels: PixelsBatch, findings: Findings, *, method: Method, seed: int = 0) -> Maps:
        """Return the maps of findings (n, k, s, s) on prepared pixels (n, s, s); see `Explainer`.

        The seed changes nothing: the exact CAM draws nothing.
        """
        del seed
        refuse_unknown(self.bundle, findings)
        if method != "cam":
            raise RecipeError(
                f"an exported net gives its exact CAM and no {method}; take the method cam, or torch"
            )
        blocks = [pixels[first : first + _BATCH] for first in range(0, len(pixels), _BATCH)]
        return np.concatenate([self._block(block, findings) for block in blocks])

    def _block(self, pixels: PixelsBatch, findings: Findings) -> Maps:
        members, ensemble = self.bundle.manifest.members, self.bundle.manifest.ensemble
        weights = (1.0,) if ensemble is None else ensemble.weights
        total = np.zeros((len(pixels), len(findings), *pixels.shape[1:]), dtype=np.float32)
        cams = self._engine.activation_maps(pixels)
        for member, weight, cam in zip(members, weights, cams, strict=True):
            columns = [member.findings.index(finding.name) for finding in findings]
            # By way of the net's input size, as with torch: another way would give other numbers.
            at_input = enlarge_arrays(cam[:, columns], member.model.input_size, member.places)
            total += np.float32(weight) * enlarge_arrays(at_input, pixels.shape[-1])
        return total
