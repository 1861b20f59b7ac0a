"""Importing timm where torchvision's compiled part does not fit the installed torch.

timm imports torchvision, and the usual torchvision wheel beside a CPU-only torch fails on import because
two of its operators are not registered. Thorax needs none of them. Their schemas are declared, and only
after the import failed with exactly that message; `torchvision.ops` and `torchvision.io` stay unusable.
"""

import importlib
import sys
from typing import Any

import torch

__all__ = ["timm"]

_MISSING = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list[Any] = []
"""The declared schemas; they last only as long as these objects."""


def _import_timm() -> Any:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
        # torch has no types for these two.
        declare: Any = torch.library.Library
        library = declare("torchvision", "DEF")
        for schema in _SCHEMAS:
            library.define(schema)
        _declared.append(library)
        # What the failed import left behind would be taken for whole by the next one.
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    return importlib.import_module("timm")


timm = _import_timm()
