"""Attack 31: weights, or the exported graph, of another model, with the right SHA-256 in the manifest."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from thorax.atomic_io import sha256_of_file
from thorax.bundle import load_bundle
from thorax.errors import BundleError, MissingExtra
from thorax.inference import cross_check as module
from thorax.inference.cross_check import cross_check
from thorax.store import open_store
from thorax.workflows.evaluate import evaluate

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture
def exchanged(tmp_path):
    """The golden bundle with other weights beside its graph, and their SHA-256 in the manifest."""
    folder = shutil.copytree(GOLDEN / "run" / "bundle", tmp_path / "bundle")
    tensors = load_file(folder / "weights.safetensors")
    rng = np.random.default_rng(0)
    (head,) = [name for name in tensors if tensors[name].ndim == 2]
    tensors[head] = rng.permuted(tensors[head], axis=1)
    save_file(tensors, folder / "weights.safetensors")
    manifest = json.loads((folder / "bundle.json").read_text())
    return folder, manifest


def test_attack_31_weights_are_exchanged(exchanged):
    """The graph gave .674 and torch .550, and nothing compared them."""
    folder, manifest = exchanged
    with pytest.raises(
        BundleError, match=r"weights\.safetensors is not the file that the manifest describes"
    ):
        load_bundle(folder)
    manifest["members"][0]["sha256"] = sha256_of_file(folder / "weights.safetensors")
    (folder / "bundle.json").write_text(json.dumps(manifest))
    for engine in ("torch", "onnx"):
        with pytest.raises(BundleError, match=r"weights and the exported graph of .* are not the same model"):
            evaluate(folder, GOLDEN / "store", gallery=False, resamples=20, device="cpu", engine=engine)


def test_attack_31_weights_that_are_not_numbers(exchanged):
    folder, manifest = exchanged
    tensors = load_file(folder / "weights.safetensors")
    save_file(
        {
            name: np.full_like(tensor, np.nan) if tensor.dtype.kind == "f" else tensor
            for name, tensor in tensors.items()
        },
        folder / "weights.safetensors",
    )
    manifest["members"][0]["sha256"] = sha256_of_file(folder / "weights.safetensors")
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="logits that are not finite numbers"):
        evaluate(folder, GOLDEN / "store", gallery=False, resamples=20, device="cpu")


def test_weights_and_graph_that_agree_are_said_to(tmp_path):
    result = evaluate(GOLDEN / "run", GOLDEN / "store", gallery=False, resamples=20, device="cpu")
    made = dict(result.context.made)["Weights and exported graph"]
    assert made.startswith("agree on 8 images, largest difference of a probability ")
    written = result.write(tmp_path / "report")
    for text in (written.html.read_text(), written.markdown.read_text(), written.metrics.read_text()):
        assert made in text


def test_what_cannot_be_checked_is_said(monkeypatch):
    store, bundle = open_store(GOLDEN / "store"), load_bundle(GOLDEN / "run")
    rows = np.arange(3)

    def without_torch(*_, engine, **__):
        raise MissingExtra(f"{engine} needs torch")

    monkeypatch.setattr(module, "open_predictor", without_torch)
    assert (
        str(cross_check(bundle, store.pixels, rows))
        == "not checked against each other: torch is not installed"
    )


def test_a_bundle_with_one_of_the_two_is_not_checked():
    store, bundle = open_store(GOLDEN / "store"), load_bundle(GOLDEN / "run")
    alone = bundle.manifest.model_copy(update={"engines": ()})
    assert cross_check(replace(bundle, manifest=alone), store.pixels, np.arange(3)) is None
