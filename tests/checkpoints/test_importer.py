"""Convolutional nets of other projects: each gives the logits of its source, or is refused."""

import importlib
import re
import types
from collections import OrderedDict
from functools import cache

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from tests.helpers.xray_vision import lived_in, random_densenet, save, torchxrayvision_named
from thorax.atomic_io import sha256_of_file
from thorax.checkpoints import ForeignOptions, probe_image, read_foreign
from thorax.checkpoints.importer import write_imported
from thorax.checkpoints.torchvision_names import TIMM_NAMES, guess_network
from thorax.checkpoints.torchxrayvision import OUTPUTS, WEIGHTS
from thorax.errors import BundleError, RecipeError
from thorax.findings import NIH14, NIH15, Finding
from thorax.models import build_classifier
from thorax.models.backbones import timm

# Behind the shim, which makes it importable.
torchvision = importlib.import_module("torchvision")

MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
THREE = tuple(NIH14[:3])
SMALL = ForeignOptions(input_size=64)


@cache
def densenet():
    torch.manual_seed(0)
    return lived_in(torchvision.models.densenet121(num_classes=14))


def chexnet_state():
    """The names that arnoweng/CheXNet and zoogzog/chexnet saved, in torch 0.3."""
    renamed = OrderedDict()
    for name, tensor in densenet().state_dict().items():
        if not name.endswith("num_batches_tracked"):
            old = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name)
            renamed["module.densenet121." + old.replace("classifier.", "classifier.0.")] = tensor
    return renamed


@torch.no_grad()
def logits(net, images):
    return net(images)


def gray_images():
    return torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(1))


# ---- CheXNet re-implementations ---------------------------------------------------------------


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "old"])
def test_a_chexnet_checkpoint_gives_its_own_logits(as_zip, tmp_path):
    content = {"epoch": 9, "state_dict": chexnet_state(), "best_loss": 0.15, "optimizer": {"state": {}}}
    path = save(content, tmp_path / "m-1.pth.tar", as_zip=as_zip)
    found = read_foreign(path, "chexnet-torchvision")
    images = gray_images()
    expected = logits(densenet(), (images.repeat(1, 3, 1, 1) - MEAN) / STD)
    torch.testing.assert_close(logits(found.classifier, images), expected, atol=1e-5, rtol=1e-5)
    assert found.difference < 1e-5
    assert found.compared_with == "torchvision's densenet121"
    assert found.findings == NIH14
    assert found.thresholds == {}
    assert found.sha256 == sha256_of_file(path)
    assert found.source == "a densenet121 of a CheXNet re-implementation, from m-1.pth.tar"
    assert (found.preparation.size, found.preparation.fit, found.model.input_size) == (256, "crop", 224)
    assert "ten crops" in found.notes[0]
    assert not found.classifier.training
    assert found.classifier.exact_cam


def test_a_delivered_net_knows_where_its_places_look(tmp_path):
    found = read_foreign(save({"state_dict": chexnet_state()}, tmp_path / "m.pth.tar"), "chexnet-torchvision")
    (member,) = write_imported(found, tmp_path / "bundle", name="m").manifest.members
    assert member.places.step == 32
    assert member.places.start == pytest.approx(14.5, abs=3)  # as the sizes of its layers say


def test_a_chexnet_that_was_pickled_whole_is_read_without_its_classes(tmp_path):
    net = torchvision.models.densenet121(num_classes=14)
    net.load_state_dict(densenet().state_dict())
    # As jrzech/reproduce-chexnet saves it.
    net.classifier = nn.Sequential(net.classifier, nn.Sigmoid())
    path = save(
        {"model": net, "epoch": 3, "rng_state": torch.get_rng_state(), "LR": 0.01}, tmp_path / "checkpoint"
    )
    found = read_foreign(path, "chexnet-torchvision")
    images = gray_images()
    probabilities = logits(net.eval(), (images.repeat(1, 3, 1, 1) - MEAN) / STD)
    torch.testing.assert_close(logits(found.classifier, images).sigmoid(), probabilities)
    assert (found.preparation.size, found.notes) == (224, ())


def test_the_users_findings_and_sizes_overrule(tmp_path):
    own = (*NIH14[:13], Finding("Sternal wires"))
    path = tmp_path / "w.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in chexnet_state().items()}, path)
    options = ForeignOptions(findings=own, input_size=128, fit="pad", mean=(0.5,), std=(0.25,))
    found = read_foreign(path, "chexnet-torchvision", options)
    assert found.findings == own
    assert (found.preparation.size, found.preparation.fit, found.model.input_size) == (128, "pad", 128)
    assert found.model.mean == (0.5,)


CONV_1 = "module.densenet121.features.denseblock1.denselayer1.conv.1.weight"
CHANGES = {
    "scalar classifier": (
        lambda w: w.update({"module.densenet121.classifier.0.weight": torch.ones(14)}),
        "holds no classifier",
    ),
    "missing": (
        lambda w: w.pop("module.densenet121.features.conv0.weight"),
        "1 missing: backbone.features.conv0.weight",
    ),
    "unknown": (
        lambda w: w.update({"module.densenet121.extra": torch.ones(1)}),
        "1 unknown: backbone.extra",
    ),
    "prefix": (
        lambda w: w.update({"extra": torch.ones(1)}),
        "holds no classifier",
    ),
    "misshapen": (
        lambda w: w.update({"module.densenet121.features.norm0.weight": torch.ones(3)}),
        r"1 of another shape: backbone.features.norm0.weight \(3,\) for \(64,\)",
    ),
    "nan": (
        lambda w: w.update({"module.densenet121.features.norm0.weight": torch.full((64,), float("nan"))}),
        "1 not finite: backbone.features.norm0.weight",
    ),
    "infinite": (
        lambda w: w.update({"module.densenet121.classifier.0.bias": torch.full((14,), float("inf"))}),
        "1 not finite: head.bias",
    ),
    "twice": (
        lambda w: w.update({CONV_1.replace("conv.1", "conv1"): w[CONV_1]}),
        "1 unknown: backbone.features.denseblock1.denselayer1.conv.1.weight",
    ),
    "quantised": (
        lambda w: w.update({CONV_1: w[CONV_1].to(torch.int8)}),
        "1 of integers: backbone.features.denseblock1.denselayer1.conv1.weight",
    ),
    "counters in part": (
        lambda w: w.update({"module.densenet121.features.norm0.num_batches_tracked": torch.tensor(1)}),
        "120 missing: .*num_batches_tracked, ...;|120 missing",
    ),
    "no classifier": (
        lambda w: w.pop("module.densenet121.classifier.0.weight"),
        r"holds no classifier .*with model.weights=file:PATH",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_match_is_refused_with_the_list(change, tmp_path):
    weights = chexnet_state()
    alter, text = CHANGES[change]
    alter(weights)
    with pytest.raises(BundleError, match=text):
        read_foreign(save({"state_dict": weights}, tmp_path / "w.pth.tar"), "chexnet-torchvision", SMALL)


def test_a_long_list_is_cut_after_ten_and_counted(tmp_path):
    weights = {name: tensor for name, tensor in chexnet_state().items() if "denseblock3" not in name}
    with pytest.raises(BundleError) as raised:
        read_foreign(save({"state_dict": weights}, tmp_path / "w.pth.tar"), "chexnet-torchvision", SMALL)
    message = str(raised.value)
    assert "240 missing: backbone.features.denseblock3.denselayer1.conv1.weight, " in message
    assert message.count("backbone.features.denseblock3") == 10
    assert "nothing was loaded: give another `kind` or `backbone`, or the complete file" in message


def test_outputs_that_nobody_names_are_refused(tmp_path):
    weights = chexnet_state()
    for name in ("weight", "bias"):
        weights[f"module.densenet121.classifier.0.{name}"] = weights[
            f"module.densenet121.classifier.0.{name}"
        ][:8]
    path = save({"state_dict": weights}, tmp_path / "w.pth.tar")
    with pytest.raises(RecipeError, match=r"the meaning of the 8 outputs of .* is unknown; .*`findings`"):
        read_foreign(path, "chexnet-torchvision")
    with pytest.raises(RecipeError, match="14 findings were named for the 8 outputs"):
        read_foreign(path, "chexnet-torchvision", ForeignOptions(findings=NIH14))
    with pytest.raises(BundleError, match="two outputs for Mass"):
        read_foreign(path, "chexnet-torchvision", ForeignOptions(findings=(Finding("Mass"),) * 8))
    options = ForeignOptions(findings=NIH14[:8], input_size=64)
    assert read_foreign(path, "chexnet-torchvision", options).findings == NIH14[:8]


# ---- TorchXRayVision --------------------------------------------------------------------------


@pytest.fixture
def xray_vision():
    """A network of TorchXRayVision, and how that library saves it."""
    net = random_densenet()

    def saved(path, content=net, *, as_zip=False):
        with torchxrayvision_named():
            return save(content, path, as_zip=as_zip)

    return types.SimpleNamespace(net=net, save=saved)


@pytest.mark.parametrize("as_zip", [False, True], ids=["old", "zip"])
def test_a_net_of_torchxrayvision_gives_its_own_logits(as_zip, xray_vision, tmp_path):
    file = WEIGHTS["densenet121-res224-nih"].file
    found = read_foreign(xray_vision.save(tmp_path / file, as_zip=as_zip), "torchxrayvision")
    images = gray_images()
    expected = logits(xray_vision.net, (2 * images - 1) * 1024)[:, :14]
    torch.testing.assert_close(logits(found.classifier, images), expected, atol=1e-5, rtol=1e-4)
    assert [finding.name for finding in found.findings] == list(OUTPUTS[:14])
    assert found.thresholds["Atelectasis"] == 0.039117552
    assert found.thresholds.keys() == set(OUTPUTS[:14])
    assert (found.preparation.size, found.preparation.fit) == (224, "crop")
    assert (found.model.channels, found.model.mean, found.model.std) == (1, (0.5,), (1 / 2048,))
    assert found.source == f"TorchXRayVision's densenet121-res224-nih, from {file}"
    assert "for equal pixels" in found.notes[0]
    assert "decisions near a threshold can differ" in found.notes[1]


def test_a_threshold_parts_images_as_torchxrayvision_does(xray_vision, tmp_path):
    options = ForeignOptions(backbone="densenet121-res224-chex", input_size=64)
    found = read_foreign(xray_vision.save(tmp_path / "x.pt"), "torchxrayvision", options)
    assert len(found.findings) == 11
    assert Finding("Hernia") not in found.findings
    probabilities = logits(found.classifier, gray_images()[..., :64, :64]).sigmoid()
    for column, finding in zip(probabilities.T, found.findings, strict=True):
        point = found.thresholds[finding.name]
        # op_norm of torchxrayvision/models.py
        bent = torch.where(column < point, column / (2 * point), 1 - (1 - column) / (2 * (1 - point)))
        assert torch.equal(bent >= 0.5, column >= point)


def test_the_nets_own_labels_and_points_come_first(xray_vision, tmp_path):
    xray_vision.net.pathologies = ["Pleural Effusion", "", *(f"own {n}" for n in range(16))]
    xray_vision.net.op_threshs = torch.tensor([0.25, float("nan"), *[0.5] * 16])
    xray_vision.net.weights = "densenet121-res224-all"
    found = read_foreign(xray_vision.save(tmp_path / "x.pt"), "torchxrayvision", SMALL)
    assert [finding.name for finding in found.findings[:2]] == ["Effusion", "own 0"]
    assert len(found.findings) == 17
    assert found.thresholds["Effusion"] == 0.25


def test_a_state_dict_of_torchxrayvision_needs_the_name_of_its_weights(xray_vision, tmp_path):
    state = {**xray_vision.net.state_dict(), "op_threshs": torch.full((18,), 0.125)}
    path = xray_vision.save(tmp_path / "x.pt", state)
    with pytest.raises(
        RecipeError,
        match=r"x.pt holds the tensors of a densenet121 with 18 outputs, but .* meaning of the outputs is "
        r"unknown; give their name as `backbone` \(densenet121-res224-all, .*mimic_ch\) or the finding",
    ):
        read_foreign(path, "torchxrayvision")
    with pytest.raises(
        RecipeError, match=r"'vin' is not the name of .* weights; give one of densenet121-res224-all"
    ):
        read_foreign(path, "torchxrayvision", ForeignOptions(backbone="vin"))
    for name in ("densenet121-res224-pc", "pc"):
        found = read_foreign(path, "torchxrayvision", ForeignOptions(backbone=name, input_size=64))
        assert len(found.findings) == 15
        assert set(found.thresholds.values()) == {0.125}
        assert found.source.startswith("TorchXRayVision's densenet121-res224-pc")


def test_outputs_without_a_finding_are_left_out(xray_vision, tmp_path):
    path = xray_vision.save(tmp_path / "x.pt", xray_vision.net.state_dict())
    labels = WEIGHTS["densenet121-res224-rsna"].labels
    findings = tuple(Finding(label) if label else None for label in labels)
    found = read_foreign(path, "torchxrayvision", ForeignOptions(findings=findings, input_size=64))
    assert [finding.name for finding in found.findings] == ["Pneumonia", "Lung Opacity"]
    images = gray_images()[..., :64, :64]
    expected = logits(xray_vision.net, (2 * images - 1) * 1024)[:, [8, 16]]
    torch.testing.assert_close(logits(found.classifier, images), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(BundleError, match="has no output with a finding"):
        read_foreign(path, "torchxrayvision", ForeignOptions(findings=(None,) * 18, input_size=64))


def test_the_resnet_of_torchxrayvision_is_read_by_its_files_name(tmp_path):
    net = torchvision.models.resnet50(num_classes=18)
    net.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    path = save(net.state_dict(), tmp_path / "pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt")
    found = read_foreign(path, "torchxrayvision")
    assert (found.model.backbone, found.model.input_size, found.preparation.size) == ("resnet50", 512, 512)
    assert len(found.findings) == 16
    assert found.thresholds["Fracture"] == 0.5080557
    assert found.compared_with == "torchvision's resnet50 with one input channel"


@pytest.mark.parametrize(
    ("points", "text"),
    [
        ([0.5] * 14, "has 18 outputs, but 14 operating points"),
        ([0.5] * 17 + [2.0], "operating point 2, which"),
    ],
)
def test_points_of_another_net_are_refused(points, text, xray_vision, tmp_path):
    xray_vision.net.op_threshs = torch.tensor(points)
    with pytest.raises(BundleError, match=text):
        read_foreign(xray_vision.save(tmp_path / "x.pt"), "torchxrayvision")


def test_the_published_tables_agree_with_themselves():
    trained = {name: sum(bool(label) for label in weights.labels) for name, weights in WEIGHTS.items()}
    assert trained == {
        "densenet121-res224-all": 18,
        "densenet121-res224-nih": 14,
        "densenet121-res224-pc": 15,
        "densenet121-res224-chex": 11,
        "densenet121-res224-rsna": 2,
        "densenet121-res224-mimic_nb": 11,
        "densenet121-res224-mimic_ch": 11,
        "resnet50-res512-all": 16,
    }
    assert WEIGHTS["densenet121-res224-rsna"].labels[8] == "Pneumonia"
    assert len({weights.file for weights in WEIGHTS.values()}) == len(WEIGHTS)
    assert all(len(weights.thresholds) == len(OUTPUTS) for weights in WEIGHTS.values())


# ---- torchvision and timm ---------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_resnet_of_torchvision_gives_its_own_logits(channels, tmp_path):
    torch.manual_seed(3)
    net = torchvision.models.resnet18(num_classes=3)
    net.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    lived_in(net)
    path = save({"model_state_dict": nn.DataParallel(net).state_dict()}, tmp_path / "r.pth")
    options = ForeignOptions(backbone="resnet18", findings=THREE, mean=(0.4,), std=(0.2,), input_size=96)
    found = read_foreign(path, "torchvision", options)
    images = gray_images()
    expected = logits(net, ((images - 0.4) / 0.2).repeat(1, channels, 1, 1))
    torch.testing.assert_close(logits(found.classifier, images), expected, atol=1e-5, rtol=1e-5)
    assert (found.findings, found.model.channels) == (THREE, channels)


def test_normalisation_that_cannot_be_known_is_asked_for(tmp_path):
    net = torchvision.models.resnet18(num_classes=3)
    net.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    path = save(net.state_dict(), tmp_path / "r.pth")
    with pytest.raises(RecipeError, match="give the `input_size`, `mean` and `std`"):
        read_foreign(path, "torchvision", ForeignOptions(backbone="resnet18", findings=THREE))


EFFICIENTNET = "efficientnet_b3"
SHOWN = {
    # What projects write: the head replaced by a sequence, by its last layer, or by one layer.
    "efficientnet_b3, its own head": (
        EFFICIENTNET,
        "classifier",
        lambda size: nn.Sequential(nn.Dropout(0.3), nn.Linear(size, 15)),
    ),
    "efficientnet_b3, one layer": (EFFICIENTNET, "classifier", lambda size: nn.Linear(size, 15)),
    "resnet50, dropout": ("resnet50", "fc", lambda size: nn.Sequential(nn.Dropout(0.5), nn.Linear(size, 15))),
    "resnet50, sequence in a sequence": (
        "resnet50",
        "fc",
        lambda size: nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Linear(size, 15), nn.Sigmoid())),
    ),
}


@pytest.mark.parametrize("case", SHOWN)
def test_a_net_of_torchvision_is_recognized_and_gives_its_own_logits(case, tmp_path):
    name, head, make = SHOWN[case]
    torch.manual_seed(3)
    net = torchvision.models.get_model(name, weights=None)
    size = {"resnet50": 2048, EFFICIENTNET: 1536}[name]
    setattr(net, head, make(size))
    lived_in(net)
    path = save(net.state_dict(), tmp_path / f"best_{name}.pth")
    found = read_foreign(path, "torchvision", ForeignOptions(findings=NIH15, input_size=96))
    images = gray_images()[..., :96, :96]
    last = nn.Identity() if not case.endswith("sequence") else nn.Sigmoid()
    expected = logits(net, (images.repeat(1, 3, 1, 1) - MEAN) / STD)
    torch.testing.assert_close(last(logits(found.classifier, images)), expected, atol=1e-5, rtol=1e-5)
    assert (found.findings, found.compared_with, found.notes) == (NIH15, f"torchvision's {name}", ())


def test_an_efficientnet_has_the_input_size_of_its_kind(tmp_path):
    net = lived_in(torchvision.models.efficientnet_b1(num_classes=3))
    found = read_foreign(
        save(net.state_dict(), tmp_path / "e.pth"), "torchvision", ForeignOptions(findings=THREE)
    )
    assert (found.model.backbone, found.model.input_size) == ("efficientnet_b1", 240)


@pytest.mark.slow
def test_every_net_of_torchvision_is_told_from_the_others():
    with torch.device("meta"):
        nets = {name: torchvision.models.get_model(name, weights=None).state_dict() for name in TIMM_NAMES}
    assert {name: guess_network(state) for name, state in nets.items()} == {
        name: (name,) for name in TIMM_NAMES
    }
    # One channel and another size of the input do not matter.
    gray = {**nets["vit_b_16"], "conv_proj.weight": torch.empty(768, 1, 16, 16)}
    assert guess_network({**gray, "encoder.pos_embedding": torch.empty(1, 5, 768)}) == ("vit_b_16",)


def test_a_net_that_is_nearly_one_of_torchvisions_is_refused_with_the_candidates(tmp_path):
    state = torchvision.models.resnet18(num_classes=3).state_dict()
    del state["layer4.1.bn2.weight"]
    options = ForeignOptions(findings=THREE)
    with pytest.raises(
        BundleError, match=r"begins like torchvision's resnet18, .*wide_resnet50_2, but its tensors"
    ):
        read_foreign(save(state, tmp_path / "r.pth"), "torchvision", options)
    timms = timm.create_model("test_efficientnet", num_classes=3).state_dict()
    with pytest.raises(BundleError, match=r"its tensors are named conv_stem.weight, .*such as timm with its"):
        read_foreign(save(timms, tmp_path / "t.pth"), "torchvision", options)


HIDDEN = {
    "relu": lambda: nn.Sequential(nn.Linear(512, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)),
    "relu, no dropout": lambda: nn.Sequential(nn.Linear(512, 16), nn.ReLU(), nn.Linear(16, 3)),
    "dropout first": lambda: nn.Sequential(
        nn.Dropout(),
        nn.Linear(512, 16),
        nn.ReLU(),
        nn.Linear(16, 8),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(8, 3),
    ),
}


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "tensors"])
@pytest.mark.parametrize("case", HIDDEN)
def test_a_head_of_several_linear_layers_becomes_hidden_layers(case, whole, tmp_path):
    torch.manual_seed(5)
    net = torchvision.models.resnet18()
    net.fc = HIDDEN[case]()
    lived_in(net)
    path = save(net if whole else net.state_dict(), tmp_path / "r.pth")
    found = read_foreign(path, "torchvision", ForeignOptions(findings=THREE, input_size=64))
    images = gray_images()[..., :64, :64]
    expected = logits(net, (images.repeat(1, 3, 1, 1) - MEAN) / STD)
    torch.testing.assert_close(logits(found.classifier, images), expected, atol=1e-5, rtol=1e-5)
    assert found.model.head.hidden == ((16, 8) if case == "dropout first" else (16,))
    # Only a pickled network says that it is ReLU.
    assert found.notes == () if whole else "ReLU is assumed" in found.notes[0]


OTHER_HEADS = {
    "gelu": (lambda: nn.Sequential(nn.Linear(512, 16), nn.GELU(), nn.Linear(16, 3)), "fc.1 GELU"),
    "none": (lambda: nn.Sequential(nn.Linear(512, 16), nn.Linear(16, 3)), "fc.0 Linear, fc.1 Linear"),
    "softmax": (lambda: nn.Sequential(nn.Linear(512, 3), nn.Softmax(1)), "fc.1 Softmax"),
    "norm": (
        lambda: nn.Sequential(nn.Linear(512, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)),
        "fc.1 BatchNorm1d",
    ),
}


@pytest.mark.parametrize("case", OTHER_HEADS)
def test_another_head_is_refused_with_what_it_has(case, tmp_path):
    net = torchvision.models.resnet18()
    make, text = OTHER_HEADS[case]
    net.fc = make()
    options = ForeignOptions(findings=THREE, input_size=64)
    with pytest.raises(BundleError, match=f"nor several, .*: it has .*{text}"):
        read_foreign(save(net, tmp_path / "whole.pth"), "torchvision", options)
    if case in {"none", "norm"}:
        with pytest.raises(BundleError, match=r"it has fc\.0\.weight \(16, 512\), fc\.0\.bias \(16,\)"):
            read_foreign(save(net.state_dict(), tmp_path / "tensors.pth"), "torchvision", options)


def test_a_head_of_a_timm_net_may_be_replaced(tmp_path):
    torch.manual_seed(4)
    net = timm.create_model("test_efficientnet", num_classes=3)
    net.classifier = nn.Sequential(
        nn.Dropout(0.3), nn.Linear(net.num_features, 8), nn.ReLU(), nn.Linear(8, 3)
    )
    lived_in(net)
    options = ForeignOptions(backbone="test_efficientnet", findings=THREE, input_size=64)
    found = read_foreign(save(net.state_dict(), tmp_path / "t.pth"), "timm", options)
    assert found.model.head.hidden == (8,)


def test_a_convolution_may_be_the_classifier_of_a_timm_net(tmp_path):
    arguments = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}
    net = lived_in(timm.create_model("resnetv2_50", num_classes=3, **arguments))
    assert isinstance(net.head.fc, nn.Conv2d)
    options = ForeignOptions(backbone="resnetv2_50", findings=THREE, input_size=64, arguments=arguments)
    found = read_foreign(save(net.state_dict(), tmp_path / "t.pth"), "timm", options)
    assert found.difference < 1e-5


def test_a_net_of_torchvision_that_is_not_known_is_refused(tmp_path):
    path = save({"w": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(
        RecipeError, match=r"backbone 'vgg16' of torchvision cannot be imported; give one of densenet121"
    ):
        read_foreign(path, "torchvision", ForeignOptions(backbone="vgg16"))


TINY = {
    "resnet10t": {"channels": (8, 16, 16, 16)},
    "test_convnext": {},
    "test_vit": {},
    "test_efficientnet": {},
}


@pytest.mark.parametrize("name", TINY)
def test_a_checkpoint_of_timm_gives_its_own_logits(name, tmp_path):
    torch.manual_seed(4)
    sized = {"img_size": 64} if name == "test_vit" else {}
    net = lived_in(timm.create_model(name, num_classes=3, **TINY[name], **sized))
    state = {f"_orig_mod.module.{key}": tensor for key, tensor in net.state_dict().items()}
    path = save({"state_dict": state, "arch": name, "epoch": 2}, tmp_path / "model_best.pth.tar")
    options = ForeignOptions(backbone=name, findings=THREE, input_size=64, arguments=TINY[name])
    found = read_foreign(path, "timm", options)
    images = gray_images()[..., :64, :64]
    mean, std = (torch.tensor(net.default_cfg[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    expected = logits(net, (images.repeat(1, 3, 1, 1) - mean) / std)
    torch.testing.assert_close(logits(found.classifier, images), expected, atol=1e-5, rtol=1e-5)
    assert found.compared_with == f"timm's {name}"


def test_a_tag_brings_its_normalisation(tmp_path):
    net = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=1)
    options = ForeignOptions(
        backbone="vit_tiny_patch16_224.augreg_in21k", findings=THREE, arguments={"depth": 1}
    )
    found = read_foreign(save(net.state_dict(), tmp_path / "v.pth"), "timm", options)
    assert (found.model.backbone, found.model.mean) == ("vit_tiny_patch16_224", (0.5, 0.5, 0.5))


@pytest.mark.parametrize("name", [None, "resnet5O", "resnet50.none"])
def test_a_backbone_that_timm_does_not_have_is_refused(name, tmp_path):
    path = save({"w": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(RecipeError, match="give the name"):
        read_foreign(path, "timm", ForeignOptions(backbone=name))


# ---- the whole --------------------------------------------------------------------------------


def test_a_net_that_gives_other_logits_than_its_source_is_refused(tmp_path):
    path = save(lived_in(torchvision.models.resnet18(num_classes=3)).state_dict(), tmp_path / "r.pth")
    options = ForeignOptions(
        backbone="resnet18", findings=THREE, input_size=64, arguments={"act_layer": "gelu"}
    )
    with pytest.raises(BundleError, match="gives other logits here than in torchvision's resnet18"):
        read_foreign(path, "torchvision", options)


def test_an_import_is_rebuilt_from_its_section_alone(tmp_path):
    path = save({"state_dict": chexnet_state()}, tmp_path / "w.pth.tar")
    found = read_foreign(path, "chexnet-torchvision", SMALL)
    again = build_classifier(found.model, len(found.findings)).eval()
    again.load_state_dict(found.classifier.state_dict())
    images = gray_images()[..., :64, :64]
    assert torch.equal(logits(again, images), logits(found.classifier, images))


def test_the_probe_image_has_detail_in_every_part():
    image = probe_image(64)
    assert image.shape == (1, 1, 64, 64)
    assert 0 <= float(image.min()) < 0.1
    assert 0.9 < float(image.max()) <= 1
    assert all(float(patch.std()) > 0.05 for patch in functional.unfold(image, 8, stride=8)[0].T)
    assert torch.equal(image, probe_image(64))
