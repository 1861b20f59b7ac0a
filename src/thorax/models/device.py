"""Where a net computes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from thorax.errors import RecipeError

__all__ = ["full_float32", "pick_device"]


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
