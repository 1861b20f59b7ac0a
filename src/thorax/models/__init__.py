"""Nets: from grey images to logits. Everything from here on needs torch."""

from thorax.models.classifier import Classifier, build_classifier
from thorax.models.device import pick_device
from thorax.models.heads import feature_map
from thorax.models.places import measure_places
from thorax.models.resample import to_input, warp
from thorax.models.rest import at_rest
from thorax.models.weights import load_weights, weights_as_bytes

__all__ = [
    "Classifier",
    "at_rest",
    "build_classifier",
    "feature_map",
    "load_weights",
    "measure_places",
    "pick_device",
    "to_input",
    "warp",
    "weights_as_bytes",
]
