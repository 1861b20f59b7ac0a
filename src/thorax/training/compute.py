"""Device, precision, compilation and determinism of a run."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

from thorax.errors import RecipeError
from thorax.hardware import cores
from thorax.models.tensors import full_float32, pick_device
from thorax.training.launched import Launched

__all__ = ["ComputeConfig", "compiled", "deterministic", "own_device", "pick_compute"]

Precision = Literal["auto", "float32", "bfloat16", "float16"]

_MIN_IMAGES_TO_COMPILE = 300_000
"""Images of a run above which compiling is likely to pay off on a GPU: it takes a minute or two, and may
halve the time of DenseNet-121, which processes a few thousand images/s."""


@dataclass(frozen=True)
class ComputeConfig:
    """Device and arithmetic.

    Attributes:
        device: Where the net computes.
        dtype: Arithmetic of the forward pass; parameters are always float32.
        threads: Threads that torch uses on the CPU; sums are split among them, so a run is reproducible only
            with the same number.
        compiled: Whether net and augmentation are compiled.
    """

    device: torch.device
    dtype: torch.dtype
    threads: int
    compiled: bool = False

    @property
    def name(self) -> str:
        """Return the kind of device: "cpu", or the GPU's name."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"


def pick_compute(
    device: str,
    precision: Precision,
    *,
    compiling: Literal["auto", "on", "off"] = "off",
    images: int = 0,
    launched: Launched | None = None,
) -> ComputeConfig:
    """Return device and arithmetic for a recipe's settings.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto" is float32 on a CPU, bfloat16 or float16 on a GPU.
        compiling: "auto" compiles on a GPU, for long runs.
        images: Images of the whole run, counted once per epoch.
        launched: Which of several processes this is: each takes a GPU of its own, and they share the cores.

    Raises:
        RecipeError: The device does not exist, there are fewer GPUs than processes, or the device does not
            support this precision.
    """
    torch_device = pick_device(device)
    threads = torch.get_num_threads()
    if launched is not None and launched.size > 1:
        torch_device = own_device(device, launched)
        if "OMP_NUM_THREADS" not in os.environ:
            threads = max(1, cores() // launched.local_size)
    if precision != "auto":
        dtype: torch.dtype = getattr(torch, precision)
    elif torch_device.type == "cuda":
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    else:
        dtype = torch.float32
    if dtype == torch.float16 and torch_device.type == "cpu":
        raise RecipeError(
            "training.precision = 'float16' needs a GPU, and this run is on the CPU; "
            "set training.precision=auto"
        )
    pays_off = torch_device.type == "cuda" and images >= _MIN_IMAGES_TO_COMPILE
    return ComputeConfig(
        torch_device,
        dtype,
        threads,
        compiled=pays_off if compiling == "auto" else compiling == "on",
    )


def own_device(name: str, launched: Launched) -> torch.device:
    """Return the device of one of several processes: the CPU, or a GPU of its own.

    Args:
        name: "auto", "cpu" or "cuda".
        launched: Which process it is.

    Raises:
        RecipeError: This machine does not have such a device, or has fewer GPUs than processes.
    """
    picked = pick_device(name)
    if picked.type != "cuda":
        return picked
    if name.startswith("cuda:"):
        raise RecipeError(
            f"{launched.size} processes cannot all compute on the one device {name!r}; set `device` to cuda, "
            "so that each takes a GPU of its own"
        )
    gpus = torch.cuda.device_count()
    if gpus < launched.local_size:
        raise RecipeError(
            f"there are {gpus} GPUs for {launched.local_size} processes on this machine; start {gpus}, or "
            "set `device=cpu`"
        )
    return torch.device("cuda", launched.local_rank)


F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F, *, graphs: bool = False) -> F:
    """Compile a net or a function of tensors; in an exact run its results are the same bits every time.

    Inductor times variants of a kernel and takes the fastest, which may sum in another order the next time.
    Its deterministic mode does not time variants.

    Args:
        function: What to compile; always called with tensors of the same shapes.
        graphs: Whether a GPU replays its kernels as one CUDA graph: a step of DenseNet-121 has thousands of
            kernels, which a CPU cannot launch as fast as an H200 runs them.
    """
    options: dict[str, str | int | bool | Callable[..., Any]]
    options = {"deterministic": torch.are_deterministic_algorithms_enabled(), "triton.cudagraphs": graphs}
    # The annotation of torch.compile loses the type of the function.
    wrapped: F = torch.compile(function, dynamic=False, options=options)  # type: ignore[assignment]
    return wrapped


@contextmanager
def deterministic(determinism: Literal["exact", "fast"], *, threads: int) -> Iterator[None]:
    """Set torch up for reproducible bytes or for speed; the earlier settings are restored at the end.

    Args:
        determinism: "exact" allows only operations that give the same result every time.
        threads: Threads on the CPU.

    Raises:
        RecipeError: In an exact run, an operation has no deterministic implementation on this device.
    """
    exact = determinism == "exact"
    memory: Any = torch.utils.deterministic  # torch does not annotate its setting
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    fill, benchmark = memory.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    count, random_state, workspace = (
        torch.get_num_threads(),
        torch.get_rng_state(),
        os.environ.get(_WORKSPACE),
    )
    try:
        torch.use_deterministic_algorithms(exact)
        # Filling new memory is a debugging aid that would cost a pass over every activation.
        memory.fill_uninitialized_memory = False
        torch.backends.cudnn.benchmark = not exact
        torch.set_num_threads(threads)
        # cuBLAS reads this when a process first uses the GPU; without it, its order of summation varies.
        os.environ.setdefault(_WORKSPACE, ":4096:8")
        with full_float32():
            yield
    except RuntimeError as error:
        if "deterministic implementation" not in str(error):
            raise
        raise RecipeError(
            f"training.determinism = 'exact': {str(error).splitlines()[0]} on this device; set "
            "training.determinism=fast, or choose another backbone"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(count)
        torch.set_rng_state(random_state)
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)


_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
