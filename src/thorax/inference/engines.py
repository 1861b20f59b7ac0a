"""Which engine a bundle runs on. Where an exported one serves, torch is never imported."""

from dataclasses import replace
from typing import Final, get_args

from thorax.bundle.folder import Bundle
from thorax.bundle.manifest import EngineKind, Exported, Precision
from thorax.errors import BundleError, MissingExtra
from thorax.hardware import has_cuda_driver
from thorax.inference.predictor import Engine, Predictor
from thorax.packages import install_line, versions
from thorax.recipe.literals import EngineName

__all__ = ["describe_engine", "on_cpu", "open_engine", "open_predictor"]

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
    """Put a bundle to work; a quantized engine brings its own operating points.

    Args:
        bundle: Which bundle.
        device: "auto", "cpu", "cuda" or "cuda:N".
        engine: Which engine.
        threads: Of an exported engine; None: OMP_NUM_THREADS, or every core.

    Raises:
        BundleError: The bundle has no such engine, or a file that is opened is not the one that the manifest
            describes.
        MissingExtra: What runs the engine is not installed.
        RecipeError: There is no such device.
    """
    exported = _chosen(bundle, device, engine)
    if exported is not None and exported.operating_points is not None:
        points = {"operating_points": exported.operating_points}
        bundle = replace(bundle, manifest=bundle.manifest.model_copy(update=points))
    return Predictor(bundle, _opened(bundle, exported, device=device, threads=threads))


def open_engine(
    bundle: Bundle, *, device: str = "auto", engine: EngineName = "auto", threads: int | None = None
) -> Engine:
    """Return what computes a bundle's logits; see `open_predictor`."""
    return _opened(bundle, _chosen(bundle, device, engine), device=device, threads=threads)


def describe_engine(bundle: Bundle, *, device: str = "auto", engine: EngineName = "auto") -> str:
    """Return what `open_predictor` computes with, such as "onnxruntime 1.27.0, float32, on the CPU".

    Raises:
        BundleError: The bundle has no such engine.
        RecipeError: There is no such device.
    """
    exported = _chosen(bundle, device, engine)
    if exported is None:
        from thorax.models.tensors import pick_device  # noqa: PLC0415  (imports torch)

        return f"torch {versions('torch')['torch']}, float32, on {pick_device(device)}"
    program = "onnxruntime" if exported.kind == "onnx" else "openvino"
    return f"{program} {versions(program)[program]}, {exported.precision}, on the CPU"


def on_cpu(device: str) -> bool:
    """Return whether a device is the CPU; "auto" is, where torch is not here or finds no GPU."""
    return device == "cpu" or (device == "auto" and not _gpu_for_torch())


def _opened(bundle: Bundle, exported: Exported | None, *, device: str, threads: int | None) -> Engine:
    if exported is None:
        bundle.check(member.weights for member in bundle.manifest.members)
        return _torch_engine(bundle, device)
    graphs = bundle.exported_files(exported)
    if exported.kind == "onnx":
        from thorax.inference.exported_engines import OnnxEngine  # noqa: PLC0415  (only where it is used)
        from thorax.inference.onnx_session import is_prefetched  # noqa: PLC0415  (as above)

        files = [file for net in exported.nets for file in net.files]
        checksums = {bundle.folder / file.name: file.sha256 for file in files}
        # What is being prefetched is checked there; anything else now, and again when it is opened.
        bundle.check(file.name for file in files if not is_prefetched(bundle.folder / file.name, file.sha256))
        return OnnxEngine(graphs, threads=threads, checksums=checksums)
    from thorax.inference.exported_engines import OpenVinoEngine  # noqa: PLC0415  (only where it is used)

    bundle.check(file.name for net in exported.nets for file in net.files)
    return OpenVinoEngine(graphs, threads=threads)


def _chosen(bundle: Bundle, device: str, engine: EngineName) -> Exported | None:
    """Return the exported engine to use, None for torch."""
    there = {(each.kind, each.precision): each for each in bundle.manifest.engines}
    if engine == "torch":
        return None
    if engine == "auto":
        return there.get(("onnx", "float32")) if on_cpu(device) else None
    if device not in {"auto", "cpu"}:
        raise BundleError(
            f"engine {engine} computes on the CPU, and device {device} was asked for; give `device=cpu`, or "
            "`engine=torch`"
        )
    try:
        return there[_EXPORTED[engine]]
    except KeyError:
        names = [name for name in get_args(EngineName) if _EXPORTED.get(name) in there]
        raise BundleError(
            f"{bundle.folder} has no engine {engine} (it has {', '.join(['torch', *names])}); export it "
            f"first: thorax export {bundle.folder} --to {engine.replace('-int8', ' --int8')}"
        ) from None


def _torch_engine(bundle: Bundle, device: str) -> Engine:
    try:
        from thorax.inference.torch_engine import TorchEngine  # noqa: PLC0415  (seconds and 200 MB)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{bundle.folder} was to run on torch, and {error.name} is not installed here; install it with "
            f"{install_line('train')}, or export the bundle where torch is installed and use `device=cpu`"
        ) from error
    return TorchEngine(bundle, device=device)


def _gpu_for_torch() -> bool:
    """Return whether torch is here and finds a GPU; where there is no CUDA driver, torch is not asked."""
    if not has_cuda_driver():
        return False
    try:
        import torch  # noqa: PLC0415  (only beside a CUDA driver)
    except ModuleNotFoundError:
        return False
    return torch.cuda.is_available()
