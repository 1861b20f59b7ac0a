"""Checkpoints of other projects: safetensors, and both formats of `torch.save`."""

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.long.targets.case import Context, Reader, tried
from thorax.checkpoints.weights_file import read_weights_file


def write_samples(folder: Path) -> None:
    """Write the same few tensors in every format."""
    tensors = OrderedDict((f"layer{n}.weight", torch.arange(12.0).reshape(3, 4) + n) for n in range(4))
    save_file(tensors, folder / "weights.safetensors")
    wrapped = {"epoch": 3, "state_dict": tensors, "best": 0.8, "names": ["Mass", "Edema"]}
    torch.save(tensors, folder / "plain.pth")
    torch.save(wrapped, folder / "wrapped.pth")
    torch.save(wrapped, folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), folder / "net.pth")


def run(context: Context, number: int) -> tuple[dict[str, str], bytes]:
    """Read a case: a task of a `DecodePool`."""
    return tried(context, number, _read), b""


def _read(sample: str) -> tuple[str, Reader]:
    return sample, read_weights_file
