import pytest
import torch

from thorax.errors import RecipeError
from thorax.models import build_classifier
from thorax.models.backbones import timm
from thorax.models.classifier import layer_distances, names_in_stages, stage_names, trained_stages
from thorax.recipe.schema import Freeze, Network

TINY = {
    "resnet10t": {"channels": (8, 16, 16, 16)},
    "densenet121": {"growth_rate": 8, "block_config": (1, 2, 1, 1)},
    "vit_tiny_patch16_224": {"depth": 2},
    "test_convnext": {},
    "test_efficientnet": {},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 2, 3, 4)},
    "resnetv2_50": {"layers": (1, 1, 1, 1), "channels": (8, 8, 8, 8), "stem_chs": 8},
    "mobilenetv3_small_050": {},
}
FOUR = ("stem", "stage1", "stage2", "stage3", "stage4")
STAGES = {
    "resnet10t": FOUR,
    "densenet121": (*FOUR, "norm"),
    "vit_tiny_patch16_224": ("stem", "stage1", "stage2"),
    "test_convnext": (*FOUR, "norm"),
    "test_efficientnet": (*FOUR, "stage5"),
    "swin_tiny_patch4_window7_224": (*FOUR, "norm"),
    "resnetv2_50": (*FOUR, "norm"),
    "mobilenetv3_small_050": (*FOUR, "stage5", "stage6", "stage7"),
}


def build(name, **further):
    return timm.create_model(name, num_classes=0, **TINY.get(name, {}), **further)


@pytest.mark.parametrize("name", TINY)
def test_stages_go_from_the_image_to_the_head_and_leave_nothing_out(name):
    backbone = build(name)
    names = stage_names(backbone)
    assert names == STAGES[name]
    parts = [names_in_stages(backbone, [stage]) for stage in names]
    assert all(parts)
    whole = {name for name, _ in backbone.named_parameters()}
    whole |= {name for name, _ in backbone.named_buffers() if "running_" in name}
    assert sum(map(len, parts)) == len(whole)
    assert frozenset().union(*parts) == whole == names_in_stages(backbone, names)


def test_stages_of_a_densenet_are_its_blocks():
    backbone = build("densenet121")
    assert names_in_stages(backbone, ["norm"]) == {
        f"features.norm5.{each}" for each in ("weight", "bias", "running_mean", "running_var")
    }
    last = names_in_stages(backbone, ["stage4"])
    assert {name.split(".")[1] for name in last} == {"denseblock4"}
    assert "features.denseblock4.denselayer1.norm1.running_mean" in last


def test_a_net_without_stages_is_refused():
    backbone = torch.nn.Linear(2, 2)
    with pytest.raises(
        RecipeError, match=r"does not know the stages of a Linear; leave out freeze.trained and optim"
    ):
        stage_names(backbone)


def test_nothing_is_frozen_by_default():
    assert trained_stages(torch.nn.Linear(2, 2), Freeze(), epoch=0) is None


def test_unfreezing_goes_from_the_head_to_the_image():
    backbone = build("densenet121")
    freeze = Freeze(trained=("norm",), unfreeze_epochs=(1, 3, 4))
    learning = [trained_stages(backbone, freeze, epoch=epoch) for epoch in range(6)]
    joined = [
        frozenset(stages - before) for before, stages in zip([set(), *learning], learning, strict=False)
    ]
    # The end of epoch 1 is the beginning of the epoch that is counted as 1 from 0.
    assert joined == [{"norm"}, {"stage4"}, set(), {"stage3"}, {"stage2"}, set()]


def test_stages_need_not_be_neighbours():
    freeze = Freeze(trained=("stage4", "stage2"), unfreeze_epochs=(2,))
    backbone = build("resnet10t")
    assert trained_stages(backbone, freeze, epoch=1) == {"stage2", "stage4"}
    assert trained_stages(backbone, freeze, epoch=2) == {"stage2", "stage3", "stage4"}


def test_the_head_alone_may_learn():
    assert trained_stages(build("resnet10t"), Freeze(trained=()), epoch=9) == frozenset()


@pytest.mark.parametrize(
    ("freeze", "text"),
    [
        (
            {"trained": ("stage4", "layer4", "norm")},
            "freeze.trained names layer4, norm, which this backbone does not have; .* are stem, stage1",
        ),
        (
            {"trained": ("stage2", "stage3", "stage4"), "unfreeze_epochs": (1, 2, 3)},
            r"freeze.unfreeze_epochs has 3 epochs for 2 frozen stages \(stem, stage1\); leave out the last",
        ),
    ],
)
def test_what_does_not_fit_the_backbone_is_refused(freeze, text):
    with pytest.raises(RecipeError, match=text):
        trained_stages(build("resnet10t"), Freeze(**freeze), epoch=0)


def test_distances_from_the_head_by_hand():
    vit = layer_distances(build("vit_tiny_patch16_224"))
    # The final norm of a ViT belongs to timm's last block.
    expected = {"cls_token": 3, "patch_embed.proj.weight": 3, "blocks.0.attn.qkv.weight": 2}
    assert {name: vit[name] for name in expected} == expected
    assert {vit[name] for name in vit if name.startswith(("blocks.1", "norm"))} == {1}

    dense = layer_distances(build("densenet121"))
    assert dense["features.norm5.weight"] == 0
    assert dense["features.denseblock4.denselayer1.conv1.weight"] == 1
    # A transition belongs to the layer before it; the second block has two layers.
    assert dense["features.transition3.conv.weight"] == dense["features.denseblock3.denselayer1.conv1.weight"]
    assert dense["features.denseblock2.denselayer1.conv1.weight"] == 4
    assert dense["features.conv0.weight"] == max(dense.values()) == 6


@pytest.mark.parametrize("name", TINY)
def test_each_parameter_has_a_distance(name):
    backbone = build(name)
    distances = layer_distances(backbone)
    assert distances.keys() == {name for name, _ in backbone.named_parameters()}
    found = set(distances.values())
    assert found == set(range(min(found), max(found) + 1))
    assert min(found) == (0 if name in {"densenet121", "test_convnext"} else 1)


def learning(classifier):
    return {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}


def test_a_frozen_classifier_keeps_still_whoever_calls_train():
    classifier = build_classifier(
        Network(backbone="resnet10t", arguments=TINY["resnet10t"], input_size=64), 2
    )
    everything = learning(classifier)
    classifier.learn_only({"stage4"})
    own = {"head.weight", "head.bias"}
    assert learning(classifier) == own | {name for name in everything if name.startswith("backbone.layer4.")}
    for mode in (False, True):
        classifier.eval()
        classifier.train(mode)
        modes = {name: module.training for name, module in classifier.named_modules() if "bn" in name}
        assert modes == {name: mode and name.startswith("backbone.layer4.") for name in modes}
    classifier.learn_only({"stage3", "stage4"})
    assert classifier.backbone.layer3[0].bn1.training
    assert not classifier.backbone.layer2[0].bn1.training
    classifier.learn_only(stage_names(classifier.backbone))
    assert learning(classifier) == everything
    assert all(module.training for module in classifier.modules())
