"""Closed choices of recipes and commands. They stand alone, so that the command line knows them at once."""

from typing import Literal

__all__ = [
    "CalibrationKind",
    "EngineName",
    "Fit",
    "ForeignKind",
    "MeanOf",
    "MemberWeights",
    "OperatingPointRule",
]

CalibrationKind = Literal["temperature", "platt"]
"""One temperature for all findings (Guo et al. 2017), or slope and intercept of each (Platt 1999)."""

EngineName = Literal["auto", "torch", "onnx", "onnx-int8", "openvino", "openvino-int8"]
"""auto: on a GPU torch; on a CPU the exported ONNX nets in float32, where the bundle has them, else torch.
The quantized ones, whose probabilities differ a little, are used only by name."""

Fit = Literal["pad", "crop", "stretch"]
"""How a radiograph that is not square becomes one: black bars, the center, or distortion."""

ForeignKind = Literal["chexnet-torchvision", "torchxrayvision", "torchvision", "timm", "mae", "eva-x"]
"""Where a foreign checkpoint comes from."""

MeanOf = Literal["probabilities", "logits"]
"""What is averaged over views and members."""

MemberWeights = Literal["equal", "validation"]
"""The weights of an ensemble's members: equal, or fitted on validation."""

OperatingPointRule = Literal["f1-optimal", "youden", "sensitivity-90", "specificity-95", "one-half"]
"""How thresholds on probabilities are chosen on validation; one-half is 0.5 for every finding."""
