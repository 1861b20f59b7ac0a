"""Graphs that somebody else made; the names are those of the trials in which each failed."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.toy_bundle import NAMES, images
from thorax.atomic_io import sha256_of_file
from thorax.bundle import load_bundle
from thorax.errors import BundleError
from thorax.inference.engines import open_predictor
from thorax.inference.graph_check import check_graph

SIDE = 80


def end(name, kind=TensorProto.FLOAT, shape=(1, 1, 3)):
    return helper.make_tensor_value_info(name, kind, shape)


def graph_of(nodes, *, inputs=None, outputs=None, tensors=()):
    pixels = end("pixels", TensorProto.UINT8, ("n", SIDE, SIDE))
    graph = helper.make_graph(nodes, "g", inputs or [pixels], outputs or [end("logits")], list(tensors))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def constant(value, name="logits"):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))


ZEROS = np.zeros((1, 1, 3), np.float32)


def put(folder, model):
    """Let the bundle have this graph, with the right checksum."""
    (graph,) = folder.glob("*.onnx")
    old = sha256_of_file(graph)
    graph.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    manifest = folder / "bundle.json"
    manifest.write_text(manifest.read_text().replace(old, sha256_of_file(graph)))
    return load_bundle(folder)


def predict(bundle, count=1):
    return open_predictor(bundle, device="cpu", engine="onnx").probabilities(images(count, SIDE))


def test_a_graph_of_one_constant_is_run(folder):
    assert predict(put(folder, graph_of([constant(ZEROS)]))).tolist() == [[0.5] * 3]


PIXELS = end("pixels", TensorProto.UINT8, ("n", SIDE, SIDE))
ENDS = {
    "x-in-noname": {"inputs": [end("image", TensorProto.UINT8, ("n", SIDE, SIDE))]},
    "x-in-float": {"inputs": [end("pixels", TensorProto.FLOAT, ("n", SIDE, SIDE))]},
    "x-in-2": {"inputs": [PIXELS, end("more")]},
    "x-in-4d": {"inputs": [end("pixels", TensorProto.UINT8, ("n", 1, SIDE, SIDE))]},
    "x-out-noname": {"outputs": [end("scores")], "nodes": [constant(ZEROS, "scores")]},
    "x-out-2d": {"outputs": [end("logits", shape=(1, 3))], "nodes": [constant(ZEROS[0])]},
    "x-out-0d": {"outputs": [end("logits", shape=())], "nodes": [constant(np.float32(0))]},
    "x-out-double": {
        "outputs": [end("logits", TensorProto.DOUBLE)], "nodes": [constant(ZEROS.astype(np.float64))],
    },
    "x-out-more": {
        "outputs": [end("logits"), end("other")], "nodes": [constant(ZEROS), constant(ZEROS, "other")],
    },
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_input_and_outputs_are_those_of_a_bundle(folder, case):
    """These were tracebacks of onnxruntime and NumPy."""
    given = {"nodes": [constant(ZEROS)], **ENDS[case]}
    bundle = put(folder, graph_of(**given))
    with pytest.raises(BundleError, match=r"has the input and outputs .*, and not pixels, logits and cam"):
        predict(bundle)


@pytest.mark.parametrize(
    ("case", "logits"),
    [
        ("x-out-13", np.zeros((1, 1, 13), np.float32)),
        ("x-out-empty", np.zeros((1, 1, 0), np.float32)),
        ("x-out-nan", ZEROS * np.nan),
        ("x-out-inf", ZEROS + np.inf),
    ],
)
def test_logits_are_finite_and_one_for_each_finding(folder, case, logits):
    """Whatever shape the graph says that they have."""
    bundle = put(folder, graph_of([constant(logits)], outputs=[end("logits", shape=("v", "n", "k"))]))
    with pytest.raises(
        BundleError, match=r"of the shape \(1, 1, \d+\) for 3 findings|3 logits that are not finite"
    ):
        predict(bundle)


def test_x_out_n2(folder):
    """Two images for one."""
    two = np.zeros((1, 2, 3), np.float32)
    bundle = put(folder, graph_of([constant(two)], outputs=[end("logits", shape=("v", "n", "k"))]))
    with pytest.raises(BundleError, match="gives 2 results for one image"):
        predict(bundle)


def test_x_out_str(folder):
    words = helper.make_node("Constant", [], ["logits"], value_strings=["a", "b", "c"])
    bundle = put(folder, graph_of([words], outputs=[end("logits", TensorProto.STRING, (3,))]))
    with pytest.raises(BundleError, match="and not pixels, logits and cam"):
        predict(bundle)


@pytest.mark.parametrize("size", [32, 2048])
def test_size_32_and_size_2048(folder, png, thorax, size):
    """Images of a size that the graph does not take were a traceback."""
    manifest = folder / "bundle.json"
    values = json.loads(manifest.read_text())
    values["preparation"]["size"] = size
    manifest.write_text(json.dumps(values))
    done = thorax("predict", folder, png)
    assert done.returncode == BundleError.exit_code
    assert f"cannot run on an image of {size} x {size} pixels" in done.stderr


def elsewhere(name):
    """The numbers of a tensor in another file, as ONNX writes them."""
    tensor = TensorProto(name="logits", data_type=TensorProto.FLOAT, dims=[1, 1, 3])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=name)
    return tensor


@pytest.mark.parametrize("name", ["data.bin", "bundle.json", "/etc/passwd", "../data.bin"])
def test_x_ext_unlisted_file_and_x_ext_sibling(folder, name):
    """Numbers that no checksum covers changed the probabilities."""
    (folder / "data.bin").write_bytes(bytes(12))
    for model in (
        graph_of([helper.make_node("Identity", ["w"], ["logits"])], tensors=[elsewhere(name)]),
        graph_of([helper.make_node("Constant", [], ["logits"], value=elsewhere(name))]),
    ):
        with pytest.raises(BundleError, match="has numbers in another file, which a graph of a bundle"):
            predict(put(folder, model))


def _loop():
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes_on"])],
        "body",
        [end("i", TensorProto.INT64, ()), end("going", TensorProto.BOOL, ())],
        [end("goes_on", TensorProto.BOOL, ())],
    )
    return [
        constant(np.int64(2**62), "times"), constant(np.bool_(True), "going"),
        helper.make_node("Loop", ["times", "going"], [], body=body), constant(ZEROS),
    ]  # fmt: skip


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize(
    ("case", "nodes"),
    [
        ("x-loop-forever", _loop()),
        ("random", [helper.make_node("RandomNormal", [], ["logits"], shape=[1, 1, 3])]),
        ("foreign", [helper.make_node("Gemm", ["pixels"], ["logits"], domain="com.example")]),
        ("microsoft", [helper.make_node("Attention", ["pixels"], ["logits"], domain="com.microsoft")]),
        ("nameless", [helper.make_node("", ["pixels"], ["logits"])]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operators_that_a_graph_must_not_have(folder, case, nodes):
    with pytest.raises(BundleError, match=r"has (the|an|a node without an) operator"):
        predict(put(folder, graph_of(nodes)))


def test_x_cos_8GB(folder):  # noqa: N802  (the name of the trial)
    """A constant of 8 TB: the memory of all graphs is bounded by half of the machine's."""
    shape = constant(np.array([2_000_000_000_000], np.int64), "shape")
    nodes = [
        shape, helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0), constant(ZEROS, "zeros"),
        helper.make_node("Add", ["zeros", "sum"], ["logits"]),
    ]  # fmt: skip
    with pytest.raises(BundleError, match="onnxruntime cannot run on an image of 80 x 80 pixels"):
        predict(put(folder, graph_of(nodes)))


def test_too_many_nodes(tmp_path):
    model = graph_of([helper.make_node("Identity", ["pixels"], [f"x{n}"]) for n in range(50_001)])
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="has more than 50,000 nodes"):
        check_graph(tmp_path / "x.onnx")


def test_functions_and_sparse_numbers(tmp_path):
    path = tmp_path / "x.onnx"
    model = graph_of([constant(ZEROS)])
    sparse = onnx.SparseTensorProto(dims=[3])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "s"))
    model.graph.sparse_initializer.append(sparse)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="has sparse numbers"):
        check_graph(path)
    model = graph_of([constant(ZEROS)])
    model.functions.append(onnx.FunctionProto(name="f", domain="d"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="has functions of its own"):
        check_graph(path)


def test_every_damaged_file_is_refused_or_means_the_same(tmp_path):
    """Cut anywhere, and with any byte changed: never another error."""
    content = graph_of([constant(ZEROS)], tensors=[numpy_helper.from_array(ZEROS, "w")]).SerializeToString()
    path = tmp_path / "x.onnx"
    changed = [content[:cut] for cut in range(len(content))]
    changed += [
        content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
        for at in range(len(content)) for bit in (1, 2, 4, 8, 16, 32, 64, 128)
    ]  # fmt: skip
    refused = 0
    for damaged in changed:
        path.write_bytes(damaged)
        try:
            check_graph(path)
        except BundleError:
            refused += 1
    assert refused > len(content)


def test_the_number_of_a_field_cannot_be_disguised(tmp_path):
    """A field number of more than 32 bits, whose upper bits another reader might drop."""
    node = helper.make_node("Loop", [], []).SerializeToString()
    key = (1 << 3 | 2) | 1 << 32
    varint = bytes(
        [
            key & 0x7F | 0x80,
            key >> 7 & 0x7F | 0x80,
            key >> 14 & 0x7F | 0x80,
            key >> 21 & 0x7F | 0x80,
            key >> 28,
        ]
    )
    graph = varint + bytes([len(node)]) + node
    (tmp_path / "x.onnx").write_bytes(bytes([7 << 3 | 2, len(graph)]) + graph)
    with pytest.raises(BundleError, match="a field with too large a number"):
        check_graph(tmp_path / "x.onnx")


def test_every_graph_that_was_exported_passes(sound):
    for path in sound.folder.glob("*.onnx"):
        check_graph(path)
    assert tuple(sound.manifest.findings) == NAMES
