import numpy as np
import pytest
import torch

from thorax.errors import BundleError
from thorax.exporting.onnx import MemberGraph, line_weights, onnx_bytes
from thorax.inference.torch_engine import view_logits
from thorax.models import build_classifier
from thorax.models.test_time_views import View, apply_view, views
from thorax.recipe.sections import Network, TestTime
from thorax.telemetry import import_unreported

TINY = {
    "resnet10t": {"arguments": {"channels": (8, 16, 16, 16)}},
    "densenet121": {"arguments": {"growth_rate": 8, "block_config": (1, 1, 1, 1)}},
    "test_efficientnet": {},
    "test_vit": {},
    "test_convnext": {},
    "swin_tiny_patch4_window7_224": {
        "arguments": {"depths": (1, 1), "embed_dim": 24, "num_heads": (1, 2)},
        "input_size": 56,
    },
}
PLAIN = TestTime()
MANY_VIEWS = TestTime(flip=True, five_crops=True, scales=(1.0, 0.9))


def build(backbone="resnet10t", side=80, test_time=PLAIN, **settings):
    torch.manual_seed(0)
    model = Network(backbone=backbone, **{"input_size": 64, **TINY[backbone], **settings})
    classifier = build_classifier(model, 3).eval()
    return MemberGraph(classifier, side=side, input_size=model.input_size, test_time=test_time)


def images(count, side):
    return np.random.default_rng(count).integers(0, 256, (count, side, side), dtype=np.uint8)


def run(content, pixels, outputs=None):
    session = import_unreported("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(outputs, {"pixels": pixels})


@pytest.mark.parametrize("test_time", [TestTime(), MANY_VIEWS], ids=["plain", "many views"])
@pytest.mark.parametrize("backbone", TINY)
def test_each_family_agrees_with_torch(backbone, test_time):
    graph = build(backbone, test_time=test_time)
    content = onnx_bytes(graph)
    size = TINY[backbone].get("input_size", 64)
    for count in (1, 3):
        pixels = images(count, 80)
        expected = view_logits(
            graph.classifier, torch.from_numpy(pixels), input_size=size, test_time=test_time
        )
        found = run(content, pixels, ["logits"])[0]
        assert found.shape == expected.shape == (len(views(test_time)), count, 3)
        assert np.abs(found - expected).max() < 2e-5


@pytest.mark.parametrize(
    "head",
    [{"pool": "lse"}, {"pool": "attention"}, {"hidden": (5,)}, {"pool": "convolutions", "hidden": (6, 5, 4)}],
    ids=str,
)
@pytest.mark.parametrize("backbone", ["resnet10t", "test_vit"])
def test_other_heads_agree_with_torch(backbone, head):
    graph = build(backbone, head=head)
    pixels = images(2, 80)
    expected = view_logits(graph.classifier, torch.from_numpy(pixels), input_size=64, test_time=TestTime())
    assert np.abs(run(onnx_bytes(graph), pixels, ["logits"])[0] - expected).max() < 2e-5


@pytest.mark.parametrize("backbone", TINY)
def test_the_map_has_the_logits_as_its_mean(backbone):
    graph = build(backbone)
    assert graph.cam == graph.classifier.exact_cam
    found = run(onnx_bytes(graph), images(2, 80))
    assert len(found) == (2 if graph.cam else 1)
    if graph.cam:
        bias = graph.classifier.head.bias.detach().numpy()
        assert np.allclose(found[1].mean(axis=(2, 3)) + bias, found[0][0], atol=1e-5)


class Unknown(torch.nn.Module):
    def forward(self, vectors):
        return torch.linalg.eigvals(vectors.T @ vectors).real[:3].expand(len(vectors), 3)


def test_what_onnx_does_not_know_is_refused():
    graph = build("test_vit")
    graph.classifier.head = Unknown()
    with pytest.raises(BundleError, match=r"cannot be exported to ONNX .*use the bundle with torch"):
        onnx_bytes(graph)


def test_no_map_where_views_are_averaged():
    assert not build(test_time=TestTime(flip=True)).cam


def test_the_same_net_gives_the_same_bytes_and_no_path_of_this_machine():
    first, again = onnx_bytes(build()), onnx_bytes(build())
    assert first == again
    assert __file__.split("/")[1].encode() + b"/" not in first
    assert b"site-packages" not in first


def test_lines_by_hand():
    halved = [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    assert line_weights(View(), 4, 2).tolist() == halved
    assert line_weights(View(mirrored=True), 4, 2).tolist() == halved[::-1]
    assert torch.equal(line_weights(View(), 5, 5), torch.eye(5))
    # The middle half of four pixels, as it is; then twice the line, with a black margin.
    assert line_weights(View(0.5), 4, 2).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert line_weights(View(2.0), 2, 4).tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize(("side", "size"), [(48, 48), (50, 33), (100, 32), (97, 30), (32, 40)])
def test_two_products_are_what_a_view_shows(side, size):
    # 97 to 30: the last of the areas that are averaged reaches over the edge.
    pixels = torch.from_numpy(images(2, side))
    for view in views(TestTime(flip=True, five_crops=True, scales=(1.0, 1.2, 0.8))):
        rows = line_weights(View(view.side, view.y), side, size)
        columns = line_weights(View(view.side, view.x, mirrored=view.mirrored), side, size)
        found = rows @ (pixels.float() / 255) @ columns.T
        assert (found - apply_view(pixels, view, size)[:, 0]).abs().max() < 3e-6
