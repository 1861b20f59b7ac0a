"""Reads the weights in an HDF5 file of Keras, in a process that may die."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import IO

from safetensors import SafetensorError, safe_open

from thorax.atomic_io import open_regular, parse_json
from thorax.checkpoints.weights_file import HDF5_MAGIC, WeightsFile
from thorax.errors import BundleError
from thorax.packages import require

__all__ = ["read_keras_file"]

_WORKER = Path(__file__).with_name("hdf5_worker.py")
_REFUSED = 3
"""The worker's exit status for a file that it refuses."""

_TIMEOUT_SECONDS = 120
_MAX_REASON = 500

# HDF5 loads no filters from shared libraries; the worker needs no threads, each of which takes address space.
_ENVIRONMENT = {"HDF5_PLUGIN_PRELOAD": "::", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def read_keras_file(path: Path) -> WeightsFile:
    """Read the weights that Keras saved in an HDF5 file: a whole model, or weights only.

    Returns:
        The weights under their paths in the file, such as "conv1_bn/conv1_bn/gamma". `attributes` has
        "activations" and "epsilons" of the dense layers and batch norms, if the file describes its model.

    Raises:
        BundleError: The file cannot be read, is not HDF5, or holds something that Keras does not write.
        MissingExtra: h5py is not installed.
    """
    require("h5py", "reading weights of Keras")
    try:
        with open_regular(path) as file:
            magic = file.read(len(HDF5_MAGIC))
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); give a checkpoint") from error
    if magic != HDF5_MAGIC:
        raise BundleError(
            f"{path} is not an HDF5 file; give what Keras wrote with model.save('model.h5') or "
            "model.save_weights('model.weights.h5')"
        )
    with NamedTemporaryFile(suffix=".safetensors") as output:
        _run_worker(path, output)
        try:
            with safe_open(output.name, "pt") as content:
                tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
                config = parse_json(content.metadata()["config"])
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise BundleError(f"{path} cannot be read ({error}); copy the file again") from error
    return WeightsFile(path, tensors, config or {})


def _run_worker(path: Path, output: IO[bytes]) -> None:
    with TemporaryFile() as messages:
        try:
            status = subprocess.run(  # noqa: S603  (this interpreter, a script of this package)
                [sys.executable, "-P", str(_WORKER), str(path.absolute())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=messages,
                env={**os.environ, **_ENVIRONMENT},
                timeout=_TIMEOUT_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise BundleError(
                f"{path} was not read after {_TIMEOUT_SECONDS} seconds, so it is damaged or malicious; copy "
                "the file again"
            ) from error
        messages.seek(0)
        reason = messages.read(_MAX_REASON).decode("utf-8", "replace").strip()
    if status == _REFUSED:
        raise BundleError(f"{path} cannot be imported: {reason}; save the weights again with Keras")
    if status:
        raise BundleError(
            f"{path} stopped the process that read it (exit status {status}), so it is damaged or malicious; "
            "copy the file again"
        )
