"""What a run computes on, in which arithmetic, and how exactly again."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

from thorax.errors import RecipeError
from thorax.models.tensors import full_float32, pick_device

__all__ = ["ComputeConfig", "compiled", "deterministic", "pick_compute"]

Precision = Literal["auto", "float32", "bfloat16", "float16"]

_WORTH_COMPILING = 300_000
"""Images of a run from which on compiling is likely to pay on a GPU: it takes a minute or two, and may save
half of the time of DenseNet-121, which sees some thousand images/s."""


@dataclass(frozen=True)
class ComputeConfig:
    """Device and arithmetic.

    Attributes:
        device: Where the net computes.
        dtype: Arithmetic of the forward pass; parameters are float32 always.
        threads: Threads that torch uses on the CPU; sums are split among them, so they are part of what
            makes a run repeatable.
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
    device: str, precision: Precision, *, compiling: Literal["auto", "on", "off"] = "off", images: int = 0
) -> ComputeConfig:
    """Return the machine for a recipe's settings.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto" is float32 on a CPU, bfloat16 or float16 on a GPU.
        compiling: "auto" compiles on a GPU, for long runs.
        images: Images of the whole run, each counted as often as it is seen.

    Raises:
        RecipeError: There is no such device, or it cannot compute in this precision.
    """
    place = pick_device(device)
    if precision != "auto":
        dtype: torch.dtype = getattr(torch, precision)
    elif place.type == "cuda":
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    else:
        dtype = torch.float32
    if dtype == torch.float16 and place.type == "cpu":
        raise RecipeError(
            "training.precision = 'float16' needs a GPU, and this run is on the CPU; "
            "set training.precision=auto"
        )
    worth = place.type == "cuda" and images >= _WORTH_COMPILING
    return ComputeConfig(
        place, dtype, torch.get_num_threads(), compiled=worth if compiling == "auto" else compiling == "on"
    )


F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F, *, graphs: bool = False) -> F:
    """Compile a net or a function of tensors; in an exact run it computes the same each time, to the bit.

    Inductor measures variants of a kernel and takes the fastest, which may add in another order the next
    time. Its deterministic mode measures nothing.

    Args:
        function: What to compile, for tensors of the same shapes each time.
        graphs: Whether a GPU replays its kernels as one CUDA graph: DenseNet-121 has thousands of them in a
            step, which a CPU cannot start as fast as an H200 is done with them.
    """
    options: dict[str, str | int | bool | Callable[..., Any]]
    options = {"deterministic": torch.are_deterministic_algorithms_enabled(), "triton.cudagraphs": graphs}
    # The types of torch.compile forget what they are given.
    wrapped: F = torch.compile(function, dynamic=False, options=options)  # type: ignore[assignment]
    return wrapped


@contextmanager
def deterministic(determinism: Literal["exact", "fast"], *, threads: int) -> Iterator[None]:
    """Set torch up for the same bytes each time, or for speed; everything is put back at the end.

    Args:
        determinism: "exact" allows only operations that give the same result each time.
        threads: Threads on the CPU.

    Raises:
        RecipeError: In an exact run, an operation has no exact implementation on this device.
    """
    exact = determinism == "exact"
    memory: Any = torch.utils.deterministic  # torch has no types for its one setting
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
        # Filling new memory is a debugging aid and would cost a pass over every activation.
        memory.fill_uninitialized_memory = False
        torch.backends.cudnn.benchmark = not exact
        torch.set_num_threads(threads)
        # cuBLAS reads it when a process first uses the GPU; without it, it adds in any order.
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
