from dataclasses import replace

import numpy as np
import pytest
import torch

from thorax.boxes import Box
from thorax.errors import DataError
from thorax.explain import best_method, reading_notes
from thorax.explain.radiograph import Explained, explain_radiograph, side_by_side
from thorax.explain.torch_explainer import TorchExplainer, explain
from thorax.findings import NIH14
from thorax.inference.predictor import Predictor
from thorax.inference.torch_engine import TorchEngine, load_member
from thorax.models import to_input
from thorax.prediction import FindingPrediction
from thorax.radiograph import Origin, Radiograph

CARDIOMEGALY, EFFUSION, MASS, NODULE = NIH14[1], NIH14[2], NIH14[4], NIH14[5]


def pixels(count=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64), dtype=np.uint8)


def test_one_net_gives_the_maps_of_its_outputs(bundle_of, tmp_path):
    bundle = bundle_of(tmp_path, "densenet121")
    maps = TorchExplainer(bundle, device="cpu").maps(pixels(), (NODULE, EFFUSION), method="hirescam")
    classifier = load_member(bundle, bundle.manifest.members[0])
    expected = explain(classifier, to_input(torch.from_numpy(pixels()), 64), [3, 1], method="hirescam")
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_the_mean_of_an_exact_cam_is_the_bundle_s_logit_less_the_bias(bundle_of, tmp_path):
    bundle = bundle_of(tmp_path, "densenet121")
    assert bundle.exact_cam
    explainer = TorchExplainer(bundle, device="cpu")
    assert best_method(bundle) == "cam"
    maps = explainer.maps(pixels(), bundle.findings, method="cam")
    logits = Predictor(bundle, TorchEngine(bundle, device="cpu")).logits(pixels())
    bias = load_member(bundle, bundle.manifest.members[0]).head.bias.detach().numpy()
    np.testing.assert_allclose(maps.mean(axis=(2, 3)) + bias, logits, atol=1e-5)


@pytest.mark.parametrize(("mean_of", "exact"), [("logits", True), ("probabilities", False)])
def test_the_mean_of_exact_cams_is_exact_where_logits_are_averaged(bundle_of, tmp_path, mean_of, exact):
    bundle = bundle_of(tmp_path, "densenet121", "resnet10t")
    manifest = bundle.manifest
    averaged = manifest.ensemble.model_copy(update={"mean_of": mean_of})
    bundle = replace(bundle, manifest=manifest.model_copy(update={"ensemble": averaged}))
    maps = TorchExplainer(bundle, device="cpu").maps(pixels(), bundle.findings, method="cam")
    logits = Predictor(bundle, TorchEngine(bundle, device="cpu")).logits(pixels())
    heads = [load_member(bundle, member).head.bias.detach().numpy() for member in manifest.members]
    columns = [[m.findings.index(name) for name in manifest.findings] for m in manifest.members]
    bias = sum(w * head[at] for w, head, at in zip(averaged.weights, heads, columns, strict=True))
    assert bundle.exact_cam == exact
    assert np.allclose(maps.mean(axis=(2, 3)) + bias, logits, atol=1e-5) == exact
    assert any("approximation" in note for note in reading_notes(bundle, ["cam"])) != exact


def test_members_are_averaged_with_their_weights_and_in_the_order_of_their_findings(bundle_of, tmp_path):
    bundle = bundle_of(tmp_path, "densenet121", "resnet10t")
    maps = TorchExplainer(bundle, device="cpu").maps(pixels(), (CARDIOMEGALY,), method="grad-cam")
    images = to_input(torch.from_numpy(pixels()), 64)
    first, second = (
        explain(load_member(bundle, member), images, [column], method="grad-cam")
        for member, column in zip(bundle.manifest.members, (0, 3), strict=True)
    )
    np.testing.assert_allclose(maps, 0.75 * first + 0.25 * second, atol=1e-6)


def test_more_images_than_a_batch_give_the_same(bundle_of, tmp_path):
    explainer = TorchExplainer(bundle_of(tmp_path, "densenet121"), device="cpu")
    many = explainer.maps(pixels(11), (MASS,), method="cam")
    np.testing.assert_allclose(many[9:], explainer.maps(pixels(11)[9:], (MASS,), method="cam"), atol=1e-5)


def test_the_best_method_is_one_that_every_net_has(bundle_of, tmp_path):
    assert best_method(bundle_of(tmp_path / "a", "densenet121", "resnet10t")) == "cam"
    mixed = bundle_of(tmp_path / "b", "densenet121", "test_vit")
    assert best_method(mixed) == "grad-cam"


@pytest.mark.parametrize("findings", [(NIH14[0], MASS), ()])
def test_a_finding_that_the_bundle_does_not_know_is_refused(bundle_of, tmp_path, findings):
    explainer = TorchExplainer(bundle_of(tmp_path, "densenet121"), device="cpu")
    with pytest.raises(DataError) as raised:
        explainer.maps(pixels(), findings, method="cam")
    message = str(raised.value)
    assert message.startswith("Atelectasis cannot be explained" if findings else "no finding cannot be")
    assert "choose from its findings: Cardiomegaly, Effusion, Mass, Nodule" in message


def test_a_radiograph_is_explained_in_its_own_pixels(bundle_of, tmp_path):
    explainer = TorchExplainer(bundle_of(tmp_path, "densenet121"), device="cpu")
    shown = np.kron(pixels(1)[0, :32], np.ones((4, 4), np.uint8))  # 128 x 256: 32 x 64 between black bars
    origin = Origin(name="a.png", format="PNG", intensity="8-bit as stored", bits=8)
    found = explain_radiograph(
        explainer,
        Radiograph(pixels=shown, origin=origin),
        (MASS, NODULE),
        methods=("cam", "occlusion"),
        level=0.9,
    )
    assert [(each.finding, each.method) for each in found] == [
        (MASS, "cam"), (MASS, "occlusion"), (NODULE, "cam"), (NODULE, "occlusion"),
    ]  # fmt: skip
    for each in found:
        assert each.attribution.shape == (128, 256)
        assert np.all(np.isfinite(each.attribution))
        if each.highest <= 0:
            assert each.place is each.box is None
            continue
        assert each.place is not None
        assert each.box is not None
        x, y = each.place
        left, top, width, height = each.box
        assert left <= x <= left + width
        assert top <= y <= top + height
        assert 0 <= left <= left + width <= 256
        assert 0 <= top <= top + height <= 128


@pytest.mark.parametrize(
    ("findings", "methods", "rows"),
    [
        ((MASS,), ("cam",), ["Radiograph | Mass cam"]),
        (
            (MASS,),
            ("cam", "rise", "occlusion", "hirescam"),
            ["Radiograph | Mass cam | Mass rise", "Mass occlusion | Mass hirescam"],
        ),
        ((MASS, NODULE), ("cam",), ["Radiograph | Mass cam | Nodule cam"]),
        (
            (MASS, NODULE),
            ("cam", "rise"),
            ["Radiograph | Mass cam | Mass rise", "Radiograph | Nodule cam | Nodule rise"],
        ),
    ],
)
def test_several_findings_by_several_methods_get_a_row_each(findings, methods, rows):
    attribution = np.ones((64, 64), dtype=np.float32)
    maps = [
        Explained(
            finding=finding,
            method=method,
            attribution=attribution,
            highest=1.0,
            mean=0.5,
            place=(1.0, 1.0),
            box=Box(0.0, 0.0, 2.0, 2.0),
        )
        for finding in findings
        for method in methods
    ]
    origin = Origin(name="a.png", format="PNG", intensity="8-bit as stored", bits=8)
    image = Radiograph(pixels=np.zeros((64, 64), dtype=np.uint8), origin=origin)
    panels, columns = side_by_side(
        maps, image, [FindingPrediction(finding, 0.5, 0.5) for finding in findings]
    )
    captions = [panel.caption for panel in panels]
    names = [
        "Radiograph" if first == "Radiograph" else f"{first.split()[0]} {second.split(':')[0]}"
        for first, second in captions
    ]
    lines = [names[first : first + columns] for first in range(0, len(names), columns)]
    assert [" | ".join(line) for line in lines] == rows
    assert [panel.attribution is None for panel in panels] == [name == "Radiograph" for name in names]
