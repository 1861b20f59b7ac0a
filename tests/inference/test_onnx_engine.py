"""The exported engine at work: the numbers of torch, without torch."""

import csv
import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.toy_bundle import NAMES, REFERENCE, graph_of, images, new_bundle
from thorax.bundle import load_bundle
from thorax.errors import BundleError, RecipeError
from thorax.exporting import export_float32
from thorax.findings import parse_findings
from thorax.hardware import num_threads
from thorax.imaging import prepare, read_radiograph
from thorax.inference.engines import open_engine, open_predictor
from thorax.inference.exported_engines import OnnxEngine
from thorax.inference.predictor import Engine, Failure
from thorax.inference.torch_engine import TorchEngine
from thorax.models import build_classifier, to_input
from thorax.recipe.sections import Network, Preparation


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
        assert np.array_equal(alone, found[:, :count])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_numbers_do_not_depend_on_how_many_images_and_threads_there_are(bundle, threads):
    pixels = images(5)
    (several,) = open_engine(bundle, device="cpu", threads=threads).logits(pixels)
    engine = open_engine(bundle, device="cpu", threads=1)
    alone = [engine.logits(pixels[row : row + 1])[0] for row in range(5)]
    assert np.array_equal(several, np.concatenate(alone, axis=1))
    (first,) = open_engine(bundle, device="cpu", threads=threads).logits(pixels[:1])
    assert np.array_equal(first, alone[0])


def test_a_graph_that_changes_before_it_is_opened_is_refused(copy):
    engine = open_engine(load_bundle(copy), device="cpu", threads=2)
    engine.logits(images(2))
    (graph,) = copy.glob("*.onnx")
    graph.write_bytes(graph.read_bytes() + b" ")
    with pytest.raises(BundleError, match="is not the file that the manifest describes"):
        engine.logits(images(1))
    assert engine.logits(images(2))[0].shape == (1, 2, len(NAMES))


def test_threads_are_those_that_the_environment_names(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert num_threads() == 3
    for value in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert num_threads() >= 1


def test_activation_maps_are_those_of_torch(bundle):
    pixels = images(10)
    engine = open_engine(bundle, device="cpu")
    (maps,) = engine.activation_maps(pixels)
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
        BundleError, match=r"has no engine openvino-int8 \(it has torch, onnx\); export it first .*`int8`"
    ):
        open_engine(bundle, engine="openvino-int8")
    with pytest.raises(BundleError, match="runs on the CPU only, but `device` is cuda"):
        open_engine(bundle, engine="onnx", device="cuda")


@pytest.mark.usefixtures("shapes_unchecked")
def test_an_unknown_engine_is_refused_with_those_that_exist(bundle):
    with pytest.raises(RecipeError, match=r"there is no engine 'tf'; set `engine` to auto, torch, onnx"):
        open_engine(bundle, engine="tf")


def test_a_file_that_onnxruntime_cannot_run(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"x\.onnx is not an intact ONNX file .*export the bundle again"):
        OnnxEngine([tmp_path / "x.onnx"]).logits(images(1))


WITHOUT_TORCH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "timm", "torchvision", "pandas", "pyarrow"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""


COMMAND = "import thorax.cli.main as cli; sys.argv = ['thorax', *sys.argv[1:]]; cli.main()"


def run_without_torch(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_prediction_without_torch_gives_the_same_numbers(bundle, png):
    done = run_without_torch(COMMAND, "predict", bundle.folder, png, "--json", "--device", "cpu")
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
from thorax.inference.engines import open_engine
open_engine(load_bundle(Path(sys.argv[1])), device="cpu")
"""
    done = run_without_torch(code, plain.folder)
    assert "needs torch here, but torch is not installed" in done.stderr


SMALL_DENSENET = Network(
    backbone="densenet121", arguments={"growth_rate": 8, "block_config": (2, 2, 2, 2)}, input_size=64
)


@pytest.fixture(scope="module")
def learnt(nih_sample, tmp_path_factory):
    """A bundle whose net learnt from real radiographs of the training part for some steps."""
    labels = gzip.decompress((nih_sample / "Data_Entry_2017_v2020.csv.gz").read_bytes()).decode()
    rows = {row["Image Index"]: row["Finding Labels"] for row in csv.DictReader(labels.splitlines())}
    test = set(images_of_the_test_part(nih_sample))
    paths = [path for path in sorted((nih_sample / "images").iterdir()) if path not in test][::9]
    pixels = np.stack([prepare(read_radiograph(path), Preparation(size=80)) for path in paths])
    targets = torch.tensor([[float(name in rows[path.name]) for name in NAMES] for path in paths])
    torch.manual_seed(0)
    classifier = build_classifier(SMALL_DENSENET, len(NAMES)).train()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=3e-3)
    for step in range(24):
        batch = slice(step % 6 * 25, step % 6 * 25 + 25)
        optimizer.zero_grad()
        logits = classifier(to_input(torch.from_numpy(pixels[batch]), 64))
        torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[batch]).backward()
        optimizer.step()
    made = new_bundle(tmp_path_factory.mktemp("learnt") / "bundle", classifier, SMALL_DENSENET)
    return export_float32(made, pixels[:4], compared_on=REFERENCE)


def images_of_the_test_part(nih_sample):
    listed = gzip.decompress((nih_sample / "test_list.txt.gz").read_bytes()).decode().split()
    return [nih_sample / "images" / name for name in listed if (nih_sample / "images" / name).is_file()]


def test_a_net_that_learnt_agrees_on_every_image_of_the_real_test_part(learnt, nih_sample):
    paths = images_of_the_test_part(nih_sample)
    assert len(paths) == 138
    by_torch = open_predictor(learnt, device="cpu", engine="torch").predict_files(paths)
    expected = [[each.probability for each in prediction.findings] for prediction in by_torch]
    assert np.std(expected, axis=0).min() > 0.01, "the net tells images apart"
    by_onnx = open_predictor(learnt, device="cpu", engine="onnx").predict_files(paths)
    found = [[each.probability for each in prediction.findings] for prediction in by_onnx]
    assert np.abs(np.subtract(found, expected)).max() < 1e-5
    # And as a command, where there is no torch.
    done = run_without_torch(COMMAND, "predict", learnt.folder, *paths, "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["source"] for line in lines] == [str(path) for path in paths]
    alone = [[each["probability"] for each in line["findings"].values()] for line in lines]
    assert np.array_equal(alone, found)


def predict(folder, png, *options):
    command = [sys.executable, "-m", "thorax", "predict", str(folder), str(png), "--device", "cpu", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [(), ("--engine", "torch")], ids=["onnx", "torch"])
def test_a_damaged_net_is_refused_by_the_command_that_opens_it(copy, bundle, png, options):
    damaged = copy / (graph_of(bundle)[0].name if not options else "weights.safetensors")
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    done = predict(copy, png, *options)
    assert done.returncode == BundleError.exit_code
    assert f"BundleError: {damaged} is not the file that the manifest describes" in done.stderr
    assert "Traceback" not in done.stderr
    if options:  # the weights are no business of the other engine
        assert predict(copy, png).returncode == 0


def test_a_manifest_that_points_elsewhere_is_refused(copy, bundle, png):
    path, _ = graph_of(bundle)
    manifest = (copy / "bundle.json").read_text()
    (copy / "bundle.json").write_text(manifest.replace(path.name, f"../{path.name}"))
    done = predict(copy, png)
    assert done.returncode == BundleError.exit_code
    assert "outside its folder; do not use this bundle" in done.stderr


def test_nets_are_checked_at_once_unless_they_are_checked_when_opened(copy):
    (copy / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors is missing from the bundle"):
        load_bundle(copy)
    later = load_bundle(copy, check_nets=False)
    with pytest.raises(BundleError, match=r"weights\.safetensors is missing from the bundle"):
        open_engine(later, device="cpu", engine="torch")


def test_files_are_predicted_in_order_with_failures_among_them(bundle, png, tmp_path):
    """More files than are read at a time."""
    paths = []
    for number, image in enumerate(images(70, 100)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(paths[-1])
    paths[33].write_bytes(b"")
    outcomes = list(open_predictor(bundle, device="cpu").predict_files(iter(paths)))
    assert [each.source for each in outcomes] == [str(path) for path in paths]
    assert [number for number, each in enumerate(outcomes) if isinstance(each, Failure)] == [33]
    (alone,) = open_predictor(bundle, device="cpu").predict_files([paths[69]])
    assert outcomes[69] == alone
