"""The exported engine at work: the numbers of torch, without torch."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from thorax.bundle import Manifest, Member, load_bundle, write_bundle
from thorax.bundle.manifest import PartReference
from thorax.errors import BundleError
from thorax.export import export_float32
from thorax.findings import parse_findings
from thorax.imaging import prepare, read_radiograph
from thorax.inference.cores import num_threads
from thorax.inference.onnx_engine import OnnxEngine
from thorax.inference.open_engine import open_engine, open_predictor
from thorax.inference.predictor import Engine, Failure
from thorax.inference.torch_engine import TorchEngine
from thorax.models import build_classifier, to_input, weights_as_bytes
from thorax.recipe.net import Model, Preparation

MODEL = Model(backbone="resnet10t", arguments={"channels": (8, 16, 16, 16)}, input_size=64)
NAMES = ("Mass", "Nodule", "Edema")
REFERENCE = PartReference(
    dataset="toy", split="toy", part="val", sha256="", images_sha256="", num_images=4, num_patients=4
)


def images(count, side=80):
    return np.random.default_rng(count).integers(0, 256, (count, side, side), dtype=np.uint8)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A bundle without an exported engine."""
    torch.manual_seed(0)
    classifier = build_classifier(MODEL, len(NAMES))
    provenance = {
        "kind": "trained", "recipe": "toy", "recipe_sha256": "", "seed": 0, "dataset": "toy",
        "store_fingerprint": "", "trained_on": REFERENCE, "selected_on": REFERENCE, "selected_by": "",
        "epoch": 1, "versions": {},
    }  # fmt: skip
    member = Member.model_validate(
        {
            "weights": "weights.safetensors",
            "sha256": "",
            "model": MODEL,
            "findings": NAMES,
            "exact_cam": True,
            "provenance": provenance,
        }
    )
    manifest = Manifest(
        name="toy",
        findings=NAMES,
        preparation=Preparation(size=80),
        members=(member,),
        calibration=None,
        operating_points=None,
        patients_sha256="",
    )
    weights = {"weights.safetensors": weights_as_bytes(classifier.state_dict())}
    return write_bundle(tmp_path_factory.mktemp("bundle") / "plain", manifest, weights=weights, patients={})


@pytest.fixture(scope="module")
def bundle(plain):
    """The same with one."""
    copy = write_bundle(
        plain.folder.parent / "exported", plain.manifest, weights=plain.weights, patients=plain.patients
    )
    return export_float32(copy, images(4), compared_on=REFERENCE)


def test_the_numbers_are_those_of_torch_whatever_the_batch(bundle):
    pixels = images(19)
    (expected,) = TorchEngine(bundle, device="cpu").logits(pixels)
    engine = open_engine(bundle, device="cpu")
    assert isinstance(engine, OnnxEngine)
    assert isinstance(engine, Engine)
    (found,) = engine.logits(pixels)
    assert found.dtype == np.float64
    assert np.abs(found - expected).max() < 1e-5
    for count in (1, 8, 9):
        (alone,) = engine.logits(pixels[:count])
        assert np.abs(alone - found[:, :count]).max() < 1e-6


def test_threads_change_no_number(bundle):
    pixels = images(5)
    one, two = (open_engine(bundle, device="cpu", threads=count).logits(pixels)[0] for count in (1, 2))
    assert np.array_equal(one, two)


def test_threads_are_those_that_the_environment_names(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert num_threads() == 3
    for value in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert num_threads() >= 1


def test_activation_maps_are_those_of_torch(bundle):
    pixels = images(10)
    engine = open_engine(bundle, device="cpu")
    maps = engine.activation_maps(pixels)
    net = TorchEngine(bundle, device="cpu")._nets[0].classifier
    with torch.no_grad():
        features = net.features(to_input(torch.from_numpy(pixels), 64))
        expected = torch.einsum("kc,bchw->bkhw", net.head.weight, features).numpy()
    assert np.abs(maps - expected).max() < 1e-5


def test_which_engine_is_used(plain, bundle):
    assert isinstance(open_engine(bundle, device="cpu"), OnnxEngine)
    assert isinstance(open_engine(plain, device="cpu"), TorchEngine)
    assert isinstance(open_engine(bundle, device="cpu", engine="torch"), TorchEngine)
    with pytest.raises(BundleError, match=r"has no engine onnx \(it has torch\)"):
        open_engine(plain, engine="onnx")
    with pytest.raises(
        BundleError, match=r"has no engine openvino-int8 \(it has torch, onnx\); make .*--int8"
    ):
        open_engine(bundle, engine="openvino-int8")
    with pytest.raises(BundleError, match="computes on the CPU, and device cuda was asked for"):
        open_engine(bundle, engine="onnx", device="cuda")


def test_a_file_that_onnxruntime_cannot_run(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"x\.onnx cannot be run by onnxruntime .*export the bundle again"):
        OnnxEngine([tmp_path / "x.onnx"])


def test_real_images_of_the_test_part(bundle, nih_sample):
    listed = gzip.decompress((nih_sample / "test_list.txt.gz").read_bytes()).decode().split()
    there = [nih_sample / "images" / name for name in listed if (nih_sample / "images" / name).is_file()]
    # Evenly spread: the whole part takes half a minute to decode.
    paths = there[:: len(there) // 40]
    pixels = np.stack([prepare(read_radiograph(path), Preparation(size=80)) for path in paths])
    expected = open_predictor(bundle, device="cpu", engine="torch").probabilities(pixels)
    found = open_predictor(bundle, device="cpu").probabilities(pixels)
    assert np.abs(found - expected).max() < 1e-6


WITHOUT_TORCH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "timm", "torchvision", "pandas", "pyarrow"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""


def run_without_torch(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "chest.png"
    Image.fromarray(images(1, 120)[0]).save(path)
    return path


def test_prediction_without_torch_gives_the_same_numbers(bundle, png):
    code = "import thorax.cli.main as cli; sys.argv = ['thorax', *sys.argv[1:]]; cli.main()"
    done = run_without_torch(code, "predict", bundle.folder, png, "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["findings"]
    predictor = open_predictor(load_bundle(bundle.folder), device="cpu", engine="torch")
    (expected,) = predictor.predict_files([png])
    assert not isinstance(expected, Failure)
    assert [finding.name for finding in parse_findings(NAMES)] == list(found)
    for each in expected.findings:
        assert found[each.finding.name]["probability"] == pytest.approx(each.probability, abs=1e-6)


def test_without_torch_and_without_an_export_the_message_says_so(plain, png):
    code = """
from pathlib import Path
from thorax.bundle import load_bundle
from thorax.inference.open_engine import open_engine
open_engine(load_bundle(Path(sys.argv[1])), device="cpu")
"""
    done = run_without_torch(code, plain.folder)
    assert "was to run on torch, and torch is not installed here" in done.stderr
