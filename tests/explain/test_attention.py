import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.helpers.toy_nets import build, images
from thorax.errors import RecipeError
from thorax.explain.attributions import _Recorder, attention_rollout, gradient_rollout

VITS = ["test_vit", "test_vit2", "vit_tiny_patch16_224"]


def build_vit(backbone, **settings):
    shallow = {"arguments": {"depth": 3}} if backbone.startswith("vit") else {}
    return build(backbone, **shallow, **settings).eval()


def slow_weights(classifier, shown):
    """Attention weights layer by layer, as timm's own unfused attention computes them, still in the graph."""
    found = []
    for block in classifier.backbone.blocks:
        block.attn.fused_attn = False

        def keep(weights, found=found):
            found.append(weights)
            return weights

        block.attn.attn_drop = type("Keep", (torch.nn.Module,), {"forward": staticmethod(keep)})()
    return classifier(shown), found


def map_of(relevance, read):
    """The mean over the tokens that are read, of the places (after one class token), as a square."""
    row = relevance[read].mean(dim=0)[1:]
    side = int(len(row) ** 0.5)
    return row.reshape(side, side)


def enlarged(small):
    return functional.interpolate(small[None, None], size=(64, 64), mode="bilinear")[0, 0]


def read_tokens(backbone):
    return slice(1, None) if backbone == "test_vit2" else slice(0, 1)


@pytest.mark.parametrize("backbone", VITS)
def test_rollout_equals_its_slow_twin(backbone):
    shown = images(2)
    maps = attention_rollout(build_vit(backbone), shown)
    with torch.no_grad():
        _, layers = slow_weights(build_vit(backbone), shown)
    for image, found in enumerate(maps):
        product = torch.eye(layers[0].shape[-1])
        for weights in layers:
            mixed = 0.5 * weights[image].mean(dim=0) + 0.5 * torch.eye(weights.shape[-1])
            product = mixed @ product
        torch.testing.assert_close(found[0], enlarged(map_of(product, read_tokens(backbone))))


@pytest.mark.parametrize("backbone", VITS)
def test_gradient_rollout_equals_its_slow_twin(backbone):
    shown = images(2)
    maps = gradient_rollout(build_vit(backbone), shown, [0, 2])
    for image in range(2):
        for place, column in enumerate([0, 2]):
            logits, layers = slow_weights(build_vit(backbone), shown[image : image + 1])
            found = torch.autograd.grad(logits[0, column], layers)
            relevance = torch.eye(layers[0].shape[-1], dtype=torch.float64)
            for weights, gradient in zip(layers, found, strict=True):
                passed = (weights.detach() * gradient)[0].double().clamp(min=0).mean(dim=0)
                relevance = relevance + passed @ relevance
            relevance -= torch.eye(len(relevance))
            expected = enlarged(map_of(relevance, read_tokens(backbone))).float()
            largest = float(expected.max())
            torch.testing.assert_close(maps[image, place], expected, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("backbone", VITS)
def test_a_net_under_the_recorder_says_the_same(backbone):
    classifier = build_vit(backbone)
    with torch.no_grad():
        expected = classifier(images())
        with _Recorder() as recorder:
            torch.testing.assert_close(classifier(images()), expected, rtol=1e-4, atol=1e-5)
        assert recorder.weights
        torch.testing.assert_close(classifier(images()), expected, rtol=0, atol=0)
    for weights in recorder.weights:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


def test_masks_that_are_boolean_hide():
    query, key, value = torch.rand(3, 1, 2, 4, 8).unbind()
    mask = torch.eye(4, dtype=torch.bool)
    with _Recorder() as recorder:
        result = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(result, value)
    assert torch.equal(recorder.weights[0], torch.eye(4).expand(1, 2, 4, 4))


@pytest.mark.parametrize("pool", ["lse", "attention"])
def test_heads_that_read_places_are_followed_from_all_of_them(pool):
    classifier = build_vit("test_vit", head={"pool": pool})
    with torch.no_grad():
        _, layers = slow_weights(build_vit("test_vit", head={"pool": pool}), images(1))
    product = torch.eye(17)
    for weights in layers:
        product = (0.5 * weights[0].mean(dim=0) + 0.5 * torch.eye(17)) @ product
    expected = enlarged(map_of(product, slice(1, None)))
    torch.testing.assert_close(attention_rollout(classifier, images(1))[0, 0], expected)


def test_other_weights_give_another_gradient_rollout():
    first, second = (
        gradient_rollout(build("test_vit", seed=seed), images(4), [0])[:, 0, 2::4, 2::4] for seed in (0, 1)
    )
    ranks = [np.argsort(np.argsort(each.flatten(1).numpy())) for each in (first, second)]
    kept = [np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)]
    assert np.mean(kept) < 0.5


def test_unfused_attention_is_not_taken_for_none():
    classifier = build_vit("test_vit")
    for block in classifier.backbone.blocks:
        block.attn.fused_attn = False
    with pytest.raises(RecipeError, match="VisionTransformer does not attend from all locations"):
        attention_rollout(classifier, images(1))
