"""The exact CAM of exported nets: torch's own maps, in a process that cannot import torch."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from thorax.bundle import FeatureGrid
from thorax.errors import BundleError, DataError, MissingExtra, RecipeError
from thorax.explain import open_explainer
from thorax.explain.cam import enlarge_maps
from thorax.explain.explainers import OnnxExplainer
from thorax.explain.geometry import enlarge_arrays
from thorax.explain.torch_explainer import TorchExplainer
from thorax.exporting import export_float32
from thorax.findings import NIH14
from thorax.image_set import ImageSet
from thorax.recipe.sections import Head, Preparation

CARDIOMEGALY, NODULE = NIH14[1], NIH14[5]
ON = ImageSet(
    dataset="toy", split="toy", part="val", sha256="", images_sha256="", num_images=4, num_patients=4
)


def pixels(count, side):
    return np.random.default_rng(count).integers(0, 256, (count, side, side), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(bundle_of, tmp_path_factory):
    """Write a bundle of toy nets that take 64 of 96 pixels, with an exported engine."""

    def make(*backbones, **settings):
        folder = tmp_path_factory.mktemp("exported") / "bundle"
        bundle = bundle_of(folder, *backbones, preparation=Preparation(size=96), **settings)
        return export_float32(bundle, pixels(4, 96), compared_on=ON)

    return make


@pytest.fixture(scope="module")
def single(exported):
    return exported("densenet121")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 70))
def test_enlarging_is_that_of_torch(height, width, size):
    maps = np.random.default_rng(size).normal(size=(2, 3, height, width)).astype(np.float32)
    expected = functional.interpolate(
        torch.from_numpy(maps), size=(size, size), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(enlarge_arrays(maps, size), expected.numpy(), atol=2e-5)
    np.testing.assert_allclose(enlarge_maps(torch.from_numpy(maps), size), expected, atol=2e-5)


def test_places_are_interpolated_between_what_they_look_at():
    (row,) = enlarge_arrays(
        np.array([[[[0.0, 8.0, 4.0]]]], np.float32), 24, FeatureGrid(start=0.5, step=8.0)
    )[0, 0, :1]
    assert row[[0, 1, 4, 8, 12, 16]].tolist() == [0.0, 1.0, 4.0, 8.0, 6.0, 4.0]
    assert set(row[16:].tolist()) == {4.0}  # nothing is behind the last


@pytest.mark.parametrize("backbones", [("densenet121",), ("densenet121", "resnet10t")])
@pytest.mark.parametrize(
    "places", [(), (FeatureGrid(start=9.5, step=32.0), FeatureGrid(start=14.0, step=32.0))]
)
def test_the_maps_are_those_of_torch(exported, backbones, places):
    bundle, shown = exported(*backbones, places=places), pixels(11, 96)
    explainer = open_explainer(bundle, device="cpu")
    assert isinstance(explainer, OnnxExplainer)
    found = explainer.maps(shown, (NODULE, CARDIOMEGALY), method="cam")
    expected = TorchExplainer(bundle, device="cpu").maps(shown, (NODULE, CARDIOMEGALY), method="cam")
    assert found.dtype == np.float32
    assert float(np.ptp(expected)) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(np.max(np.abs(expected))))


def test_what_computes_is_what_the_methods_need(single, exported, bundle_of, tmp_path):
    assert open_explainer(single, methods=("cam",), device="cpu").library == "onnxruntime"
    assert open_explainer(single, methods=("cam", "grad-cam"), device="cpu").library == "torch"
    assert open_explainer(bundle_of(tmp_path, "densenet121"), device="cpu").library == "torch"
    assert open_explainer(exported("densenet121", "test_vit"), device="cpu").library == "torch"
    assert open_explainer(exported("resnet10t", head=Head(pool="lse")), device="cpu").library == "torch"


def test_an_exported_net_refuses_what_it_cannot_give(single, exported):
    explainer = open_explainer(single, device="cpu")
    with pytest.raises(RecipeError, match="supports the method cam, not rise; use the method cam, or torch"):
        explainer.maps(pixels(1, 96), (NODULE,), method="rise")
    with pytest.raises(DataError, match="Atelectasis cannot be explained"):
        explainer.maps(pixels(1, 96), (NIH14[0],), method="cam")
    hidden = exported("resnet10t", head=Head(hidden=(5,)))
    without = OnnxExplainer(hidden, hidden.manifest.engines[0])
    with pytest.raises(BundleError, match="has no exact class activation map"):
        without.maps(pixels(1, 96), (NODULE,), method="cam")


@pytest.fixture
def explain_without_torch(thorax_without_torch):
    """`thorax explain` of a bundle and an image, where torch cannot be imported."""
    return partial(thorax_without_torch, "explain", "--device", "cpu")


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "chest.png"
    Image.fromarray(np.kron(pixels(1, 24)[0, :20], np.ones((5, 5), np.uint8))).save(path)
    return path


def test_a_radiograph_is_explained_without_torch(explain_without_torch, single, png, tmp_path):
    picture = tmp_path / "cam.png"
    done = explain_without_torch(single.folder, png, "--findings", "Nodule,Mass", "--json", "--out", picture)
    assert done.returncode == 0, done.stderr
    assert picture.stat().st_size > 1000
    told = json.loads(done.stdout)["maps"]
    assert [(each["finding"], each["method"]) for each in told] == [("Nodule", "cam"), ("Mass", "cam")]
    assert any(each["place"] for each in told)


@pytest.mark.parametrize(
    ("backbones", "arguments", "way_out"),
    [
        (("densenet121",), ("--method", "grad-cam"), "or use --method cam with --device cpu"),
        (("test_vit",), (), "only an exact CAM is available, which the bundle's head does not allow"),
    ],
)
def test_where_torch_is_needed_the_message_says_so(
    explain_without_torch, exported, png, backbones, arguments, way_out
):
    done = explain_without_torch(exported(*backbones).folder, png, *arguments)
    assert done.returncode == MissingExtra.exit_code
    assert "by grad-cam needs torch, but torch is not installed; " in done.stderr
    assert way_out in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bundle_that_was_never_exported_says_what_to_do(explain_without_torch, bundle_of, png, tmp_path):
    done = explain_without_torch(bundle_of(tmp_path / "plain", "densenet121").folder, png)
    assert done.returncode == MissingExtra.exit_code
    assert "needs torch here, but torch is not installed" in done.stderr
    assert "or export the bundle where torch is installed" in done.stderr
