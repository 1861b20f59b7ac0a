"""Averages move before 1 x 1 convolutions, and only before those."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.graphs import exported, images, kinds, run
from thorax.exporting.onnx import average_first


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2, stride=2),
        nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
        nn.AvgPool2d(3, stride=2, ceil_mode=True, count_include_pad=False),
    ],
    ids=["transition", "margin not counted", "last window cut"],
)
@pytest.mark.parametrize("bias", [False, True])
def test_the_average_comes_first_and_the_numbers_stay(pool, bias):
    torch.manual_seed(0)
    before = exported(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 5, 1, bias=bias), pool))
    after = average_first(before)
    assert [kind for kind in kinds(before) if kind != "Constant"][-2:] == ["Conv", "AveragePool"]
    assert [kind for kind in kinds(after) if kind != "Constant"][-2:] == ["AveragePool", "Conv"]
    assert np.abs(run(after, images())[0] - run(before, images())[0]).max() < 1e-6


class ReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        mixed = self.conv(x)
        return nn.functional.avg_pool2d(mixed, 2), mixed


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.AvgPool2d(2)),
        nn.Sequential(nn.Conv2d(3, 5, 1, stride=2), nn.AvgPool2d(2)),
        nn.Sequential(nn.Conv2d(3, 5, 1, padding=1), nn.AvgPool2d(2)),
        nn.Sequential(nn.Conv2d(3, 5, 1), nn.AvgPool2d(3, padding=1)),
        nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU(), nn.AvgPool2d(2)),
        nn.Sequential(nn.Conv2d(3, 5, 1), nn.MaxPool2d(2)),
        ReadTwice(),
    ],
    ids=["3 x 3", "strided", "padded", "counts its margin", "not linear between", "maximum", "read twice"],
)
def test_where_it_would_change_numbers_or_save_nothing_all_stays(net):
    before = exported(net)
    after = average_first(before)
    assert kinds(after) == kinds(before)
    for found, expected in zip(run(after, images()), run(before, images()), strict=True):
        assert np.array_equal(found, expected)
