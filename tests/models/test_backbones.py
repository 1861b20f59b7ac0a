import pytest
import torch
from safetensors.torch import save_file

from thorax.bundle import Imported, Manifest, Member, write_bundle
from thorax.errors import BundleError, RecipeError
from thorax.models import build_classifier
from thorax.models.backbones import build_backbone, timm
from thorax.models.weights import weights_as_bytes
from thorax.recipe.schema import Network, Preparation

ARGUMENTS = {"channels": (8, 16, 16, 16)}


def backbone(**settings):
    return build_backbone(Network(**{"backbone": "resnet10t", "input_size": 64, **settings}))


def test_timm_is_there_whatever_torchvision_is():
    assert timm.is_model("densenet121")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"backbone": "resnet5O"}, "'resnet5O' is not a model of timm .*; did you mean resnet50"),
        ({"backbone": "qqqqqqqqq"}, r"is not a model of timm .*; timm.list_models\(\) lists them"),
        (
            {"backbone": "resnet50.a1_in1k"},
            "set model.backbone=resnet50 and model.weights=timm:a1_in1k",
        ),
        (
            {"arguments": {"chanels": (8, 8)}},
            r"model.arguments.chanels = \(8, 8\): backbone resnet10t does not take an argument 'chanels'",
        ),
        (
            {"arguments": {"channels": "x"}},
            "model.arguments = {'channels': 'x'} do not fit backbone resnet10t",
        ),
        ({"backbone": "densenet121", "drop_path": 0.1}, "has no stochastic depth; set model.drop_path=0"),
        (
            {"arguments": {"pretrained": True}},
            "model.arguments.pretrained = True is set by other settings",
        ),
        ({"arguments": {"checkpoint_path": "x.pth"}}, "model.arguments.checkpoint_path"),
        ({"arguments": {"channels": (8, 8, 8, -1)}}, "do not fit backbone resnet10t"),
        (
            {"weights": "imagenet"},
            "is not understood; give none, timm, timm:TAG, file:PATH .* or bundle:PATH",
        ),
        ({"weights": "timm:nope"}, "timm does not publish such weights of resnet10t; its tags are c3_in1k"),
        ({"backbone": "resnet200", "weights": "timm"}, "timm does not publish weights of resnet200"),
        ({"weights": "file:/nowhere.safetensors"}, "/nowhere.safetensors cannot be read as safetensors"),
    ],
)
def test_what_timm_does_not_have_is_refused_in_a_recipes_words(settings, text):
    with pytest.raises(RecipeError, match=text):
        backbone(**settings)


def test_weights_without_a_network_name_the_file_to_fetch(monkeypatch, tmp_path):
    # Nobody listens there, so that the test asks nobody, with or without a network.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RecipeError, match="cannot be downloaded from the Hugging Face hub") as raised:
        backbone(weights="timm:c3_in1k")
    assert "download model.safetensors from https://huggingface.co/timm/resnet10t.c3_in1k" in str(
        raised.value
    )
    assert "`model.weights=file:PATH`" in str(raised.value)


def test_a_pickle_is_not_opened(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"conv": torch.zeros(1)}, path)
    with pytest.raises(RecipeError, match=r"pickles such as \.pth are not opened"):
        backbone(weights=f"file:{path}")


def test_a_file_of_the_backbone_is_taken_whole(tmp_path):
    source = backbone(arguments=ARGUMENTS)
    save_file(source.state_dict(), tmp_path / "own.safetensors")
    found = backbone(arguments=ARGUMENTS, weights=f"file:{tmp_path / 'own.safetensors'}")
    assert found.state_dict().keys() == source.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), source.parameters(), strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_published_file_loses_its_classifier_and_adapts_its_first_layer(channels, tmp_path):
    published = timm.create_model("resnet10t", num_classes=10, in_chans=3, **ARGUMENTS).eval()
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    weights = f"file:{tmp_path / 'model.safetensors'}"
    found = backbone(arguments=ARGUMENTS, weights=weights, channels=channels).eval()
    gray = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = published.forward_features(gray.repeat(1, 3, 1, 1))
        torch.testing.assert_close(found.forward_features(gray.repeat(1, channels, 1, 1)), expected)
        assert found.forward_head(expected).shape == (1, 16)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda w: w.pop("layer1.0.conv1.weight"), "Missing key.*layer1.0.conv1.weight"),
        (lambda w: w.update({"norm.1": torch.zeros(1)}), "Unexpected key.*norm.1"),
        (lambda w: w.update({"layer1.0.conv1.weight": torch.zeros(1)}), "size mismatch for layer1.0.conv1"),
    ],
)
def test_a_file_that_does_not_match_is_refused_with_the_keys(change, text, tmp_path):
    weights = dict(backbone(arguments=ARGUMENTS).state_dict())
    change(weights)
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(RecipeError, match=text) as raised:
        backbone(arguments=ARGUMENTS, weights=f"file:{tmp_path / 'other.safetensors'}")
    assert "does not fit backbone resnet10t" in str(raised.value)


TINY = Network(backbone="resnet10t", arguments=ARGUMENTS, input_size=64)


def bundle_of(folder, *models):
    """A bundle with untrained nets for one finding; returns them."""
    nets = [build_classifier(model, 1) for model in models]
    source = Imported(
        source="test", file_sha256="", self_test=0.0, compared_with="itself", notes=(), versions={}
    )
    members = tuple(
        Member(weights=f"{number}.safetensors", sha256="", model=model, findings=("Mass",),
               exact_cam=net.exact_cam, provenance=source)
        for number, (model, net) in enumerate(zip(models, nets, strict=True))
    )  # fmt: skip
    equal = tuple(1 / len(nets) for _ in nets)
    manifest = Manifest(
        name="source",
        findings=("Mass",),
        preparation=Preparation(size=64),
        members=members,
        ensemble={"mean_of": "logits", "weights": equal, "fitted_on": None} if len(nets) > 1 else None,
        calibration=None,
        operating_points=None,
        patients_sha256="",
    )
    weights = {f"{number}.safetensors": weights_as_bytes(net.state_dict()) for number, net in enumerate(nets)}
    write_bundle(folder, manifest, weights=weights, patients={})
    return nets


@pytest.mark.parametrize("head", [{}, {"hidden": (5,)}, {"pool": "attention"}])
def test_the_backbone_of_a_bundle_is_taken_whatever_its_head(head, tmp_path):
    (source,) = bundle_of(tmp_path / "run" / "bundle", TINY.model_copy(update={"head": TINY.head}))
    target = Network(**TINY.model_dump() | {"head": head, "weights": f"bundle:{tmp_path / 'run'}"})
    found = build_classifier(target, 3).backbone.state_dict()
    expected = source.backbone.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"arguments": {"channels": (8, 16, 16, 24)}},
            r"backbone of .* \(resnet10t\) does not fit backbone resnet10t: .*mismatch for layer4.0.conv1",
        ),
        (
            {"backbone": "test_efficientnet", "arguments": {}},
            "does not fit backbone test_efficientnet: .*Missing",
        ),
        (
            {"mean": (0.4,), "std": (0.2,)},
            r"was not trained with model.mean=\[0.4\], model.std=\[0.2\]; set model.mean=\[0.5\] and ",
        ),
        ({"channels": 3}, "was not trained with model.channels=3, .*; set model.channels=1 and"),
    ],
)
def test_a_bundle_of_another_net_is_refused(changes, text, tmp_path):
    bundle_of(tmp_path / "b", TINY)
    with pytest.raises(RecipeError, match=text):
        backbone(**TINY.model_dump() | {"weights": f"bundle:{tmp_path / 'b'}"} | changes)


def test_a_normalisation_may_be_written_once_for_all_channels(tmp_path):
    bundle_of(tmp_path / "b", Network(**TINY.model_dump() | {"channels": 3}))
    threefold = {"channels": 3, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    backbone(**TINY.model_dump() | {"weights": f"bundle:{tmp_path / 'b'}"} | threefold)


def test_an_ensemble_or_no_bundle_is_refused(tmp_path):
    bundle_of(tmp_path / "b", TINY, TINY)
    with pytest.raises(RecipeError, match=r"is an ensemble of 2 nets, .*; give the bundle of one of them"):
        backbone(weights=f"bundle:{tmp_path / 'b'}")
    with pytest.raises(BundleError, match="does not exist"):
        backbone(weights=f"bundle:{tmp_path / 'nothing'}")
