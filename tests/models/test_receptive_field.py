import pytest
import torch
from torch import nn

from thorax.explain.cam import exact_cam
from thorax.models import build_classifier, measure_feature_grid
from thorax.recipe.schema import Network


class Stack(nn.Module):
    """A backbone of given layers, each weight of which is 1."""

    def __init__(self, *layers, stride):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.num_features = 2
        self.feature_info = [{"reduction": stride}]
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(1.0)

    def forward_features(self, images):
        return self.layers(images)

    def forward_head(self, features):
        return features.mean(dim=(2, 3))


def conv(kernel, stride, padding=0, *, first=False):
    return nn.Conv2d(1 if first else 2, 2, kernel, stride, padding, bias=False)


def net(*layers, stride=8):
    model = Network(
        backbone="resnet10t",
        arguments={"channels": (8, 8, 8, 8)},
        input_size=64,
        mean=(0.0,),
        std=(1.0,),
    )
    classifier = build_classifier(model, 1)
    classifier.backbone = Stack(*layers, stride=stride)
    classifier.head = nn.Linear(2, 1)
    with torch.no_grad():
        classifier.head.weight.fill_(1.0)
        classifier.head.bias.zero_()
    return classifier


THREES = (conv(3, 2, 1, first=True), nn.ReLU(), conv(3, 2, 1), nn.ReLU(), conv(3, 2, 1))


@pytest.mark.parametrize(
    ("layers", "start", "step"),
    [
        (THREES, 0.5, 8),  # place i is around pixel 8 i
        ((conv(4, 4, first=True), conv(4, 4)), 8.0, 16),  # patches
        ((conv(7, 2, 3, first=True), nn.AvgPool2d(2), nn.AvgPool2d(2)), 3.5, 8),  # between 4 and 4
        ((nn.ZeroPad2d((0, 1, 0, 1)), conv(3, 2, first=True)), 1.5, 2),  # as TensorFlow pads
        ((conv(1, 1, first=True), nn.AvgPool2d(32)), 16.0, 32),
    ],
)
@pytest.mark.parametrize("size", [64, 96])
def test_places_look_where_the_layers_say(layers, start, step, size):
    places = measure_feature_grid(net(*layers, stride=step), size)
    assert places.step == step
    assert places.start == pytest.approx(start, abs=0.1)


def test_a_side_that_is_no_multiple_of_the_stride_has_the_strides_places():
    patches = (conv(4, 4, first=True), conv(4, 4))
    places = measure_feature_grid(net(*patches, stride=16), 72)  # 4 places of 16 pixels, 8 left over
    assert (places.start, places.step) == (pytest.approx(8.0, abs=0.1), 16)


def test_the_map_of_a_dot_is_highest_at_the_dot():
    classifier = net(*THREES).eval()
    dots = [(row, column) for row in range(8, 57, 8) for column in range(8, 57, 8)]  # where places look
    images = torch.zeros(len(dots), 1, 64, 64)
    for image, dot in zip(images, dots, strict=True):
        image[0][dot] = 1.0

    def peaks():
        maps = exact_cam(classifier, images, [0])[:, 0].flatten(1)
        return [divmod(int(place), 64) for place in maps.argmax(dim=1)]

    drawn = peaks()
    assert all(abs(row - dot[0]) >= 3 for (row, _), dot in zip(drawn, dots, strict=True))  # as equal squares
    classifier.feature_grid = measure_feature_grid(classifier, 64)
    assert peaks() == dots


@pytest.mark.parametrize("backbone", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_transformers_have_equal_squares(backbone):
    small = {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 2, 3, 4)}
    arguments = small if backbone.startswith("swin") else {}
    model = Network(backbone=backbone, input_size=64, arguments=arguments)
    assert measure_feature_grid(build_classifier(model, 2), 64) is None


@pytest.mark.parametrize("size", [65, 95, 128])  # 3, 2 or 3, and 4 places along an axis
@pytest.mark.parametrize(("backbone", "start"), [("test_convnext", 16.0), ("test_efficientnet", 0.5)])
def test_real_backbones_look_where_their_strides_say(backbone, start, size):
    torch.manual_seed(0)
    places = measure_feature_grid(build_classifier(Network(backbone=backbone, input_size=size), 2), size)
    assert places.step == 32
    assert places.start == pytest.approx(start, abs=1.5)


def test_nothing_is_measured_where_nobody_says_the_stride():
    classifier = net(*THREES)
    del classifier.backbone.feature_info
    assert measure_feature_grid(classifier, 64) is None


def test_a_dead_net_has_none():
    classifier = net(*THREES)
    nn.init.zeros_(classifier.backbone.layers[0].weight)
    assert measure_feature_grid(classifier, 64) is None


def test_the_net_is_left_as_it_was():
    classifier = net(*THREES).train()
    classifier.head.eval()
    before = torch.get_rng_state()
    with torch.no_grad():
        first = measure_feature_grid(classifier, 64)
    assert first == measure_feature_grid(classifier, 64)
    assert classifier.training
    assert not classifier.head.training
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert torch.equal(torch.get_rng_state(), before)
