import math

import numpy as np
import pytest
import torch
from torch import nn

from thorax.errors import RecipeError
from thorax.models import build_classifier, feature_map
from thorax.models.backbones import timm
from thorax.models.heads import (
    at_each_location,
    attention_logits,
    build_convolutions,
    build_head,
    log_sum_exp,
)
from thorax.recipe.schema import Head, Network

TINY = {
    "resnet10t": {"channels": (8, 16, 16, 16)},
    "densenet121": {"growth_rate": 8, "block_config": (1, 1, 1, 1)},
    "test_efficientnet": {},
    "test_convnext": {},
    "test_vit": {"img_size": 64},
    "swin_tiny_patch4_window7_224": {
        "depths": (1, 1, 1, 1),
        "embed_dim": 12,
        "num_heads": (1, 2, 3, 4),
        "img_size": 64,
    },
    "mobilenetv3_small_050": {},
}


def build(name):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0, in_chans=1, **TINY[name]).eval()


def features_of(backbone, count=2):
    torch.manual_seed(1)
    with torch.no_grad():
        return backbone.forward_features(torch.rand(count, 1, 64, 64))


class Net(nn.Module):
    """What of a backbone decides the layout of its features."""

    def __init__(self, **attributes):
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


def test_a_map_of_each_layout_by_hand():
    expected = torch.arange(12.0).reshape(1, 3, 2, 2)  # channel c at row h, column w is 4 c + 2 h + w
    assert torch.equal(feature_map(Net(num_features=3), expected), expected)
    last = expected.permute(0, 2, 3, 1)
    assert torch.equal(feature_map(Net(num_features=3, output_fmt="NHWC"), last), expected)
    tokens = torch.tensor([[[0.0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]])
    assert torch.equal(feature_map(Net(num_features=3), tokens), expected)
    with_class = torch.cat([torch.full((1, 2, 3), 99.0), tokens], dim=1)
    assert torch.equal(feature_map(Net(num_features=3, num_prefix_tokens=2), with_class), expected)


@pytest.mark.parametrize("shape", [(1, 7, 3), (1, 3), (1, 4, 2, 2), (1, 1, 3)])
def test_features_that_are_no_map_are_refused(shape):
    net = Net(num_features=3, num_prefix_tokens=1)
    with pytest.raises(
        RecipeError, match=r"the features of a Net, of shape .*, are not a spatial map; set model"
    ):
        feature_map(net, torch.zeros(shape))


@pytest.mark.parametrize(
    "name", ["resnet10t", "densenet121", "test_efficientnet", "swin_tiny_patch4_window7_224"]
)
def test_a_head_that_only_pools_does_nothing_to_a_place(name):
    backbone = build(name)
    features = features_of(backbone)
    assert torch.equal(at_each_location(backbone, features), feature_map(backbone, features))


def test_what_a_backbones_head_does_besides_pooling_is_done_at_each_location():
    with torch.no_grad():
        convnext = build("test_convnext")
        convnext.head.norm.weight.uniform_()
        features = features_of(convnext)
        torch.testing.assert_close(at_each_location(convnext, features), convnext.head.norm(features))

        mobilenet = build("mobilenetv3_small_050")
        features = features_of(mobilenet)
        expected = mobilenet.act2(mobilenet.norm_head(mobilenet.conv_head(features)))
        torch.testing.assert_close(at_each_location(mobilenet, features), expected)

        vit = build("test_vit")
        features = features_of(vit)
        expected = vit.fc_norm(features[:, 1:]).transpose(1, 2).reshape(2, -1, 4, 4)
        torch.testing.assert_close(at_each_location(vit, features), expected)


def test_log_sum_exp_by_hand():
    places = torch.tensor([[[[0.0, math.log(3)]], [[5.0, 5.0]]]])
    assert log_sum_exp(places, 1.0)[0].tolist() == pytest.approx([math.log(2), 5])
    # r = 2: half the logarithm of (1 + 9) / 2.
    assert log_sum_exp(places, 2.0)[0].tolist() == pytest.approx([math.log(5) / 2, 5])


def test_log_sum_exp_lies_between_mean_and_maximum():
    torch.manual_seed(0)
    places = torch.randn(2, 4, 5, 5)
    flat = places.double().flatten(2)
    for r in (0.5, 10.0):
        slow = np.log(np.exp(r * flat.numpy()).mean(axis=2)) / r
        np.testing.assert_allclose(log_sum_exp(places, r).numpy(), slow, rtol=1e-4, atol=1e-6)
    rising = torch.stack([log_sum_exp(places, r) for r in (0.01, 1.0, 10.0, 1000.0)])
    assert bool((rising.diff(dim=0) > 0).all())
    torch.testing.assert_close(rising[0], places.mean(dim=(2, 3)), atol=0.02, rtol=0)
    torch.testing.assert_close(rising[-1], places.amax(dim=(2, 3)), atol=0.01, rtol=0)


def test_log_sum_exp_does_not_overflow():
    places = torch.tensor([[[[3e4, -3e4]]]], requires_grad=True)
    pooled = log_sum_exp(places, 10.0)
    pooled.sum().backward()
    assert pooled.item() == pytest.approx(3e4 - math.log(2) / 10, abs=0.01)
    assert places.grad.flatten().tolist() == [1, 0]


def test_attention_equals_pooling_a_vector_for_each_finding():
    torch.manual_seed(0)
    head, places = nn.Linear(6, 3), torch.randn(2, 6, 4, 5)
    with torch.no_grad():
        found = attention_logits(head(places.permute(0, 2, 3, 1)))
        for image in range(2):
            for k in range(3):
                weights = torch.zeros(4, 5)
                for row in range(4):
                    for column in range(5):
                        evidence = head.weight[k] @ places[image, :, row, column] + head.bias[k]
                        weights[row, column] = torch.sigmoid(evidence)
                pooled = (places[image] * (weights / weights.sum())).sum(dim=(1, 2))
                expected = head.weight[k] @ pooled + head.bias[k]
                assert float(found[image, k]) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("value", [-200.0, 0.0, 200.0])
def test_attention_to_even_evidence_is_that_evidence(value):
    evidence = torch.full((1, 3, 3, 2), value, requires_grad=True)
    logits = attention_logits(evidence)
    logits.sum().backward()
    assert logits[0].tolist() == pytest.approx([value, value])
    assert bool(torch.isfinite(evidence.grad).all())


def test_hidden_layers_by_hand():
    head = build_head(2, (2,), 1, dropout=0.5).eval()
    with torch.no_grad():
        head[0].weight.copy_(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
        head[0].bias.zero_()
        head[3].weight.copy_(torch.tensor([[10.0, 1.0]]))
        head[3].bias.fill_(0.5)
        # Hidden: max(1 - 3, 0) and 4.
        assert float(head(torch.tensor([[1.0, 3.0]]))) == 4.5
    assert [type(layer).__name__ for layer in build_head(2, (4, 3), 1, dropout=0.0)] == [
        *("Linear", "ReLU", "Dropout") * 2, "Linear",
    ]  # fmt: skip


@pytest.mark.parametrize("pool", ["lse", "attention"])
@pytest.mark.parametrize("name", TINY)
def test_each_family_pools_in_other_ways(name, pool):
    torch.manual_seed(0)
    arguments = {key: value for key, value in TINY[name].items() if key != "img_size"}
    model = Network(backbone=name, arguments=arguments, input_size=64, head=Head(pool=pool))
    classifier = build_classifier(model, 3).eval()
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        logits = classifier(images)
        torch.testing.assert_close(classifier(images[1:]), logits[1:], rtol=1e-4, atol=1e-5)
    assert logits.shape == (2, 3)
    assert bool(torch.isfinite(logits).all())
    assert not classifier.exact_cam
    assert {name for name in classifier.state_dict() if name.startswith("head")} == {
        "head.weight",
        "head.bias",
    }


def test_a_head_that_does_more_than_pool_is_refused():
    # CLIP's ResNets pool by attention with an embedding of each place.
    model = Network(backbone="resnet50_clip", input_size=224, head=Head(pool="lse"))
    with pytest.raises(RecipeError) as raised:
        build_classifier(model, 2)
    assert str(raised.value) == (
        "model.head.pool = 'lse' does not work with backbone resnet50_clip, whose own head does more than "
        "pool its features; set model.head.pool=backbone, or choose another backbone"
    )


def test_sharp_pooling_of_one_place_is_no_pooling():
    """At 32 pixels the last map of a ResNet is one place: all pools agree."""
    logits = []
    for pool in ("backbone", "lse", "attention"):
        torch.manual_seed(0)
        model = Network(
            backbone="resnet10t", arguments=TINY["resnet10t"], input_size=32, head=Head(pool=pool)
        )
        classifier = build_classifier(model, 3).eval()
        with torch.no_grad():
            logits.append(classifier(torch.linspace(0, 1, 1024).reshape(1, 1, 32, 32)))
    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(logits[0], logits[2])


class CustomHead(nn.Module):
    """The head of CustomDenseNet121 in its three parts, step by step."""

    def __init__(self, size, num_findings):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in (size, 256, 256, 128))
        self.first = nn.Conv2d(size, 256, kernel_size=3, padding="same")
        self.second = nn.Conv2d(256, 256, kernel_size=3, padding="same")
        self.third = nn.Conv2d(256, 128, kernel_size=1, padding="same")
        self.linear = nn.Linear(128, num_findings)

    def forward(self, maps):
        for norm, convolution in zip(self.norms, (self.first, self.second, self.third), strict=False):
            maps = convolution(torch.relu(norm(maps)))
        maps = torch.relu(self.norms[3](nn.functional.avg_pool2d(maps, kernel_size=2, stride=2)))
        return self.linear(nn.functional.adaptive_avg_pool2d(maps, (1, 1)).flatten(1))


@pytest.mark.parametrize("training", [True, False])
def test_a_head_of_convolutions_is_that_of_custom_densenet121(training):
    torch.manual_seed(0)
    twin, head = CustomHead(32, 5), build_convolutions(32, (256, 256, 128), 5, dropout=0.0)
    ordered = [
        tensor
        for pair in zip(twin.norms, (twin.first, twin.second, twin.third, twin.linear), strict=True)
        for module in pair
        for tensor in module.state_dict().values()
    ]
    head.load_state_dict(dict(zip(head.state_dict(), ordered, strict=True)))
    maps = torch.randn(3, 32, 5, 5)
    twin.train(training)
    head.train(training)
    assert torch.allclose(head(maps), twin(maps), atol=1e-6)


def test_a_recipe_builds_a_head_of_convolutions():
    model = Network(
        backbone="densenet121",
        arguments=TINY["densenet121"],
        input_size=64,
        head=Head(pool="convolutions", hidden=(8, 4), dropout=0.5),
    )
    net = build_classifier(model, 3).eval()
    assert not net.exact_cam
    images = torch.rand(2, 1, 64, 64)
    assert torch.allclose(net(images), net.head(net.features(images)), atol=1e-5)
    assert [tuple(p.shape) for name, p in net.head.named_parameters() if p.ndim == 4] == [
        (8, net.backbone.num_features, 3, 3),
        (4, 8, 1, 1),
    ]


def test_a_map_too_small_for_convolutions_is_refused():
    model = Network(
        backbone="densenet121",
        arguments=TINY["densenet121"],
        input_size=32,
        head=Head(pool="convolutions", hidden=(8,)),
    )
    with pytest.raises(RecipeError, match=r"2 x 2 locations or more, but model\.input_size = 32 gives"):
        build_classifier(model, 3)
