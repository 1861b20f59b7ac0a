import pytest
import torch

from thorax.errors import RecipeError
from thorax.models import build_classifier, feature_map
from thorax.recipe.schema import Network

TINY = {
    "resnet10t": {"arguments": {"channels": (8, 16, 16, 16)}},
    "densenet121": {"arguments": {"growth_rate": 8, "block_config": (1, 1, 1, 1)}},
    "test_efficientnet": {},
    "test_vit": {},
    "test_convnext": {},
    "vit_tiny_patch16_224": {"arguments": {"depth": 1}},
    "swin_tiny_patch4_window7_224": {
        "arguments": {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 2, 3, 4)}
    },
}
EXACT = {"resnet10t", "densenet121", "test_efficientnet", "swin_tiny_patch4_window7_224"}


def build(backbone="resnet10t", findings=3, seed=0, **settings):
    torch.manual_seed(seed)
    model = Network(backbone=backbone, **{"input_size": 64, **TINY.get(backbone, {}), **settings})
    return build_classifier(model, findings)


@pytest.mark.parametrize("backbone", TINY)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_family_gives_logits(backbone, channels):
    classifier = build(backbone, channels=channels).eval()
    with torch.inference_mode():
        logits = classifier(torch.zeros(2, 1, 64, 64))
    assert logits.shape == (2, 3)
    assert bool(torch.isfinite(logits).all())
    torch.testing.assert_close(logits[0], logits[1])
    assert classifier.exact_cam == (backbone in EXACT)


@pytest.mark.parametrize("backbone", sorted(EXACT))
def test_an_exact_cam_has_the_logit_as_its_mean(backbone):
    classifier = build(backbone).eval()
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        features = feature_map(classifier.backbone, classifier.features(images))
        maps = torch.einsum("kc,bchw->bkhw", classifier.head.weight, features)
        logits = maps.mean(dim=(2, 3)) + classifier.head.bias
    torch.testing.assert_close(classifier(images), logits)


def test_normalisation_is_inside():
    plain = build(mean=(0.0,), std=(1.0,)).eval()
    shifted = build(mean=(0.4,), std=(0.2,)).eval()
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(shifted(images), plain((images - 0.4) / 0.2))


def test_three_channels_are_the_grey_image_with_each_its_constants():
    classifier = build(channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        colored = torch.cat([(image - m) / s for m, s in ((0.1, 0.5), (0.2, 0.6), (0.3, 0.7))], dim=1)
        expected = classifier.classify(classifier.backbone.forward_features(colored))
        torch.testing.assert_close(classifier(image), expected)


def test_the_seed_decides_the_first_weights():
    first, again, other = build(seed=1), build(seed=1), build(seed=2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


def test_dropout_acts_in_training_only():
    classifier = build(head={"dropout": 0.5})
    images = torch.rand(1, 1, 64, 64).repeat(4, 1, 1, 1)
    with torch.no_grad():
        features = classifier.features(images)
        assert not torch.equal(classifier.classify(features)[0], classifier.classify(features)[1])
        classifier.eval()
        assert torch.equal(classifier.classify(features)[0], classifier.classify(features)[1])


def test_a_plain_head_is_one_linear_layer_by_its_old_names():
    names = {name for name in build().state_dict() if not name.startswith("backbone.")}
    assert names == {"mean", "std", "head.weight", "head.bias"}


@pytest.mark.parametrize("pool", ["backbone", "lse"])
def test_hidden_layers(pool):
    classifier = build(head={"hidden": (7, 5), "dropout": 0.3, "pool": pool}).eval()
    shapes = {name: tuple(w.shape) for name, w in classifier.state_dict().items() if name.startswith("head.")}
    assert shapes == {
        "head.0.weight": (7, 16), "head.0.bias": (7,), "head.3.weight": (5, 7), "head.3.bias": (5,),
        "head.6.weight": (3, 5), "head.6.bias": (3,),
    }  # fmt: skip
    assert not classifier.exact_cam
    assert classifier(torch.rand(2, 1, 64, 64)).shape == (2, 3)


def test_attention_drops_whole_channels():
    classifier = build(head={"pool": "attention", "dropout": 0.5})
    dropped = classifier.dropout(torch.ones(4, 100, 2, 2))
    assert bool((dropped == dropped[:, :, :1, :1]).all())
    assert 0 < int((dropped[:, :, 0, 0] == 0).sum()) < 400


def test_an_input_size_that_does_not_fit_is_refused():
    with pytest.raises(RecipeError) as raised:
        build("test_vit", input_size=96, arguments={"img_size": 64, "dynamic_img_size": False})
    message = str(raised.value)
    assert "backbone test_vit cannot take images of model.input_size = 96 with 1 channel(s)" in message
    assert "set another model.input_size" in message


def test_features_without_pooling_are_refused():
    with pytest.raises(RecipeError, match="not one vector per image"):
        build(arguments={"channels": (8, 16, 16, 16), "global_pool": ""})


def test_features_in_several_parts_are_refused():
    with pytest.raises(RecipeError, match="backbone efficientvim_m1 returns several tensors"):
        build("efficientvim_m1")
