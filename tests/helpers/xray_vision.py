"""TorchXRayVision's DenseNet with random weights, in files as that library would write them."""

import importlib
import sys
import types
import warnings
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional

import thorax.models.backbones  # noqa: F401  (the shim that makes torchvision importable)

__all__ = ["DenseNet", "lived_in", "random_densenet", "save", "torchxrayvision_named"]

torchvision = importlib.import_module("torchvision")


class DenseNet(nn.Module):
    """What torchxrayvision.models.DenseNet computes (models.py of mlmed/torchxrayvision)."""

    def __init__(self, outputs=18):
        super().__init__()
        net = torchvision.models.densenet121(num_classes=outputs)
        net.features.conv0 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.features, self.classifier, self.op_threshs = net.features, net.classifier, None

    def forward(self, x):
        out = functional.relu(self.features(x))
        return self.classifier(functional.adaptive_avg_pool2d(out, (1, 1)).flatten(1))


def lived_in(net):
    """Give batch norms statistics as after training, so that a lost one shows."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(5)
    return net.eval()


def random_densenet():
    torch.manual_seed(2)
    net = lived_in(DenseNet())
    # Inputs of +-1024 would drive the logits of random weights to the hundreds.
    net.classifier.weight.data.mul_(0.01)
    return net


def save(content, path, *, as_zip=True):
    with warnings.catch_warnings():
        # The older format stores the source text of a class, which a class made here has not.
        warnings.simplefilter("ignore")
        torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    return path


@contextmanager
def torchxrayvision_named():
    """Pickles made here name TorchXRayVision's class; its package is gone afterwards, as for a reader."""
    package, module = types.ModuleType("torchxrayvision"), types.ModuleType("torchxrayvision.models")
    module.DenseNet = DenseNet
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DenseNet, "__module__", "torchxrayvision.models")
        patch.setitem(sys.modules, "torchxrayvision", package)
        patch.setitem(sys.modules, "torchxrayvision.models", module)
        yield
