"""Graphs that are opened ahead of their use."""

import subprocess
import sys
from concurrent.futures import Future

import pytest

from tests.helpers.toy_bundle import NAMES, graph_of, images
from thorax import starter
from thorax.bundle import load_bundle
from thorax.cli.main import _prefetch
from thorax.errors import BundleError
from thorax.inference import onnx_session
from thorax.inference.engines import open_predictor
from thorax.inference.onnx_session import open_session, prefetch


@pytest.fixture(autouse=True)
def prefetched(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    onnx_session._prefetched.clear()
    yield onnx_session._prefetched
    onnx_session._prefetched.clear()


@pytest.mark.parametrize("one_image", [True, False])
def test_a_prefetched_graph_gives_the_same_numbers(prefetched, bundle, png, one_image):
    paths = [png] if one_image else [png, png]
    expected = list(open_predictor(bundle, device="cpu").predict_files(paths))
    prefetch(bundle.folder, paths, device="cpu")
    ((key, begun),) = prefetched.items()
    assert key == (*graph_of(bundle), 2 if one_image else 1)
    early = open_predictor(bundle, device="cpu")
    assert list(early.predict_files(paths)) == expected
    assert list(early._engine._opened.values()) == [[begun.result()]]
    assert not prefetched


def test_each_prefetched_graph_is_opened_once_and_taken_once(prefetched, bundle, png):
    prefetch(bundle.folder, [png], device="cpu")
    first = dict(prefetched)
    prefetch(bundle.folder, [png], device="cpu")
    assert prefetched == first
    path, sha256 = graph_of(bundle)
    taken = open_session(path, 2, sha256=sha256)
    assert taken is first[path, sha256, 2].result()
    assert open_session(path, 2, sha256=sha256) is not taken


@pytest.mark.parametrize("num_images", [1, 2])
def test_a_damaged_graph_is_refused_although_it_was_prefetched(copy, bundle, num_images):
    """Prefetched for two images, and used for one as well."""
    graph = copy / graph_of(bundle)[0].name
    graph.write_bytes(graph.read_bytes() + b" ")
    prefetch(copy, [graph, graph], device="cpu")
    predictor = open_predictor(load_bundle(copy, check_nets=False), device="cpu")
    with pytest.raises(BundleError, match="is not the file that the manifest describes"):
        predictor.probabilities(images(num_images))


def test_a_graph_prefetched_for_another_checksum_is_not_taken(prefetched, bundle):
    path, _ = graph_of(bundle)
    other: Future[object] = Future()  # never done: waiting for it would hang
    prefetched.update({(path, "0" * 64, 1): other, (path, "0" * 64, 2): other})
    assert open_predictor(bundle, device="cpu").probabilities(images(1)).shape == (1, len(NAMES))


QUIET = """
import sys
from pathlib import Path
from thorax.inference import onnx_session

onnx_session.prefetch(Path(sys.argv[1]), [Path("a.png")], device="cpu")
before = set(sys.modules)
assert {"numpy", "onnxruntime"} <= before
for opened in onnx_session._prefetched.values():
    opened.result()
print(len(onnx_session._prefetched), sorted(set(sys.modules) - before))
"""


def test_the_thread_that_prefetches_imports_nothing(bundle):
    """Two threads that import NumPy at once failed in one of twenty starts."""
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(bundle.folder)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "1 []", done.stderr


def test_nothing_is_prefetched_where_another_engine_computes_or_nothing_is_understood(
    prefetched, plain, bundle, png, tmp_path
):
    prefetch(bundle.folder, [png], device="cpu", engine="torch")
    prefetch(bundle.folder, [png], device="cuda")
    prefetch(plain.folder, [png], device="cpu")
    prefetch(tmp_path, [png], device="cpu")
    for content in (
        "no JSON",
        "[]",
        '{"engines": 1}',
        '{"engines": [{"kind": "onnx", "precision": "float32"}]}',
    ):
        (tmp_path / "bundle.json").write_text(content)
        prefetch(tmp_path, [png], device="cpu")
    assert not prefetched


def test_without_a_bundle_the_starter_is_prefetched(monkeypatch, prefetched, bundle, png):
    monkeypatch.setattr(onnx_session, "has_cuda_driver", lambda: False)
    monkeypatch.setattr(starter, "_HERE", bundle.folder)
    _prefetch([str(png), str(png)])
    _prefetch(["starter", str(png), "--json"])
    assert list(prefetched) == [(*graph_of(bundle), threads) for threads in (1, 2)]
    prefetched.clear()
    _prefetch(["--model", str(bundle.folder), str(png)])
    monkeypatch.setattr(starter, "_HERE", png.parent)
    _prefetch([str(png)])
    assert not prefetched


@pytest.mark.parametrize(
    ("arguments", "threads"),
    [
        (("BUNDLE", "a.png"), 2),
        (("--json", "BUNDLE", "a.png"), 2),
        (("BUNDLE", "x" * 5000), 2),
        (("BUNDLE", "a.png", "b.png"), 1),
        (("BUNDLE", "BUNDLE"), 1),
        (("BUNDLE", "a.png", "--engine", "torch"), None),
        (("BUNDLE", "a.png", "--device=cuda"), None),
        (("a.png", "BUNDLE"), None),
        (("x" * 5000, "a.png"), None),
        ((), None),
    ],
)
def test_what_the_command_prefetches_before_it_parses_its_arguments(
    monkeypatch, prefetched, bundle, arguments, threads
):
    monkeypatch.setattr(onnx_session, "has_cuda_driver", lambda: False)
    _prefetch([argument.replace("BUNDLE", str(bundle.folder)) for argument in arguments])
    assert list(prefetched) == ([(*graph_of(bundle), threads)] if threads else [])
