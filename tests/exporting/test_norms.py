"""Batch norms of maps become convolutions, and the numbers stay."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.helpers.graphs import exported, images, kinds, run
from thorax.exporting.onnx import norms_as_convolutions


class Net(nn.Module):
    """A norm with no convolution before it, as in DenseNet, and one of vectors; both have seen something."""

    def __init__(self):
        super().__init__()
        self.of_map, self.conv = nn.BatchNorm2d(3, eps=1e-2), nn.Conv2d(3, 5, 3)
        self.of_vector, self.linear = nn.BatchNorm1d(5), nn.Linear(5, 2)
        for norm in (self.of_map, self.of_vector):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                nn.init.uniform_(tensor, 0.2, 2)

    def forward(self, x):
        vectors = torch.relu(self.conv(torch.relu(self.of_map(x)))).amax((2, 3))
        return self.linear(self.of_vector(torch.relu(vectors)))


def changed(content):
    model = onnx.load_model_from_string(content)
    norms_as_convolutions(model)
    onnx.checker.check_model(model)
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_norm_of_a_map_becomes_a_convolution_and_the_numbers_stay():
    torch.manual_seed(0)
    before = exported(Net())
    model = changed(before)
    after = model.SerializeToString()
    assert np.abs(run(after, images())[0] - run(before, images())[0]).max() < 1e-6
    # The vectors' norm, which no convolution can do, stays.
    assert next(kind for kind in kinds(after) if kind != "Constant") == "Conv"
    assert [kinds(graph).count("BatchNormalization") for graph in (before, after)] == [2, 1]
    # What nothing reads any more is gone.
    read = {name for node in model.graph.node for name in node.input}
    assert {each.name for each in model.graph.initializer} <= read


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_norms_that_share_their_numbers():
    torch.manual_seed(0)
    # The exporter writes equal numbers once, and the others as Identity of those.
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.ReLU(), nn.BatchNorm2d(3))
    before = exported(net)
    assert "Identity" in kinds(before)
    after = changed(before).SerializeToString()
    assert "BatchNormalization" not in kinds(after)
    assert np.abs(run(after, images())[0] - run(before, images())[0]).max() < 1e-6
