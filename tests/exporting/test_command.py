"""The verb `export`, on its own."""

import pytest
import typer
from typer.testing import CliRunner

from thorax.bundle import load_bundle
from thorax.cli.export import export
from thorax.errors import BundleError, DataError, RecipeError

app = typer.Typer()
app.command()(export)


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=True)


def test_a_copy_gets_the_engine_and_the_figures_are_printed(bundle, store, tmp_path):
    done = run(bundle.folder, "--store", store.path, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "onnx float32: probabilities differ from torch" in done.output
    assert "(64 images of the val part of folder-official)" in done.output
    assert [each.kind for each in load_bundle(tmp_path / "out").manifest.engines] == ["onnx"]
    assert load_bundle(bundle.folder) == bundle


def test_without_a_store_it_is_said_what_cannot_be_checked(bundle, tmp_path):
    refused = run(bundle.folder, "--out", tmp_path / "out")
    assert isinstance(refused.exception, DataError)
    assert "cannot be checked whether the exported engine" in str(refused.exception)
    assert "`on_phantoms`" in str(refused.exception)
    quantized = run(bundle.folder, "--int8", "--on-phantoms", "--out", tmp_path / "out")
    assert "validation images fit and judge that; give a store" in str(quantized.exception)
    assert not (tmp_path / "out").exists()
    done = run(bundle.folder, "--on-phantoms", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "(16 drawn radiographs: NOT COMPARED ON REAL IMAGES)" in done.output
    (engine,) = load_bundle(tmp_path / "out").manifest.engines
    on = engine.parity.compared_on
    assert (on.dataset, on.split, on.part, engine.parity.num_images) == ("phantoms", "", "", 16)


def test_a_refused_quantised_engine_leaves_the_exact_one(bundle, store):
    done = run(bundle.folder, "--store", store.path, "--int8")
    assert isinstance(done.exception, BundleError)
    assert "too few positives" in str(done.exception)
    assert [each.precision for each in load_bundle(bundle.folder).manifest.engines] == ["float32"]


def test_a_quantised_engine_is_judged_by_what_is_named(bundle, store):
    done = run(bundle.folder, "--store", store.path, "--int8", "--gated", "Mass", "--gated", "Effusion")
    assert done.exit_code == 0, done.output
    assert "onnx int8: probabilities differ from onnx float32" in done.output
    assert "sensitivity or specificity by" in done.output


def test_a_folder_in_use_is_not_written_to(bundle, store, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    done = run(bundle.folder, "--store", store.path, "--out", tmp_path / "out")
    assert "is not empty" in str(done.exception)


@pytest.mark.parametrize("wrong", [("--to", "tflite"), ("--gated",)])
def test_wrong_arguments(bundle, store, wrong):
    assert run(bundle.folder, "--store", store.path, *wrong).exit_code == 2


def test_findings_to_judge_by_need_a_quantized_engine(bundle, store):
    done = run(bundle.folder, "--store", store.path, "--gated", "Mass")
    assert isinstance(done.exception, RecipeError)
    assert "set `int8` too" in str(done.exception)


def test_a_bundle_is_replaced_only_when_asked_for(bundle, store, tmp_path):
    copy = ("--store", store.path, "--out", tmp_path / "out")
    assert run(bundle.folder, *copy).exit_code == 0
    assert "set `overwrite`" in str(run(bundle.folder, *copy).exception)
    assert run(bundle.folder, *copy, "--overwrite").exit_code == 0
    own = run(bundle.folder, "--store", store.path, "--out", bundle.folder, "--overwrite")
    assert "is a source of the new bundle" in str(own.exception)
