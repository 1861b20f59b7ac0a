"""Which explainer a bundle gets. Where exported nets give what is asked, torch is never imported."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from thorax.bundle import Bundle
from thorax.bundle.manifest import Exported
from thorax.errors import MissingExtra
from thorax.explain.methods import Explainer, Method, best_method
from thorax.inference.engines import on_cpu
from thorax.packages import install_line

if TYPE_CHECKING:
    from thorax.explain.torch_explainer import TorchExplainer

__all__ = ["open_explainer", "open_torch_explainer"]


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
        from thorax.explain.onnx_explainer import OnnxExplainer  # noqa: PLC0415  (only where it is used)

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
