"""Networks: gray images to logits. This package and everything above it needs torch."""

from thorax.models.classifier import (
    Classifier,
    build_classifier,
    evaluation_mode,
)
from thorax.models.heads import feature_map
from thorax.models.receptive_field import measure_feature_grid
from thorax.models.tensors import pick_device
from thorax.models.test_time_views import to_input, warp
from thorax.models.weights import load_weights, no_larger_than, weights_as_bytes

__all__ = [
    "Classifier",
    "build_classifier",
    "evaluation_mode",
    "feature_map",
    "load_weights",
    "measure_feature_grid",
    "no_larger_than",
    "pick_device",
    "to_input",
    "warp",
    "weights_as_bytes",
]
