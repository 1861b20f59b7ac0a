"""Nets small enough to be worked out by hand, and small ones of each family."""

import torch
from torch import nn

from thorax.models import Classifier, build_classifier
from thorax.recipe.schema import Network

FAMILIES = {
    "resnet10t": {"arguments": {"channels": (8, 16, 16, 16)}},
    "densenet121": {"arguments": {"growth_rate": 8, "block_config": (1, 1, 1, 1)}},
    "test_efficientnet": {},
    "test_convnext": {},
    "test_vit": {},
    "swin_tiny_patch4_window7_224": {
        "arguments": {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 2, 3, 4)}
    },
}
"""One net of each kind that the shipped recipes name, at 64 pixels."""


def build(backbone="resnet10t", findings=3, seed=0, **settings) -> Classifier:
    """Return an untrained net in training mode, as `build_classifier` leaves it."""
    torch.manual_seed(seed)
    model = Network(backbone=backbone, **{"input_size": 64, **FAMILIES.get(backbone, {}), **settings})
    return build_classifier(model, findings)


class Powers(nn.Module):
    """A backbone whose two channels are the image and its square, place by place."""

    num_features = 2

    def forward_features(self, images):
        return torch.cat([images, images**2], dim=1)

    def forward_head(self, features):
        return features.mean(dim=(2, 3))


def powers(weight, bias=0.0) -> Classifier:
    """Return a net with the logits mean(w0 x + w1 x^2) + bias, one row of weights per finding."""
    classifier = build(findings=len(weight), mean=(0.0,), std=(1.0,))
    classifier.backbone = Powers()
    classifier.head = nn.Linear(2, len(weight))
    with torch.no_grad():
        classifier.head.weight[:] = torch.tensor(weight)
        classifier.head.bias[:] = bias
    return classifier


def images(count=2, size=64, seed=3):
    """Return smooth random images: noise of 8 x 8 cells."""
    cells = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(cells, size=(size, size), mode="bilinear")
