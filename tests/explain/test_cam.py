import numpy as np
import pytest
import torch

from tests.helpers.toy_nets import FAMILIES, build, images, powers
from thorax.errors import RecipeError
from thorax.explain.cam import eigen_cam, exact_cam, gradient_cam, gradients, last_feature_map
from thorax.models import evaluation_mode, feature_map

PIXELS = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
WEIGHT = [[2.0, 1.0], [1.0, -1.0]]


def test_cam_by_hand():
    maps = exact_cam(powers(WEIGHT, bias=5.0), PIXELS, [0, 1])
    # 2x + x^2 and x - x^2
    torch.testing.assert_close(maps[0, 0], torch.tensor([[3.0, 8.0], [15.0, 24.0]]))
    torch.testing.assert_close(maps[0, 1], torch.tensor([[0.0, -2.0], [-6.0, -12.0]]))


@pytest.mark.parametrize(
    ("method", "first", "second"),
    [
        # The logit is a mean over four places: each gradient is the weight over 4.
        ("grad-cam", [[3 / 4, 8 / 4], [15 / 4, 24 / 4]], [[0.0, 0.0], [0.0, 0.0]]),
        ("hirescam", [[3 / 4, 8 / 4], [15 / 4, 24 / 4]], [[0.0, -2 / 4], [-6 / 4, -12 / 4]]),
        # Only the first channel speaks for the second finding: x / 4.
        ("layer-cam", [[3 / 4, 8 / 4], [15 / 4, 24 / 4]], [[1 / 4, 2 / 4], [3 / 4, 4 / 4]]),
        # Sums of the channels 10 and 30. First: 4 (1/2) / (2 + 10/2) = 2/7 and 4 (1/4) / (2 + 30/4) = 2/19;
        # second: 4 (1/4) / (2 + 10/4) = 2/9 and nothing.
        (
            "grad-cam++",
            [[2 / 7 + 2 / 19, 4 / 7 + 8 / 19], [6 / 7 + 18 / 19, 8 / 7 + 32 / 19]],
            [[2 / 9, 4 / 9], [6 / 9, 8 / 9]],
        ),
    ],
)
def test_gradient_cams_by_hand(method, first, second):
    maps = gradient_cam(powers(WEIGHT), PIXELS, [0, 1], method=method)
    torch.testing.assert_close(maps, torch.tensor([[first, second]]))


def test_eigen_cam_by_hand():
    # Places (1, 1), (2, 4), (3, 9), (4, 16): the matrix of products has 30, 100 and 354.
    direction = np.linalg.eigh(np.array([[30.0, 100.0], [100.0, 354.0]]))[1][:, -1]
    direction *= np.sign(direction.sum())
    expected = [[x * direction[0] + x**2 * direction[1] for x in row] for row in ((1, 2), (3, 4))]
    maps = eigen_cam(powers(WEIGHT), PIXELS)
    torch.testing.assert_close(maps[0, 0], torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("backbone", ["resnet10t", "densenet121", "swin_tiny_patch4_window7_224"])
def test_the_mean_of_an_exact_cam_is_the_logit(backbone):
    classifier, shown = build(backbone).eval(), images()
    with torch.no_grad():
        logits = classifier(shown)
    maps = exact_cam(classifier, shown, [0, 1, 2])
    torch.testing.assert_close(maps.mean(dim=(2, 3)) + classifier.head.bias.detach(), logits)
    places = 4  # 64 pixels, stride 32
    sums = gradient_cam(classifier, shown, [0, 1, 2], method="hirescam").mean(dim=(2, 3)) * places
    torch.testing.assert_close(sums + classifier.head.bias.detach(), logits)


@pytest.mark.parametrize("backbone", [*FAMILIES, "test_vit2"])
@pytest.mark.parametrize("head", [{}, {"hidden": (5,)}, {"pool": "lse"}])
def test_gradients_equal_those_of_the_whole_net(backbone, head):
    """The net in two parts is the net: the same logits, and the gradients that `backward` leaves."""
    classifier, shown = build(backbone, head=head), images()
    with evaluation_mode(classifier):
        last = last_feature_map(classifier, shown)
        torch.testing.assert_close(last.logits(last.features), classifier(shown))
        found = list(gradients(last, [2, 0]))
        leaf = last.features.clone().requires_grad_()
        for column, gradient in zip([2, 0], found, strict=True):
            leaf.grad = None
            last.logits(leaf)[:, column].sum().backward()
            torch.testing.assert_close(gradient, feature_map(classifier.backbone, leaf.grad))
            assert bool((gradient != 0).any())


def test_a_vit_that_is_read_from_its_class_token_has_gradients_at_its_places():
    classifier = build("test_vit").eval()
    features = classifier.features(images()).detach().requires_grad_()
    classifier.classify(features).sum().backward()
    assert bool((features.grad[:, 1:] == 0).all())  # the last map would be of no use
    assert float(gradient_cam(classifier, images(), [0, 1], method="hirescam").abs().max()) > 0


def test_a_net_without_an_exact_cam_says_what_to_take():
    for head in ({"hidden": (5,)}, {"pool": "lse"}):
        with pytest.raises(RecipeError, match=r"this ResNet are not the mean.*use the method grad-cam"):
            exact_cam(build(head=head), images(), [0])


def test_a_class_token_that_nobody_knows_how_to_follow_is_refused():
    classifier = build("vit_tiny_patch16_224", arguments={"depth": 1})
    classifier.backbone.blocks[-1].__class__ = torch.nn.Identity
    with pytest.raises(RecipeError, match=r"read from its class token.*occlusion or rise"):
        gradient_cam(classifier, images(), [0], method="grad-cam")
