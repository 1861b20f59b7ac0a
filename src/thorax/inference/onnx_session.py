"""An exported graph opened by onnxruntime. Imports little, so that it can begin early."""

from pathlib import Path
from typing import Any

import onnxruntime

from thorax.errors import BundleError

__all__ = ["open_session"]


def open_session(graph: Path, threads: int) -> Any:
    """Open an ONNX file; Python's lock is free meanwhile.

    Args:
        graph: The file.
        threads: Of each run.

    Raises:
        BundleError: It is nothing that this onnxruntime can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Microseconds that a thread waits in a loop for its next piece before it sleeps. DenseNet-121 has 180
    # pieces, and takes 4 % longer where threads sleep at once; where they never do, one image takes half as
    # long again on a machine that is shared.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "30")
    options.log_severity_level = 3  # errors, which are raised: a warning on standard error helps nobody
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    # onnxruntime's errors have no class in common but this one.
    except Exception as error:
        raise BundleError(
            f"{graph} cannot be run by onnxruntime {onnxruntime.__version__} "
            f"({' '.join(str(error).split())}); export the bundle again with thorax export"
        ) from error
