"""Weights of a net as safetensors: written, read, and a bound on nets that they do not fit."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from thorax.errors import BundleError

__all__ = ["load_weights", "no_larger_than", "weights_as_bytes"]

_NAMED: Final = 3
"""Tensors that a message names of each kind."""

_SPARE_NUMBERS: Final = 10_000_000
_SPARE_TENSORS: Final = 1000
"""What a net may have while it is built, beyond twice its own: layers that others replace."""


@contextmanager
def no_larger_than(path: Path) -> Iterator[None]:
    """Let nets be built that can have the weights of a file, and stop before one is built that is larger.

    What a manifest of a few hundred bytes names can have any number of layers and weights.

    Args:
        path: A safetensors file.

    Raises:
        BundleError: The net has more than twice as many weights or tensors as the file, or does not fit into
            memory.
    """
    most_numbers = path.stat().st_size // 2 + _SPARE_NUMBERS  # of 4 bytes each: twice as many
    try:
        with safe_open(path, "pt") as file:
            most_tensors = 2 * len(file.keys()) + _SPARE_TENSORS
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read as safetensors ({error}); copy it again") from error
    too_large = BundleError(
        f"{path} is too small for the net that its manifest names; do not use this bundle"
    )
    registered = [0, 0]
    thread = threading.get_ident()

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        if parameter is None or threading.get_ident() != thread:
            return
        registered[0] += 1
        registered[1] += parameter.numel()
        if registered[0] > most_tensors or registered[1] > most_numbers:
            raise too_large

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        raise too_large from error
    finally:
        hook.remove()


def weights_as_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """Serialize a state dict as safetensors; the same weights give the same bytes."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})


def load_weights(classifier: nn.Module, path: Path) -> None:
    """Load weights into a classifier.

    Args:
        classifier: Built for the same model section and number of findings.
        path: A safetensors file.

    Raises:
        BundleError: The file cannot be read, or its tensors are not exactly the classifier's.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read as safetensors ({error}); copy it again") from error
    expected = classifier.state_dict()
    missing = sorted(expected.keys() - weights.keys())
    unknown = sorted(weights.keys() - expected.keys())
    misshapen = [
        f"{name} {tuple(weights[name].shape)} for {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & weights.keys())
        if weights[name].shape != expected[name].shape
    ]
    # torch would convert them in silence, and the net would be another one.
    mistyped = [
        f"{name} {weights[name].dtype} for {expected[name].dtype}"
        for name in sorted(expected.keys() & weights.keys())
        if weights[name].dtype != expected[name].dtype
    ]
    problems = {"missing": missing, "unknown": unknown, "wrong shape": misshapen, "wrong type": mistyped}
    if any(problems.values()):
        listed = "; ".join(f"{what}: {_first(names)}" for what, names in problems.items() if names)
        raise BundleError(
            f"{path} does not fit the net that its manifest names ({listed}); use the version of Thorax and "
            "timm that wrote it, or train again"
        )
    classifier.load_state_dict(weights)


def _first(names: Sequence[str]) -> str:
    """Return the first names, and how many others there are."""
    others = [f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *others])
