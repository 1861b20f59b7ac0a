"""Chooses the engine that a bundle runs on; torch is not imported if an exported engine will do."""

from dataclasses import replace
from typing import Final, get_args

from thorax.bundle.folder import Bundle
from thorax.bundle.manifest import EngineKind, Exported, Precision
from thorax.errors import BundleError, MissingExtra, RecipeError
from thorax.hardware import has_cuda_driver, refuse_unknown_device
from thorax.inference.gate import open_gate
from thorax.inference.predictor import Engine, Predictor
from thorax.packages import install_line, versions
from thorax.recipe.literals import EngineName

__all__ = ["check_engine", "describe_engine", "on_cpu", "open_engine", "open_predictor", "serves"]

_EXPORTED: Final[dict[EngineName, tuple[EngineKind, Precision]]] = {
    "onnx": ("onnx", "float32"),
    "onnx-int8": ("onnx", "int8"),
    "openvino": ("openvino", "float32"),
    "openvino-int8": ("openvino", "int8"),
}


def open_predictor(
    bundle: Bundle,
    *,
    device: str = "auto",
    engine: EngineName = "auto",
    threads: int | None = None,
) -> Predictor:
    """Open a predictor for a bundle; a quantized engine has its own operating points and bands.

    Args:
        bundle: The bundle.
        device: "auto", "cpu", "cuda" or "cuda:N".
        engine: Name of the engine.
        threads: Threads of an exported engine; None: OMP_NUM_THREADS, or every core.

    Raises:
        BundleError: The bundle does not have this engine, or a file differs from the one that the manifest
            describes.
        MissingExtra: The library that runs the engine is not installed.
        RecipeError: There is no such device.
    """
    exported = _choose(bundle, device, engine)
    if exported is not None and exported.operating_points is not None:
        own = {"operating_points": exported.operating_points, "bands": exported.bands}
        bundle = replace(bundle, manifest=bundle.manifest.model_copy(update=own))
    opened = _open(bundle, exported, device=device, threads=threads)
    return Predictor(bundle, opened, gate=open_gate(bundle))


def open_engine(
    bundle: Bundle, *, device: str = "auto", engine: EngineName = "auto", threads: int | None = None
) -> Engine:
    """Return the engine that computes a bundle's logits; see `open_predictor`."""
    return _open(bundle, _choose(bundle, device, engine), device=device, threads=threads)


def check_engine(bundle: Bundle, *, device: str = "auto", engine: EngineName = "auto") -> None:
    """Check that a bundle can be opened so, without opening it: cheap, and before its images are read.

    Raises:
        BundleError: The bundle does not have this engine.
        RecipeError: There is no such device.
    """
    _choose(bundle, device, engine)


def describe_engine(bundle: Bundle, *, device: str = "auto", engine: EngineName = "auto") -> str:
    """Describe the engine that `open_predictor` uses, such as "onnxruntime 1.27.0, float32, on the CPU".

    Raises:
        BundleError: The bundle does not have this engine.
        RecipeError: There is no such device.
    """
    exported = _choose(bundle, device, engine)
    if exported is None:
        from thorax.models.tensors import pick_device  # noqa: PLC0415  (imports torch)

        return f"torch {versions('torch')['torch']}, float32, on {pick_device(device)}"
    program = "onnxruntime" if exported.kind == "onnx" else "openvino"
    return f"{program} {versions(program)[program]}, {exported.precision}, on the CPU"


def on_cpu(device: str) -> bool:
    """Return whether a device is the CPU; "auto" is if torch is not installed or finds no GPU."""
    return device == "cpu" or (device == "auto" and not _gpu_for_torch())


def serves(bundle: Bundle, device: str) -> bool:
    """Return whether a bundle's exported graph computes on a device, and not torch.

    A graph without weights beside it also serves where a GPU was found, but not where one was asked for.
    """
    return on_cpu(device) or (device == "auto" and not bundle.manifest.has_weights)


def _open(bundle: Bundle, exported: Exported | None, *, device: str, threads: int | None) -> Engine:
    if exported is None:
        bundle.require_weights(f"engine torch (device {device})")
        bundle.check(bundle.weights)
        return _torch_engine(bundle, device)
    graphs = bundle.exported_files(exported)
    if exported.kind == "onnx":
        from thorax.inference.exported_engines import OnnxEngine  # noqa: PLC0415  (only where it is used)
        from thorax.inference.onnx_session import is_prefetched  # noqa: PLC0415  (as above)

        files = [file for net in exported.nets for file in net.files]
        checksums = {bundle.folder / file.name: file.sha256 for file in files}
        # Files being prefetched are checked there; others are checked now, and again when opened.
        bundle.check(file.name for file in files if not is_prefetched(bundle.folder / file.name, file.sha256))
        return OnnxEngine(graphs, threads=threads, checksums=checksums)
    from thorax.inference.exported_engines import OpenVinoEngine  # noqa: PLC0415  (only where it is used)

    bundle.check(file.name for net in exported.nets for file in net.files)
    return OpenVinoEngine(graphs, threads=threads)


def _choose(bundle: Bundle, device: str, engine: EngineName) -> Exported | None:
    """Return the exported engine to use, None for torch."""
    if engine in {"auto", "torch"}:  # the others refuse every device but the CPU
        refuse_unknown_device(device)
    available = {(exported.kind, exported.precision): exported for exported in bundle.manifest.engines}
    if engine == "torch":
        return None
    if engine == "auto":
        return available.get(("onnx", "float32")) if serves(bundle, device) else None
    if device not in {"auto", "cpu"}:
        raise BundleError(
            f"engine {engine} runs on the CPU only, but `device` is {device}; set `device=cpu` or "
            "`engine=torch`"
        )
    if engine not in _EXPORTED:
        raise RecipeError(f"there is no engine {engine!r}; set `engine` to {', '.join(get_args(EngineName))}")
    kind, precision = _EXPORTED[engine]
    try:
        return available[kind, precision]
    except KeyError:
        names = ["torch"] if bundle.manifest.has_weights else []
        names += [name for name in get_args(EngineName) if _EXPORTED.get(name) in available]
        raise BundleError(
            f"{bundle.folder} has no engine {engine} (it has {', '.join(names)}); export it first "
            f"with `to={kind}`{' and `int8`' if precision == 'int8' else ''}"
        ) from None


def _torch_engine(bundle: Bundle, device: str) -> Engine:
    try:
        from thorax.inference.torch_engine import TorchEngine  # noqa: PLC0415  (seconds and 200 MB)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{bundle.folder} needs torch here, but {error.name} is not installed; install it with "
            f"{install_line('train')}, or export the bundle where torch is installed and set `device=cpu`"
        ) from error
    return TorchEngine(bundle, device=device)


def _gpu_for_torch() -> bool:
    """Return whether torch is installed and finds a GPU; without a CUDA driver, torch is not imported."""
    if not has_cuda_driver():
        return False
    try:
        import torch  # noqa: PLC0415  (only with a CUDA driver)
    except ModuleNotFoundError:
        return False
    return torch.cuda.is_available()
