"""Weights of Keras: the logits of the source, or a refusal; nothing in a file harms the process that asks."""

import importlib
import json
import subprocess
import sys
import time
import zlib
from functools import cache

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers import hdf5_fuzz, keras_models
from thorax.checkpoints import ForeignOptions, keras_file, read_foreign
from thorax.checkpoints.keras_file import read_keras_file
from thorax.checkpoints.weights_file import read_weights_file
from thorax.errors import BundleError
from thorax.findings import NIH14

torchvision = importlib.import_module("torchvision")

MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
THREE = ForeignOptions(findings=NIH14[:3], input_size=64)


@pytest.mark.slow
def test_a_model_of_keras_gives_the_logits_of_keras(tmp_path):
    subprocess.run([sys.executable, keras_models.__file__, tmp_path], check=True, capture_output=True)
    with np.load(tmp_path / "predictions.npz") as saved:
        images = torch.tensor(saved["gray"]).permute(0, 3, 1, 2)
        expected = torch.logit(torch.tensor(saved["probabilities"]))
    for name, outputs in (("model", 14), ("model.weights", 14), ("nested", 3), ("nested.weights", 3)):
        options = ForeignOptions(findings=NIH14[:outputs], input_size=keras_models.SIDE)
        found = read_foreign(tmp_path / f"{name}.h5", "keras", options)
        with torch.no_grad():
            logits = found.classifier(images)
        torch.testing.assert_close(logits, expected[:, :outputs], atol=1e-4, rtol=0)
        assert ("weights without a description" in "".join(found.notes)) == ("weights" in name)


# ---- layouts, written by hand -----------------------------------------------------------------

BLOCKS = (6, 12, 24, 16)


@cache
def densenet():
    torch.manual_seed(0)
    net = torchvision.models.densenet121(num_classes=3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            # So small that the epsilon matters.
            module.running_var.uniform_(1e-6, 1e-5)
            module.weight.data.mul_(0.01)
    nn.init.normal_(net.classifier.weight, std=10)
    return net.eval()


def with_epsilon(net, epsilon):
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = epsilon
    return net


def keras_layers(net, *, old):
    """Yield the name of each layer in Keras and its weights in Keras' layout."""
    slash = "/" if old else "_"
    features = net.features
    yield f"conv1{slash}conv", {"kernel": kernel(features.conv0)}
    yield f"conv1{slash}bn", norm(features.norm0)
    for block, layers in enumerate(BLOCKS, 1):
        for number in range(1, layers + 1):
            layer = features.get_submodule(f"denseblock{block}.denselayer{number}")
            name = f"conv{block + 1}_block{number}"
            yield f"{name}_0_bn", norm(layer.norm1)
            yield f"{name}_1_conv", {"kernel": kernel(layer.conv1)}
            yield f"{name}_1_bn", norm(layer.norm2)
            yield f"{name}_2_conv", {"kernel": kernel(layer.conv2)}
        if block < len(BLOCKS):
            transition = features.get_submodule(f"transition{block}")
            yield f"pool{block + 1}_bn", norm(transition.norm)
            yield f"pool{block + 1}_conv", {"kernel": kernel(transition.conv)}
    yield "bn", norm(features.norm5)
    yield "predictions", {"kernel": net.classifier.weight.T, "bias": net.classifier.bias}


def kernel(layer):
    return layer.weight.permute(2, 3, 1, 0)


def norm(layer):
    values = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    return dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), values, strict=True))


def write(path, net, *, old=True, root="", config=None, **stored):
    with h5py.File(path, "w") as file:
        group = file.create_group(root) if root else file
        for layer, weights in keras_layers(net, old=old):
            for name, values in weights.items():
                group.create_dataset(f"{layer}/{layer}/{name}:0", data=values.detach().numpy(), **stored)
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
    return path


LAYOUTS = {
    "weights of Keras 2": {"old": True},
    "model of Keras 2": {
        "old": True,
        "root": "model_weights",
        "config": {"class_name": "Model", "config": {}},
    },
    "weights of Keras 3, gzip": {"old": False, "compression": "gzip", "compression_opts": 1},
    "nested": {"old": False, "root": "model_weights/densenet121"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_logits_of_the_source(layout, tmp_path):
    net = densenet()
    found = read_foreign(write(tmp_path / "w.h5", net, **LAYOUTS[layout]), "keras", THREE)
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    normalized = (images.repeat(1, 3, 1, 1) - MEAN) / STD
    with torch.no_grad():
        logits = found.classifier(images)
        expected, torchs = with_epsilon(net, 1.001e-5)(normalized), with_epsilon(net, 1e-5)(normalized)
    scale = float(expected.abs().max())
    assert float((torchs - expected).abs().max()) > 1e-4 * scale
    torch.testing.assert_close(logits, expected, atol=1e-5 * scale, rtol=0)
    assert (found.model.backbone, found.preparation.fit) == ("densenet121", "stretch")
    assert found.compared_with == "torchvision's densenet121 with the batch norms of Keras"


def dense(activation):
    return {"config": {"layers": [{"class_name": "Dense", "config": {"activation": activation}}]}}


def bn(epsilon):
    return {"config": {"layers": [{"class_name": "BatchNormalization", "config": {"epsilon": epsilon}}]}}


def more_layers(*names):
    def change(path):
        with h5py.File(path, "a") as file:
            for name in names:
                file[name] = np.ones((3, 3), np.float32)

    return change


@pytest.mark.parametrize(
    ("config", "change", "text"),
    [
        (dense("softmax"), None, "with the activation 'softmax', but Thorax has one probability"),
        (dense({"class_name": "Custom"}), None, r"with the activation \"\{'class_name': 'Custom'\}\""),
        (bn(1e-3), None, "batch norms with epsilon 0.001, but"),
        (
            None,
            more_layers("dense_1/kernel"),
            "has the dense layers dense_1 and predictions/predictions;",
        ),
        (
            None,
            more_layers("predictions/predictions/kernel"),
            "has the layer predictions/predictions twice",
        ),
        (None, more_layers("conv6_block1_0_bn/a/b/strange"), "dense layers conv6_block1_0_bn/a/b and"),
    ],
)
def test_another_network_of_keras_is_refused(config, change, text, tmp_path):
    path = tmp_path / "w.h5"
    if config is None:
        write(path, densenet())
        change(path)
    else:
        with h5py.File(small(path), "a") as file:
            file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(BundleError, match=text):
        read_foreign(path, "keras", THREE)


# ---- hostile files ----------------------------------------------------------------------------


def small(path, **stored):
    """A file in Keras' layout with a few numbers."""
    with h5py.File(path, "w") as file:
        for layer in ("conv1", "bn"):
            for name in ("kernel", "bias"):
                values = np.arange(64, dtype=np.float32).reshape(8, 8)
                file.create_dataset(f"model_weights/{layer}/{layer}/{name}:0", data=values, **stored)
        file.attrs["model_config"] = json.dumps(dense("sigmoid"))
    return path


WEIGHTS = "model_weights/bn/bn"


def external_link(file, folder):
    small(folder / "other.h5")
    file[f"{WEIGHTS}/gamma"] = h5py.ExternalLink("other.h5", "model_weights/bn/bn/bias:0")


def soft_link(file, folder):
    file[f"{WEIGHTS}/gamma"] = h5py.SoftLink(f"/{WEIGHTS}/bias:0")


def linked_root(file, folder):
    small(folder / "other.h5")
    del file["model_weights"]
    file["model_weights"] = h5py.ExternalLink("other.h5", "model_weights")


def external_storage(file, folder):
    (folder / "secret").write_bytes(b"1234" * 64)
    file.create_dataset(f"{WEIGHTS}/gamma", (64,), "f4", external=[(str(folder / "secret"), 0, 256)])


def virtual(file, folder):
    small(folder / "other.h5")
    layout = h5py.VirtualLayout((8, 8), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), f"{WEIGHTS}/bias:0", (8, 8))
    file.create_virtual_dataset(f"{WEIGHTS}/gamma", layout)


def filtered(**filters):
    def add(file, folder):
        file.create_dataset(f"{WEIGHTS}/gamma", data=np.ones((8, 8), "f4"), **filters)

    return add


def bomb(length):
    def add(file, folder):
        dataset = file.create_dataset(f"{WEIGHTS}/gamma", (1024,), "f4", chunks=(1024,), compression="gzip")
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(length), 9))

    return add


def typed(dtype):
    def add(file, folder):
        file.create_dataset(f"{WEIGHTS}/gamma", (4,), dtype)

    return add


def unwritten(*shape, **stored):
    def add(file, folder):
        file.create_dataset(f"{WEIGHTS}/gamma", shape, "f4", **stored)

    return add


def cycle(file, folder):
    file[f"{WEIGHTS}/again"] = file["model_weights"]


def many(file, folder):
    group = file.create_group(f"{WEIGHTS}/many")
    for index in range(20_001):
        group.create_group(str(index))


def named_type(file, folder):
    file[f"{WEIGHTS}/gamma"] = np.dtype("f4")


def no_json(file, folder):
    file.attrs["model_config"] = "[" * 100_000


def two_of_a_name(file, folder):
    for number in range(2):
        group = file.create_group(f"model_weights/layers/conv2d_{number}/vars")
        group.attrs["name"] = "conv1_conv"
        group["0"] = np.ones(3, np.float32)


HOSTILE = {
    "two of a name": (two_of_a_name, "it has conv1_conv/0 twice"),
    "external link": (external_link, "gamma is a link to elsewhere"),
    "soft link": (soft_link, "gamma is a link to elsewhere"),
    "link in place of the weights": (linked_root, "model_weights is a link to elsewhere"),
    "external storage": (external_storage, "the numbers of bn/bn/gamma are in another file"),
    "virtual dataset": (virtual, "the numbers of bn/bn/gamma are in another file"),
    "shuffle": (filtered(shuffle=True, compression="gzip"), r"HDF5 filters \[2, 1\]; only gzip"),
    "checksum": (filtered(fletcher32=True), r"HDF5 filters \[3\]; only gzip"),
    "lzf": (filtered(compression="lzf"), r"HDF5 filters \[32000\]; only gzip"),
    "bomb": (bomb(1 << 26), "gamma has a chunk that does not fit its shape"),
    "small bomb": (bomb(1 << 20), "gamma has a chunk that does not fit its shape"),
    "short chunk": (bomb(4), "gamma has a chunk that does not fit its shape"),
    "integers": (typed("i4"), "gamma holds int32, but weights are floating point"),
    "texts": (typed(h5py.string_dtype()), "gamma holds object, but weights"),
    "huge": (unwritten(1 << 40), "need more than 512 MiB, at bn/bn/gamma"),
    "huge chunks": (unwritten(8, chunks=(1 << 28,), maxshape=(None,)), "chunks of 1,073,741,824 bytes"),
    "unwritten": (unwritten(64), "holds fewer numbers than its shape"),
    "five axes": (unwritten(1, 1, 1, 1, 1), "has 5 dimensions"),
    "cycle": (cycle, "nested too deeply"),
    "many": (many, "more than 20,000 groups"),
    "type": (named_type, "neither a group nor a dataset"),
    "description": (no_json, "it is damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_keras_does_not_write_is_refused(case, tmp_path):
    change, text = HOSTILE[case]
    path = small(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        change(file, tmp_path)
    with pytest.raises(BundleError, match=f"w.h5 cannot be imported: .*{text}"):
        read_keras_file(path)


def test_the_numbers_are_read_as_they_are(tmp_path):
    plain = read_keras_file(small(tmp_path / "plain.h5"))
    gzip = read_keras_file(small(tmp_path / "gzip.h5", compression="gzip", chunks=(3, 5)))
    half = read_keras_file(small(tmp_path / "half.h5", dtype=">f2"))
    for file in (plain, gzip, half):
        assert file.tensors.keys() == {
            f"{layer}/{layer}/{name}:0" for layer in ("conv1", "bn") for name in ("kernel", "bias")
        }
        assert all(torch.equal(tensor, torch.arange(64.0).reshape(8, 8)) for tensor in file.tensors.values())
        assert file.attributes == {"activations": ["sigmoid"], "epsilons": []}


def test_a_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"PK\x03\x04")
    with pytest.raises(BundleError, match=r"is not an HDF5 file; give what Keras wrote with model.save"):
        read_keras_file(tmp_path / "w.h5")
    with pytest.raises(BundleError, match="cannot be read"):
        read_keras_file(tmp_path / "none.h5")
    with pytest.raises(BundleError, match="is an HDF5 file, as Keras writes it; give `kind=keras`"):
        read_weights_file(small(tmp_path / "w.pth"))


def test_a_truncated_file_is_refused(tmp_path):
    path = small(tmp_path / "w.h5")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match=r"it is damaged \(.*truncated"):
        read_keras_file(path)


WORKERS = {
    "crash": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"stopped .* \(exit status -11\)"),
    "hang": ("import time; time.sleep(60)", "was not read after 1 seconds"),
    "nonsense": ("print('x' * 100)", "cannot be read .*; copy the file again"),
}


@pytest.mark.parametrize("case", WORKERS)
def test_a_reader_that_dies_costs_the_file_only(case, tmp_path, monkeypatch):
    script, text = WORKERS[case]
    (tmp_path / "worker.py").write_text(script)
    monkeypatch.setattr(keras_file, "_WORKER", tmp_path / "worker.py")
    if case == "hang":
        monkeypatch.setattr(keras_file, "_TIMEOUT_SECONDS", 1)
    started = time.monotonic()
    with pytest.raises(BundleError, match=f"w.h5 {text}"):
        read_keras_file(small(tmp_path / "w.h5"))
    assert time.monotonic() - started < 50


def test_damaged_files_are_refused_or_read_and_never_more(tmp_path):
    path = small(tmp_path / "w.h5", compression="gzip", chunks=(8, 8))
    done = subprocess.run(
        [sys.executable, hdf5_fuzz.__file__, keras_file._WORKER, path, tmp_path, "200"],
        check=True,
        capture_output=True,
        text=True,
    )
    outcomes = json.loads(done.stdout)
    # A negative status is a signal: the process died, which `read_keras_file` reports as an error.
    assert all(outcome in {"read", "3"} or int(outcome) < 0 for outcome in outcomes), outcomes
    assert outcomes["3"] > 50
    assert outcomes["read"] > 5
