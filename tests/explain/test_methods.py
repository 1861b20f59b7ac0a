import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from tests.helpers.toy_nets import FAMILIES, build, images, powers
from thorax.boxes import Box
from thorax.errors import RecipeError
from thorax.evaluation.localization.regions import BoxedFinding, map_overlap
from thorax.evaluation.localization.scores import localize
from thorax.explain import METHODS, NOT_OF_A_FINDING
from thorax.explain.torch_explainer import explain
from thorax.findings import NIH14
from thorax.models import build_classifier
from thorax.recipe.schema import Network

OF_A_FINDING = [method for method in METHODS if method not in NOT_OF_A_FINDING]
QUICK = [method for method in METHODS if method not in {"occlusion", "rise"}]
EXACT = {"resnet10t", "densenet121", "test_efficientnet", "swin_tiny_patch4_window7_224"}


def goes_with(backbone, method):
    """Whether a method goes with a family."""
    if method == "cam":
        return backbone in EXACT
    return backbone == "test_vit" or "rollout" not in method


def hooks(classifier):
    """How many hooks are set anywhere in a net, or on its parameters."""
    kinds = [name for name in vars(nn.Module()) if name.endswith("_hooks")]
    on_modules = sum(len(getattr(module, kind)) for module in classifier.modules() for kind in kinds)
    return on_modules + sum(len(each._backward_hooks or ()) for each in classifier.parameters())


# RISE asks nothing but logits, a thousand times: one family stands for all.
EACH_WITH_EACH = [(b, m) for b in FAMILIES for m in METHODS if m != "rise"] + [("densenet121", "rise")]


@pytest.mark.parametrize(("backbone", "method"), EACH_WITH_EACH)
def test_each_method_with_each_family(backbone, method):
    classifier, shown = build(backbone), images(1)
    if not goes_with(backbone, method):
        with pytest.raises(RecipeError, match="use the method grad-cam or hirescam"):
            explain(classifier, shown, [2, 0], method=method)
        return
    maps = explain(classifier, shown, [2, 0], method=method)
    assert maps.shape == (1, 2, 64, 64)
    assert maps.dtype == np.float32
    assert np.all(np.isfinite(maps))
    assert (np.min(maps) < 0) <= (method in {"cam", "hirescam", "integrated-gradients", "occlusion", "rise"})
    if method in NOT_OF_A_FINDING:
        assert np.array_equal(maps[:, 0], maps[:, 1])
        assert np.max(maps) > 0
    elif np.any(maps):
        assert not np.array_equal(maps[:, 0], maps[:, 1])


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_its_images_give_alone(method):
    classifier, shown = build("test_vit" if "rollout" in method else "densenet121"), images(2)
    together = explain(classifier, shown, [1, 2], method=method, seed=5)
    for image, maps in zip(shown, together, strict=True):
        alone = explain(classifier, image[None], [1, 2], method=method, seed=5)[0]
        np.testing.assert_allclose(maps, alone, rtol=2e-3, atol=2e-4 * float(np.max(np.abs(together))))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_the_net_is_left_as_it_was(method, training):
    classifier = build("test_vit" if "rollout" in method else "resnet10t", head={"dropout": 0.5})
    classifier.train(training)
    classifier.backbone.get_submodule("blocks.0" if "rollout" in method else "layer1").train(not training)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    modes = [module.training for module in classifier.modules()]
    asked = [parameter.requires_grad for parameter in classifier.parameters()]
    shown = images(1, size=64 if "rollout" in method else 32)
    first = explain(classifier, shown, [0], method=method)
    assert np.array_equal(first, explain(classifier, shown, [0], method=method))  # dropout did not act
    assert hooks(classifier) == 0
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert [parameter.requires_grad for parameter in classifier.parameters()] == asked
    assert [module.training for module in classifier.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in classifier.state_dict().items())


@pytest.mark.parametrize("method", QUICK)
def test_frozen_nets_and_no_grad_change_nothing(method):
    classifier = build("test_vit" if "rollout" in method else "resnet10t")
    expected = explain(classifier, images(), [0, 1], method=method)
    classifier.requires_grad_(requires_grad=False)
    with torch.no_grad():
        assert np.array_equal(explain(classifier, images(), [0, 1], method=method), expected)


@pytest.mark.parametrize(
    ("backbone", "method"),
    [(b, m) for b in ("densenet121", "test_vit") for m in OF_A_FINDING if m != "rise" and goes_with(b, m)]
    + [("densenet121", "rise")],
)
def test_zero_weights_give_a_zero_map(backbone, method):
    classifier = build(backbone)
    nn.init.zeros_(classifier.head.weight)
    nn.init.constant_(classifier.head.bias, 1.5)
    assert not np.any(explain(classifier, images(1), [0, 1], method=method))


@pytest.mark.parametrize("method", ["grad-cam", "hirescam", "layer-cam", "occlusion", "integrated-gradients"])
def test_what_no_finding_asks_for_gives_a_zero_map(method):
    classifier = powers([[1.0, 0.5], [0.0, 0.0]])
    maps = explain(classifier, images(size=16), [0, 1], method=method)
    assert np.any(maps[:, 0])
    assert not np.any(maps[:, 1])


class Spots(nn.Module):
    """A backbone that is taught to tell bright from dark spots; 16 places a side of 64 pixels."""

    num_features = 16

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 16, 5, 2, 2), nn.ReLU()
        )

    def forward_features(self, shown):
        return self.layers(shown)

    def forward_head(self, features):
        return features.mean(dim=(2, 3))


def spotted(count, seed):
    """Grey noise; half of the images with a bright spot, half of them, independently, with a dark one."""
    rng = np.random.default_rng(seed)
    shown = rng.normal(0.5, 0.05, (count, 1, 64, 64)).astype(np.float32)
    present = rng.random((count, 2)) < 0.5
    corners = rng.integers(4, 48, (count, 2, 2))
    for image, has, places in zip(shown, present, corners, strict=True):
        for sign, there, (y, x) in zip((1, -1), has, places, strict=True):
            if there:
                image[0, y : y + 12, x : x + 12] += 0.4 * sign
    return torch.from_numpy(shown), torch.from_numpy(present.astype(np.float32)), corners


@pytest.fixture(scope="module")
def spot_net():
    """A net that knows bright spots (output 0) from dark ones (output 1)."""
    torch.manual_seed(0)
    model = Network(backbone="resnet10t", input_size=64, arguments={"channels": (8, 8, 8, 8)})
    classifier = build_classifier(model, 2)
    classifier.backbone, classifier.head = Spots(), nn.Linear(16, 2)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.01)
    shown, present, _ = spotted(256, seed=1)
    for step in range(120):
        rows = torch.arange(step * 32, step * 32 + 32) % 256
        loss = nn.functional.binary_cross_entropy_with_logits(classifier(shown[rows]), present[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    assert loss.item() < 0.1
    return classifier.eval()


def both_spots():
    shown, present, corners = spotted(60, seed=2)
    both = present.all(dim=1).numpy()
    return shown[torch.from_numpy(both)], corners[both]


@pytest.mark.parametrize("method", [method for method in OF_A_FINDING if "rollout" not in method])
def test_a_net_that_learnt_spots_is_seen_to_look_at_them(spot_net, method):
    """In images with both, each output's map is highest at its own spot."""
    shown, corners = both_spots()
    maps = explain(spot_net, shown, [0, 1], method=method)
    inside = 0
    for of_image, places in zip(maps, corners, strict=True):
        for attribution, (y, x) in zip(of_image, places, strict=True):
            row, column = np.unravel_index(np.argmax(attribution), attribution.shape)
            inside += y - 4 <= row < y + 16 and x - 4 <= column < x + 16
    # By chance: a tenth.
    assert inside / maps[:, :, 0, 0].size > (0.6 if method in {"smooth-grad", "grad-cam++"} else 0.8)


def test_grad_cam_of_a_trained_net_beats_every_baseline(spot_net):
    """The acceptance on phantoms (bench/localization.py) in small: the truth is known, and maps find it."""
    shown, present, corners = spotted(160, seed=3)
    maps = explain(spot_net, shown, [0, 1], method="grad-cam")
    pairs, overlaps = [], []
    for number, (has, places) in enumerate(zip(present.numpy(), corners, strict=True)):
        for column in np.flatnonzero(has):
            y, x = places[column].tolist()
            box = Box(float(x), float(y), 12.0, 12.0)
            pair = BoxedFinding(
                image=str(number), patient=str(number), finding=NIH14[column], boxes=(box,), side=64
            )
            pairs.append(pair)
            overlaps.append(map_overlap(maps[number, column], pair))
    found = localize(pairs, {"grad-cam": overlaps}, resamples=100)
    (ours,) = found.methods
    assert found.num_pairs > 50
    for baseline in found.baselines:
        assert ours.mean.pointing.low > baseline.mean.pointing.high
        assert ours.mean.iou.low > baseline.mean.iou.value
        for finding, scores in ours.by_finding.items():
            assert scores.pointing.low > baseline.by_finding[finding].pointing.high


def rank_correlation(first, second):
    ranks = [np.argsort(np.argsort(each.ravel())).astype(float) for each in (first, second)]
    return np.corrcoef(*ranks)[0, 1]


@pytest.mark.parametrize("method", [method for method in OF_A_FINDING if "rollout" not in method])
def test_randomising_the_weights_destroys_the_map(spot_net, method):
    """The sanity check of Adebayo et al. 2018, by rank correlation of absolute values."""
    shown, _ = both_spots()
    shown = shown[:4]
    torch.manual_seed(7)
    state = {name: value.clone() for name, value in spot_net.state_dict().items()}
    before = explain(spot_net, shown, [0], method=method)
    try:
        for module in spot_net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
        after = explain(spot_net, shown, [0], method=method)
    finally:
        spot_net.load_state_dict(state)
    kept = [rank_correlation(np.abs(a), np.abs(b)) for a, b in zip(before[:, 0], after[:, 0], strict=True)]
    assert np.mean(kept) < 0.5
    assert np.array_equal(before, explain(spot_net, shown, [0], method=method))


def test_the_seed_decides_what_is_drawn():
    classifier, shown = powers([[1.0, 0.5]]), images(1, size=16)
    for method in ("smooth-grad", "rise"):
        first = explain(classifier, shown, [0], method=method, seed=1)
        assert np.array_equal(first, explain(classifier, shown, [0], method=method, seed=1))
        assert not np.array_equal(first, explain(classifier, shown, [0], method=method, seed=2))


def min_max(attribution):
    low, high = np.min(attribution), np.max(attribution)
    return (attribution - low) / (high - low)


@pytest.mark.parametrize(
    ("method", "kind", "tolerance"),
    [
        ("grad-cam", GradCAM, 1e-6),
        ("layer-cam", LayerCAM, 1e-6),
        # Its divisor has 1e-6 added, which counts beside the small gradients of a mean over places.
        ("grad-cam++", GradCAMPlusPlus, 0.03),
        ("hirescam", HiResCAM, 1e-6),
    ],
)
def test_the_field_s_own_library_agrees(method, kind, tolerance):
    """pytorch-grad-cam as an oracle: it is given the layer by hand, and scales each map to 0...1."""
    classifier, shown = build("densenet121", input_size=128).eval(), images(3, size=128)
    targets = [ClassifierOutputTarget(0)] * 3
    with kind(model=classifier, target_layers=[classifier.backbone.features]) as cam:
        expected = cam(input_tensor=shown, targets=targets)
    ours = explain(classifier, shown, [0], method=method)[:, 0]
    # It cuts HiResCAM off at 0 before it enlarges it, and ours is not cut off: alike where nothing is below.
    alike = [pair for pair in zip(ours, expected, strict=True) if np.min(pair[0]) >= 0]
    assert len(alike) >= 2
    for attribution, theirs in alike:
        assert np.max(attribution) > 0
        np.testing.assert_allclose(min_max(attribution), theirs, atol=tolerance)
