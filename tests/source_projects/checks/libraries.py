"""torchvision, which thorax makes importable where its compiled operators are missing."""

import importlib
from typing import Any

from thorax.models.backbones import timm

assert timm

models: Any = importlib.import_module("torchvision.models")
transforms: Any = importlib.import_module("torchvision.transforms")
