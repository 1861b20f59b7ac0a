"""A classifier's weights as safetensors: every key matched, nothing pickled."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from thorax.errors import BundleError
from thorax.models.classifier import Classifier

__all__ = ["load_weights", "weights_as_bytes"]


def weights_as_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """Return a state dict as the content of a safetensors file; the same weights give the same bytes."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})


def load_weights(classifier: Classifier, path: Path) -> None:
    """Read weights into a classifier.

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
    wanted = classifier.state_dict()
    missing = sorted(wanted.keys() - weights.keys())
    unknown = sorted(weights.keys() - wanted.keys())
    misshapen = [
        f"{name} {tuple(weights[name].shape)} for {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & weights.keys())
        if weights[name].shape != wanted[name].shape
    ]
    problems = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    if any(problems.values()):
        listed = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
        raise BundleError(
            f"{path} does not fit the net that its manifest names ({listed}); use the version of Thorax and "
            "timm that wrote it, or train again"
        )
    classifier.load_state_dict(weights)
