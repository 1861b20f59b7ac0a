"""Tensor types, and the device and precision of a net's computation."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from thorax.errors import RecipeError
from thorax.hardware import cores

__all__ = [
    "Images",
    "KnownTensor",
    "Logits",
    "PixelsTensor",
    "TargetsTensor",
    "Theta",
    "full_float32",
    "pick_device",
]

if "OMP_NUM_THREADS" not in os.environ and cores() < torch.get_num_threads():
    torch.set_num_threads(cores())  # torch honors affinity, but not the quota of a cgroup

PixelsTensor = UInt8[Tensor, "batch side side"]
"""Prepared images, as in a store."""

Images = Float[Tensor, "batch 1 height width"]
"""Gray images in [0, 1] at the net's input size; larger is brighter."""

Logits = Float[Tensor, "batch finding"]
"""Outputs before the sigmoid; only `inference` turns them into probabilities."""

TargetsTensor = Float[Tensor, "batch finding"]
"""Targets in [0, 1]: 1 present, 0 absent, in between for mixed images."""

KnownTensor = Bool[Tensor, "batch finding"]
"""Whether each target is known."""

Theta = Float[Tensor, "batch 2 3"]
"""Affine maps from output to input coordinates, both from -1 to 1 across the image, x before y."""


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the GPU if there is one, otherwise the CPU.

    Args:
        name: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        RecipeError: This machine does not have such a device.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    known = [
        "cpu",
        *(["cuda"] if available else []),
        *(f"cuda:{n}" for n in range(torch.cuda.device_count())),
    ]
    if name not in known:
        raise RecipeError(
            f"this machine does not have device {name!r}; give auto or one of {', '.join(known)}"
        )
    return torch.device(name)


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute in full float32 on a GPU, where cuDNN by default rounds factors to 10 bits (TF32)."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
