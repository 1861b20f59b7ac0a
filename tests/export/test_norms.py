"""Batch norms of maps become convolutions, and the numbers stay."""

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from thorax.export.norms import norms_as_convolutions


class Net(nn.Module):
    """A norm with no convolution before it, as in DenseNet, and one of vectors; both have seen something."""

    def __init__(self):
        super().__init__()
        self.of_map, self.conv = nn.BatchNorm2d(3, eps=1e-2), nn.Conv2d(3, 5, 3)
        self.of_vector, self.linear = nn.BatchNorm1d(5), nn.Linear(5, 2)

    def forward(self, x):
        vectors = torch.relu(self.conv(torch.relu(self.of_map(x)))).amax((2, 3))
        return self.linear(self.of_vector(torch.relu(vectors)))


def exported(net):
    file = io.BytesIO()
    example = torch.zeros(1, 3, 12, 12)
    torch.onnx.export(net.eval(), (example,), file, dynamo=False, input_names=["x"], opset_version=18)
    return onnx.load_model_from_string(file.getvalue())


def kinds(model):
    return [node.op_type for node in model.graph.node]


def run(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": images})[0]


def images():
    return np.random.default_rng(0).normal(size=(1, 3, 12, 12)).astype(np.float32)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_norm_of_a_map_becomes_a_convolution_and_the_numbers_stay():
    torch.manual_seed(0)
    net = Net()
    for norm in (net.of_map, net.of_vector):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(tensor, 0.2, 2)
    model = exported(net)
    before, norms = run(model, images()), kinds(model).count("BatchNormalization")
    norms_as_convolutions(model)
    onnx.checker.check_model(model)
    assert np.abs(run(model, images()) - before).max() < 1e-6
    # The vectors' norm, which no convolution can do, stays.
    assert next(kind for kind in kinds(model) if kind != "Constant") == "Conv"
    assert (norms, kinds(model).count("BatchNormalization")) == (2, 1)
    # What nothing reads any more is gone.
    read = {name for node in model.graph.node for name in node.input}
    assert {each.name for each in model.graph.initializer} <= read


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_norms_that_share_their_numbers():
    torch.manual_seed(0)
    # The exporter writes equal numbers once, and the others as Identity of those.
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.ReLU(), nn.BatchNorm2d(3))
    model = exported(net)
    assert kinds(model).count("Identity") > 0
    before = run(model, images())
    norms_as_convolutions(model)
    assert "BatchNormalization" not in kinds(model)
    assert np.abs(run(model, images()) - before).max() < 1e-6
