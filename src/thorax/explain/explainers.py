"""The methods that explain a bundle, and the choice of its explainer.

Torch is imported only if the exported networks do not suffice.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from thorax.arrays import PixelsBatch
from thorax.bundle import Bundle
from thorax.bundle.manifest import Exported
from thorax.errors import BundleError, DataError, MissingExtra, RecipeError
from thorax.explain.geometry import enlarge_arrays
from thorax.findings import Findings
from thorax.hardware import refuse_unknown_device
from thorax.inference.engines import serves
from thorax.inference.exported_engines import OnnxEngine
from thorax.packages import install_line
from thorax.recipe.literals import MAP_METHODS, MapMethod
from thorax.wording import did_you_mean

if TYPE_CHECKING:
    from thorax.explain.torch_explainer import TorchExplainer


__all__ = [
    "METHODS",
    "NOT_OF_A_FINDING",
    "Explainer",
    "Maps",
    "Method",
    "OnnxExplainer",
    "best_method",
    "finite_maps",
    "methods_named",
    "open_explainer",
    "open_torch_explainer",
    "reading_notes",
    "refuse_unknown",
]

Method = MapMethod

METHODS: Final[tuple[Method, ...]] = MAP_METHODS
"""Every method, from those that need one pass through the network to those that need hundreds."""

NOT_OF_A_FINDING: Final[frozenset[Method]] = frozenset({"eigen-cam", "rollout"})
"""Methods whose map is the same for every finding: they show where the network looks, not for what."""

Maps = Float32[np.ndarray, "n k height width"]
"""How much each location of an image supports each finding, in the method's unit, often the logit's."""


def best_method(bundle: Bundle) -> Method:
    """Return the exact CAM if every member has one, otherwise Grad-CAM."""
    return "cam" if all(member.exact_cam for member in bundle.manifest.members) else "grad-cam"


def methods_named(names: Sequence[str], bundle: Bundle) -> tuple[Method, ...]:
    """Return the methods with these names in the order of `METHODS`; without names, the `best_method`.

    Raises:
        RecipeError: A name is not that of a method.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        meant = did_you_mean(unknown[0], METHODS)
        raise RecipeError(
            f"there is no method {unknown[0]!r} for maps{meant}; choose from {', '.join(METHODS)}"
        )
    wanted = names or (best_method(bundle),)
    return tuple(method for method in METHODS if method in wanted)


def reading_notes(bundle: Bundle, methods: Sequence[Method]) -> list[str]:
    """Return caveats for readers of a bundle's maps, as sentences without a period."""
    several = len(bundle.manifest.members) > 1 and not (bundle.exact_cam and set(methods) == {"cam"})
    views = any(not member.test_time.is_plain for member in bundle.manifest.members)
    stated = bundle.manifest.stated
    return [
        *([stated] if stated else []),
        *(
            f"{method} shows where the network looks, and is the same for every finding"
            for method in methods
            if method in NOT_OF_A_FINDING
        ),
        *(["the maps are the mean over several networks, which is an approximation"] if several else []),
        *(["the maps explain the whole image only, not the other views that are averaged"] if views else []),
    ]


@runtime_checkable
class Explainer(Protocol):
    """Something that maps where a bundle's networks see a finding.

    A member sees the whole image once, whatever its test-time augmentation; the maps of several members are
    averaged with the ensemble's weights. For CAM this is exact if `Bundle.exact_cam` is true: the mean of a
    map over its locations, plus a bias, is the bundle's logit. Otherwise it is an approximation. Locations
    are drawn at the centers of their receptive fields (`Member.places`), so the mean over pixels differs.
    """

    @property
    def bundle(self) -> Bundle:
        """The bundle that is explained."""

    @property
    def library(self) -> str:
        """The distribution that computes: "torch" or "onnxruntime"."""

    def maps(self, pixels: PixelsBatch, findings: Findings, *, method: Method, seed: int = 0) -> Maps:
        """Return the maps of findings (n, k, s, s) for prepared pixels (n, s, s).

        Args:
            pixels: Images, prepared as the bundle requires.
            findings: Some of the bundle's findings, in any order.
            method: One of `METHODS`.
            seed: Seed of the random methods.

        Raises:
            DataError: The bundle does not predict one of the findings.
            RecipeError: A network or the explainer does not support the method.
        """


def refuse_unknown(bundle: Bundle, findings: Findings) -> None:
    """Refuse findings that a bundle does not predict.

    Raises:
        DataError: The bundle does not predict one of the findings, or none is given.
    """
    unknown = [finding.name for finding in findings if finding not in bundle.findings]
    if unknown or not findings:
        known = [finding.name for finding in bundle.findings]
        meant = did_you_mean(unknown[0], known) if unknown else ""
        raise DataError(
            f"{' and '.join(unknown) or 'no finding'} cannot be explained by the bundle "
            f"{bundle.folder}{meant}; choose from its findings: {', '.join(known)}"
        )


def finite_maps(bundle: Bundle, maps: Maps) -> Maps:
    """Return maps; refuse those with values that are not finite, which no picture could show.

    Raises:
        BundleError: Some are not.
    """
    if not np.isfinite(maps).all():
        raise BundleError(
            f"a net of {bundle.folder} gives maps whose values are not finite numbers; its weights or its "
            "graph are damaged: do not use this bundle"
        )
    return maps


_BATCH: Final = 8
"""Images explained together: 14 maps of each at 1024 pixels take 470 MB."""


class OnnxExplainer:
    """A bundle's networks in onnxruntime, with exact CAM as the only method; see `Explainer`.

    Args:
        bundle: The bundle.
        exported: An engine of the bundle whose networks all have a CAM.
        threads: Threads of each run; None: OMP_NUM_THREADS, or every core.

    Raises:
        BundleError: This version of onnxruntime cannot run a file.
    """

    library = "onnxruntime"

    def __init__(self, bundle: Bundle, exported: Exported, *, threads: int | None = None) -> None:
        self.bundle = bundle
        self._engine = OnnxEngine(bundle.exported_files(exported), threads=threads)

    def maps(self, pixels: PixelsBatch, findings: Findings, *, method: Method, seed: int = 0) -> Maps:
        """Return the maps of findings (n, k, s, s) for prepared pixels (n, s, s); see `Explainer`.

        The seed has no effect: the exact CAM is not random.
        """
        del seed
        refuse_unknown(self.bundle, findings)
        if method != "cam":
            raise RecipeError(
                f"an exported network supports the method cam, not {method}; use the method cam, or torch"
            )
        blocks = [pixels[first : first + _BATCH] for first in range(0, len(pixels), _BATCH)]
        return finite_maps(self.bundle, np.concatenate([self._block(block, findings) for block in blocks]))

    def _block(self, pixels: PixelsBatch, findings: Findings) -> Maps:
        members, ensemble = self.bundle.manifest.members, self.bundle.manifest.ensemble
        weights = (1.0,) if ensemble is None else ensemble.weights
        total = np.zeros((len(pixels), len(findings), *pixels.shape[1:]), dtype=np.float32)
        cams = self._engine.activation_maps(pixels)
        for member, weight, cam in zip(members, weights, cams, strict=True):
            columns = [member.findings.index(finding.name) for finding in findings]
            if cam.shape[1] != len(member.findings):
                raise BundleError(
                    f"a graph of {self.bundle.folder} has {cam.shape[1]} maps for {len(member.findings)} "
                    "findings; export the bundle again"
                )
            # First to the network's input size, as with torch, so that the numbers are the same.
            at_input = enlarge_arrays(cam[:, columns], member.model.input_size, member.places)
            total += np.float32(weight) * enlarge_arrays(at_input, pixels.shape[-1])
        return total


def open_explainer(
    bundle: Bundle, *, methods: Sequence[Method] = (), device: str = "auto", threads: int | None = None
) -> Explainer:
    """Open an explainer that supports these methods.

    It uses onnxruntime if only the exact CAM is requested, on a CPU, and the bundle's exported networks have
    it as an output; otherwise torch.

    Args:
        bundle: The bundle.
        methods: All methods that will be used; empty: the `best_method`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: Threads of an exported engine; None: OMP_NUM_THREADS, or every core.

    Raises:
        MissingExtra: Torch is needed but not installed.
        BundleError: Weights and manifest do not match.
        RecipeError: There is no such device.
    """
    refuse_unknown_device(device)
    requested = tuple(methods) or (best_method(bundle),)
    exported = _exported_cam(bundle)
    if exported is not None and set(requested) == {"cam"} and serves(bundle, device):
        return OnnxExplainer(bundle, exported, threads=threads)
    return open_torch_explainer(bundle, methods=requested, device=device)


def open_torch_explainer(bundle: Bundle, *, methods: Sequence[Method], device: str) -> "TorchExplainer":
    """Open the explainer that uses torch, which deletion and insertion need.

    Raises:
        MissingExtra: Torch is not installed.
        BundleError: Weights and manifest do not match, or there are no weights.
        RecipeError: There is no such device.
    """
    refuse_unknown_device(device)
    bundle.require_weights(f"a map by {' and '.join(methods)} (device {device})")
    try:
        from thorax.explain.torch_explainer import TorchExplainer  # noqa: PLC0415  (seconds and 200 MB)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"explaining {bundle.folder} by {' and '.join(methods)} needs torch, but {error.name} is not "
            f"installed; {_remedy(bundle)}"
        ) from error
    return TorchExplainer(bundle, device=device)


def _exported_cam(bundle: Bundle) -> Exported | None:
    """Return the exported engine that has every member's exact CAM, or None."""
    for exported in bundle.manifest.engines:
        is_float32 = (exported.kind, exported.precision) == ("onnx", "float32")
        if is_float32 and all(net.cam for net in exported.nets):
            return exported
    return None


def _remedy(bundle: Bundle) -> str:
    install = f"install it with {install_line('train')}"
    if _exported_cam(bundle) is not None:
        return f"{install}, or use `method=cam` with `device=cpu`, for which the exported network suffices"
    if not all(member.exact_cam for member in bundle.manifest.members):
        return f"{install}: without it only an exact CAM is available, which the bundle's head does not allow"
    if not all(member.test_time.is_plain for member in bundle.manifest.members):
        return f"{install}: a network exported with several views has no CAM"
    return f"{install}, or export the bundle where torch is installed: an exported network has its exact CAM"
