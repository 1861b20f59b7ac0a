"""Imports packages that would otherwise report their use to their makers, with that turned off.

onnxruntime 1.31 keeps a lasting device id and a database of events in the user's cache and sends them to
Microsoft; `import openvino` writes a client id to ~/intel and calls Google Analytics; Ray reports its
clusters to its maker; MLflow and huggingface_hub add what they know of the machine to what they send. All of
them must know before they are imported, so every other module imports them by this one.
"""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, Literal

__all__ = ["Reporting", "import_unreported"]

Reporting = Literal[
    "huggingface_hub",
    "mlflow.entities",
    "mlflow.tracking",
    "onnxruntime",
    "onnxruntime.quantization",
    "openvino",
    "ray",
    "ray._private.ray_constants",
]
"""A package that reports its use, or a module of one."""

_OFF: Final[Mapping[str, Mapping[str, str]]] = {
    "huggingface_hub": {"HF_HUB_DISABLE_TELEMETRY": "1"},
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true"},
    "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},
    "openvino": {},
    "ray": {"RAY_USAGE_STATS_ENABLED": "0"},
}
"""The variables that turn it off; one that the user has set is left as it is."""


def import_unreported(module: Reporting) -> Any:
    """Import a package, or a module of it, with its telemetry turned off.

    It has no effect on a package that the program imported before Thorax did.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    package = module.partition(".")[0]
    for name, value in _OFF[package].items():
        os.environ.setdefault(name, value)
    if package == "openvino":
        # No variable turns it off. Without this package, OpenVINO sends nothing.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: not importable
    return import_module(module)
