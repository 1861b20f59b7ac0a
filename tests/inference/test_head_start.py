"""Graphs that are opened while the program is still being imported."""

import subprocess
import sys
from concurrent.futures import Future

import pytest

from tests.helpers.toy_bundle import NAMES, graph_of, images
from thorax.bundle import load_bundle
from thorax.errors import BundleError
from thorax.inference.engines import open_predictor
from thorax.inference.head_start import begin, begin_as_asked


@pytest.mark.parametrize("one_image", [True, False])
def test_a_head_start_gives_the_same_numbers_with_the_graph_that_it_opened(
    monkeypatch, bundle, png, one_image
):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    begun = begin(bundle.folder, device="cpu", engine="auto", one_image=one_image)
    assert list(begun) == [(*graph_of(bundle), 2 if one_image else 1)]
    early = open_predictor(bundle, device="cpu", begun=begun)
    paths = [png] if one_image else [png, png]
    assert list(early.predict_files(paths)) == list(open_predictor(bundle, device="cpu").predict_files(paths))
    (opened,) = begun.values()
    assert list(early._engine._opened.values()) == [[opened.result()]]


def test_a_damaged_graph_is_refused_where_another_of_the_same_file_was_begun(copy, bundle):
    """A folder of one image: the graph for several was begun, and its checksum is that of the file."""
    graph = copy / graph_of(bundle)[0].name
    graph.write_bytes(graph.read_bytes() + b" ")
    begun = begin(copy, device="cpu", engine="auto", one_image=False)
    predictor = open_predictor(load_bundle(copy, check_nets=False), device="cpu", begun=begun)
    with pytest.raises(BundleError, match="is not the file that the manifest describes"):
        predictor.probabilities(images(1))


QUIET = """
import sys
from pathlib import Path
from thorax.inference.head_start import begin

begun = begin(Path(sys.argv[1]), device="cpu", engine="auto", one_image=True)
before = set(sys.modules)
assert {"numpy", "onnxruntime"} <= before
for opened in begun.values():
    opened.result()
print(len(begun), sorted(set(sys.modules) - before))
"""


def test_a_head_start_imports_nothing_beside_the_program(bundle):
    """Two threads that import NumPy at once failed in one of twenty starts."""
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(bundle.folder)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "1 []", done.stderr


def test_a_head_start_is_not_taken_where_another_file_is_asked_for(bundle):
    path, _ = graph_of(bundle)
    other: Future[object] = Future()  # never done: waiting for it would hang
    predictor = open_predictor(
        bundle, device="cpu", begun={(path, "0" * 64, 1): other, (path, "0" * 64, 2): other}
    )
    assert predictor.probabilities(images(1)).shape == (1, len(NAMES))


def test_nothing_is_begun_where_another_engine_computes_or_nothing_is_understood(plain, bundle, tmp_path):
    assert begin(bundle.folder, device="cpu", engine="torch", one_image=True) == {}
    assert begin(bundle.folder, device="cuda", engine="auto", one_image=True) == {}
    assert begin(plain.folder, device="cpu", engine="auto", one_image=True) == {}
    assert begin(tmp_path, device="cpu", engine="auto", one_image=True) == {}
    for content in (
        "no JSON",
        "[]",
        '{"engines": 1}',
        '{"engines": [{"kind": "onnx", "precision": "float32"}]}',
    ):
        (tmp_path / "bundle.json").write_text(content)
        assert begin(tmp_path, device="cpu", engine="auto", one_image=True) == {}


@pytest.mark.parametrize(
    ("arguments", "threads"),
    [
        (("BUNDLE", "a.png"), 2),
        (("--json", "BUNDLE", "a.png", "--device", "cpu"), 2),
        (("--device", "cpu", "--engine=onnx", "BUNDLE", "x" * 5000), 2),
        (("BUNDLE", "a.png", "b.png"), 1),
        (("BUNDLE", "BUNDLE"), 1),
        (("BUNDLE", "a.png", "--engine", "torch"), None),
        (("BUNDLE", "a.png", "--device=cuda"), None),
        (("a.png", "BUNDLE"), None),
        (("BUNDLE", "--device"), None),
        (("x" * 5000, "a.png"), None),
        ((), None),
    ],
)
def test_what_is_begun_is_what_the_command_will_ask_for(monkeypatch, bundle, arguments, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    given = [each.replace("BUNDLE", str(bundle.folder)) for each in arguments]
    assert list(begin_as_asked(given)) == ([(*graph_of(bundle), threads)] if threads else [])
