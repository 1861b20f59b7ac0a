"""What this machine and this installation can do, what is missing, and what makes them slow."""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

import thorax
from thorax import starter
from thorax.bundle import load_bundle
from thorax.errors import ThoraxError
from thorax.hardware import cores, has_cuda_driver, num_threads
from thorax.inspection.resources import (
    busy_elsewhere,
    cpu_features,
    disk,
    file_limit,
    memory,
)
from thorax.outputs import text_size
from thorax.packages import Extra, install_line, missing_packages, versions
from thorax.wording import counted

__all__ = ["Check", "doctor"]

State = Literal["ok", "note", "slow", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is, such as "cores".
        state: "ok"; "note", worth knowing; "slow", which costs time here; "missing", an extra that is not
            installed; or "broken".
        text: What was seen, in a sentence without its period.
        remedy: What to do about it; "" if nothing needs to be done.
        value: The same for programs.
    """

    name: str
    state: State
    text: str
    remedy: str = ""
    value: Any = None

    def as_json(self) -> dict[str, Any]:
        """Return all fields as values of JSON."""
        return asdict(self)


def doctor(folder: Path | None = None) -> tuple[Check, ...]:
    """Look at this installation and machine; nothing is changed, and no network is used.

    Args:
        folder: Where results will be written; None: the working folder.
    """
    return tuple(_checks(folder or Path.cwd()))


def _checks(folder: Path) -> Iterator[Check]:
    yield _installation()
    yield _packages()
    yield _starter()
    yield from _decoders()
    yield from _extras()
    yield _device()
    yield from _processor()
    yield _threads()
    yield _memory()
    yield from _folder(folder)
    yield _files()


def _installation() -> Check:
    python = platform.python_version()
    text = f"Thorax {thorax.__version__}, Python {python}, {platform.system()} {platform.machine()}"
    value = {"thorax": thorax.__version__, "python": python, "platform": platform.platform()}
    if sys.version_info < (3, 11):  # noqa: UP036  (an installation may be run by another Python)
        return Check("installation", "broken", text, "use Python 3.11 or newer", value)
    return Check("installation", "ok", text, value=value)


_BASE: Final = ("numpy", "onnxruntime", "pillow", "pydicom", "pydantic", "safetensors")
_OPTIONAL: Final = ("pandas", "pyarrow", "scipy", "matplotlib", "torch", "timm", "openvino")


def _packages() -> Check:
    installed = versions(*_BASE)
    for name in _OPTIONAL:
        try:
            installed |= versions(name)
        except ModuleNotFoundError:
            continue
    text = ", ".join(f"{name} {version}" for name, version in installed.items())
    return Check("packages", "ok", text, value=installed)


def _starter() -> Check:
    try:
        bundle = load_bundle(starter.folder())
    except ThoraxError as error:
        return Check("starter", "broken", str(error), "install Thorax again")
    return Check("starter", "ok", f"the {bundle.manifest.name} model is whole", value=bundle.sha256)


_DECODERS: Final[Mapping[str, tuple[str, str]]] = {
    "deflate": ("PNG, and DICOM with deflated data", "deflate"),
    "PIL.JpegImagePlugin": ("JPEG, and DICOM with 8-bit JPEG", "pillow"),
    "gdcm": ("DICOM with lossless or 12-bit JPEG", "python-gdcm"),
    "openjpeg": ("DICOM with JPEG 2000", "pylibjpeg-openjpeg"),
    "jpeg_ls": ("DICOM with JPEG-LS", "pyjpegls"),
    "pydicom": ("DICOM without compression or with RLE, by Thorax itself", "pydicom"),
}
"""What each module decodes, and the package that it belongs to."""


def _decoders() -> Iterator[Check]:
    for module, (reads, package) in _DECODERS.items():
        name = f"decoder {package}"
        try:
            import_module(module)
        except ImportError as error:
            remedy = f"install it again: pip install --force-reinstall {package}"
            yield Check(name, "broken", f"{reads} cannot be read ({error})", remedy)
            continue
        version = versions(package)[package]
        yield Check(name, "ok", f"{version} reads {reads}", value=version)


_GIVES: Final[Mapping[Extra, str]] = {
    "evaluate": "prepare, evaluate, compare, audit, robustness, site and localize",
    "train": "train, import, export, calibrate, ensemble, GPUs, and all methods of explain",
    "tune": "tune",
    "track": "--track mlflow",
    "serve": "serve, the page",
    "pacs": "results as DICOM objects, and the node",
    "sign": "sign, verify --key and --require-signature",
    "openvino": "models on OpenVINO",
    "ray": "--engine ray",
}


def _extras() -> Iterator[Check]:
    missing = missing_packages()
    for extra, gives in _GIVES.items():
        if missing[extra]:
            text = f"not installed ({', '.join(missing[extra])}); it gives {gives}"
            yield Check(f"extra {extra}", "missing", text, install_line(extra), list(missing[extra]))
        else:
            yield Check(f"extra {extra}", "ok", f"installed: {gives}")


def _device() -> Check:
    if not has_cuda_driver():
        return Check("device", "ok", "CPU; this machine has no CUDA driver", value="cpu")
    if missing_packages()["train"]:
        text = "there is a CUDA driver, but no torch to use it: everything is computed on the CPU"
        return Check("device", "note", text, install_line("train"), "cpu")
    torch = import_module("torch")
    if not torch.cuda.is_available():
        text = f"there is a CUDA driver, but torch {torch.__version__} finds no GPU"
        remedy = "install a build of torch for CUDA, and check CUDA_VISIBLE_DEVICES"
        return Check("device", "slow", text, remedy, "cpu")
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return Check("device", "ok", f"CUDA: {', '.join(names)}", value=names)


def _processor() -> Iterator[Check]:
    usable, present = cores(), os.cpu_count() or 1
    text = f"{counted(usable, 'core')} of {present} may be used"
    if usable < present:
        text += ", by the affinity of the process or the quota of its container"
    value = {"usable": usable, "present": present}
    if usable == 1:
        remedy = "give the process more cores: training and preparing take one after the other"
        yield Check("cores", "slow", text, remedy, value)
    else:
        yield Check("cores", "ok", text, value=value)
    features = cpu_features()
    if features is not None and "avx2" not in features and platform.machine() in {"x86_64", "AMD64"}:
        text = "the processor has no AVX2, so nets are slow here"
        yield Check("vector instructions", "slow", text, "use a newer machine, or a virtual one that "
                    "passes the processor through")  # fmt: skip
    elif features is not None:
        known = [name for name in ("avx2", "avx512f", "amx_tile", "asimd", "sve") if name in features]
        yield Check("vector instructions", "ok", ", ".join(known) or "none known", value=known)
    busy = busy_elsewhere()
    if busy is None:
        return
    text = f"other programs use {busy:.1f} of {counted(present, 'core')} now"
    if busy > present / 4:
        yield Check("load", "slow", text, "wait until they end, or expect training to take longer", busy)
    else:
        yield Check("load", "ok", text, value=busy)


_SETTINGS: Final = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
)  # fmt: skip

_OWN_SPINS: Final = "10000"
"""GOMP_SPINCOUNT as `import thorax` sets it unless the user did."""


def _threads() -> Check:
    given = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    if given.get("GOMP_SPINCOUNT") == _OWN_SPINS:
        del given["GOMP_SPINCOUNT"]
    threads, usable = num_threads(), cores()
    text = f"{counted(threads, 'thread')}"
    if given:
        text += f"; set: {', '.join(f'{name}={value}' for name, value in given.items())}"
    value = {"threads": threads, "set": given}
    if threads > usable:
        return Check("threads", "slow", f"{text}; more than the {counted(usable, 'core')}",
                     f"set OMP_NUM_THREADS={usable}", value)  # fmt: skip
    if threads < usable:
        return Check("threads", "slow", f"{text}; fewer than the {usable} cores",
                     "remove OMP_NUM_THREADS, unless other work needs the cores", value)  # fmt: skip
    return Check("threads", "ok", text, value=value)


_LITTLE_MEMORY: Final = 2 * 10**9
"""Bytes below which other programs should be closed before training."""


def _memory() -> Check:
    free, total = memory()
    if free is None:
        return Check("memory", "note", "how much is free is not known here")
    text = f"{text_size(free)} free of {text_size(total or free)}"
    value = {"free": free, "total": total}
    if free < _LITTLE_MEMORY:
        return Check("memory", "note", text, "close other programs before training a large net", value)
    return Check("memory", "ok", text, value=value)


_LITTLE_DISK: Final = 10**9
"""Bytes: 15,000 images of a store at 256 pixels."""


def _folder(folder: Path) -> Iterator[Check]:
    try:
        state = disk(folder)
    except OSError as error:
        yield Check(
            "disk", "broken", f"{folder} cannot be looked at ({error.strerror})", "use another folder"
        )
        return
    text = f"{text_size(state.free)} free of {text_size(state.total)} at {folder}"
    value = {"free": state.free, "total": state.total, "file_system": state.kind}
    if not os.access(folder, os.W_OK):
        yield Check("disk", "note", f"{folder} cannot be written to", "write results elsewhere", value)
    elif state.free < _LITTLE_DISK:
        yield Check(
            "disk",
            "note",
            text,
            "free some space: a store takes a byte per pixel",
            value,
        )
    else:
        yield Check("disk", "ok", text, value=value)
    if state.is_network:
        yield Check("file system", "slow", f"{folder} is on a network ({state.kind})",
                    "keep the store on a disk of this machine while training", state.kind)  # fmt: skip


_FEW_FILES: Final = 256


def _files() -> Check:
    limit = file_limit()
    if limit is None:
        return Check("open files", "ok", "no limit is known here")
    if limit < _FEW_FILES:
        return Check(
            "open files",
            "broken",
            f"{counted(limit, 'file')} may be open at once",
            "raise the limit, as with ulimit -n 1024",
            limit,
        )
    return Check("open files", "ok", f"{limit:,} may be open at once", value=limit)
