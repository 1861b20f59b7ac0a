"""Where a net computes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from thorax.errors import RecipeError

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

PixelsTensor = UInt8[Tensor, "batch side side"]
"""Prepared images, as a store keeps them."""

Images = Float[Tensor, "batch 1 height width"]
"""Gray images in [0, 1] at the net's input size; larger is brighter."""

Logits = Float[Tensor, "batch finding"]
"""Outputs before the sigmoid; only `inference` makes probabilities of them."""

TargetsTensor = Float[Tensor, "batch finding"]
"""Targets in [0, 1]: 1 present, 0 absent, between them where images were mixed."""

KnownTensor = Bool[Tensor, "batch finding"]
"""Where a target counts."""

Theta = Float[Tensor, "batch 2 3"]
"""Affine maps from output to input coordinates, both in [-1, 1] over the whole image, x before y."""


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the GPU where there is one, else the CPU.

    Args:
        name: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        RecipeError: There is no such device on this machine.
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
        raise RecipeError(f"device {name!r} is not on this machine; give auto or one of {', '.join(known)}")
    return torch.device(name)


@contextmanager
def full_float32() -> Iterator[None]:
    """Let float32 mean float32 on a GPU, where cuDNN else rounds what it multiplies to 10 bits (TF32)."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
