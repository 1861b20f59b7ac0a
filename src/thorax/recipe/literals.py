"""Closed choices and defaults of recipes and commands, in a module that the command line imports quickly."""

from typing import Final, Literal, get_args

__all__ = [
    "MAP_METHODS",
    "PERTURBATION_NAMES",
    "SPLIT_NAMES",
    "STANDARD_LEVEL",
    "CalibrationKind",
    "Checklist",
    "EngineName",
    "EngineOrRay",
    "Fit",
    "ForeignKind",
    "MapMethod",
    "MeanOf",
    "MemberWeights",
    "OperatingPointRule",
    "Overlays",
    "PerturbationKind",
]

STANDARD_LEVEL: Final = 0.9
"""The level of the bands in which a finding is not decided, unless another is asked for."""

CalibrationKind = Literal["temperature", "platt"]
"""One temperature for all findings (Guo et al. 2017), or a slope and intercept per finding (Platt 1999)."""

Checklist = Literal["tripod-ai"]
"""A checklist for studies, which a model card can have: TRIPOD+AI (Collins et al., BMJ 2024)."""

EngineName = Literal["auto", "torch", "onnx", "onnx-int8", "openvino", "openvino-int8"]
"""auto: torch on a GPU; on a CPU the exported float32 ONNX nets if the bundle has them, otherwise torch.
Quantized nets, whose probabilities differ slightly, are used only if named."""

EngineOrRay = Literal[EngineName, "ray"]
"""An engine, or the fastest exact one on the nodes of a Ray cluster."""

Fit = Literal["pad", "crop", "stretch"]
"""How a radiograph that is not square is made square: black bars, the central square, or distortion."""

ForeignKind = Literal[
    "chexnet-torchvision", "torchxrayvision", "torchvision", "keras", "timm", "mae", "eva-x"
]
"""Where a foreign checkpoint comes from."""

MapMethod = Literal[
    "cam",
    "grad-cam",
    "grad-cam++",
    "hirescam",
    "layer-cam",
    "eigen-cam",
    "rollout",
    "gradient-rollout",
    "integrated-gradients",
    "smooth-grad",
    "occlusion",
    "rise",
]
"""How a map of the evidence for a finding is computed."""

MAP_METHODS: Final[tuple[MapMethod, ...]] = get_args(MapMethod)
"""Every method, from those that need one pass through the network to those that need hundreds."""

MeanOf = Literal["probabilities", "logits"]
"""What is averaged over views and members."""

MemberWeights = Literal["equal", "validation"]
"""The weights of an ensemble's members: equal, or fitted on validation."""

OperatingPointRule = Literal["f1-optimal", "youden", "sensitivity-90", "specificity-95", "one-half"]
"""How thresholds on probabilities are chosen on validation; one-half is 0.5 for every finding."""

SPLIT_NAMES: Final = (
    "nih-official",
    "nih-random-patient",
    "patient-80-10-10",
    "patient-70-15-15",
    "patient-92.8-5.2-2",
    "folder-official",
)
"""The registered splits; `thorax.datasets.splits` has their functions."""

PerturbationKind = Literal[
    "jpeg", "noise", "gamma", "window-width", "window-center", "bit-depth", "rotation", "blur", "resolution"
]
"""What is changed in an image to measure robustness."""

PERTURBATION_NAMES: Final[tuple[PerturbationKind, ...]] = get_args(PerturbationKind)
"""Every kind of perturbation."""

Overlays = Literal["positive", "all", "none"]
"""Findings that get a heat map beside predictions: the positive ones of each image, all, or none."""
