"""Which explainer a bundle gets. Where exported nets give what is asked, torch is never imported."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from thorax.arrays import PixelsBatch
from thorax.bundle import Bundle
from thorax.bundle.manifest import Exported
from thorax.errors import MissingExtra, RecipeError
from thorax.explain.geometry import enlarge_arrays
from thorax.explain.methods import Explainer, Maps, Method, best_method, refuse_unknown
from thorax.findings import Findings
from thorax.inference.engines import on_cpu
from thorax.inference.exported_engines import OnnxEngine
from thorax.packages import install_line

if TYPE_CHECKING:
    from thorax.explain.torch_explainer import TorchExplainer


__all__ = ["OnnxExplainer", "open_explainer", "open_torch_explainer"]

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


def open_explainer(
    bundle: Bundle, *, methods: Sequence[Method] = (), device: str = "auto", threads: int | None = None
) -> Explainer:
    """Return what explains a bundle by some methods.

    That is onnxruntime where the exact CAM alone is asked for, on a CPU, and the bundle's exported nets have
    it as an output; else torch.

    Args:
        bundle: Which bundle.
        methods: All that it will be asked for; none: the `best_method`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: Of an exported engine; None: OMP_NUM_THREADS, or every core.

    Raises:
        MissingExtra: It takes torch, which is not installed.
        BundleError: Weights and manifest do not fit.
        RecipeError: There is no such device.
    """
    asked = tuple(methods) or (best_method(bundle),)
    exported = _exported_cam(bundle)
    if exported is not None and set(asked) == {"cam"} and on_cpu(device):
        from thorax.explain.explainers import OnnxExplainer  # noqa: PLC0415  (only where it is used)

        return OnnxExplainer(bundle, exported, threads=threads)
    return open_torch_explainer(bundle, methods=asked, device=device)


def open_torch_explainer(bundle: Bundle, *, methods: Sequence[Method], device: str) -> "TorchExplainer":
    """Return the explainer that computes with torch, which is what deletion and insertion need.

    Raises:
        MissingExtra: Torch is not installed.
        BundleError: Weights and manifest do not fit.
        RecipeError: There is no such device.
    """
    try:
        from thorax.explain.torch_explainer import TorchExplainer  # noqa: PLC0415  (seconds and 200 MB)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"explaining {bundle.folder} by {' and '.join(methods)} needs torch, and {error.name} is not "
            f"installed here; {_way_out(bundle)}"
        ) from error
    return TorchExplainer(bundle, device=device)


def _exported_cam(bundle: Bundle) -> Exported | None:
    """Return the exported engine that gives every member's exact CAM; None where there is none."""
    for each in bundle.manifest.engines:
        if (each.kind, each.precision) == ("onnx", "float32") and all(net.cam for net in each.nets):
            return each
    return None


def _way_out(bundle: Bundle) -> str:
    install = f"install it with {install_line('train')}"
    if _exported_cam(bundle) is not None:
        return f"{install}, or take `method=cam` with `device=cpu`, which the exported net gives without it"
    if not all(member.exact_cam for member in bundle.manifest.members):
        return f"{install}: only an exact CAM can be had without, and the bundle's head allows none"
    if not all(member.test_time.is_plain for member in bundle.manifest.members):
        return f"{install}: a net that is exported with several views gives no CAM"
    return f"{install}, or export the bundle where torch is installed: an exported net gives its exact CAM"
