"""New bundles from old ones, without a process: what is returned, and what is never replaced."""

from dataclasses import replace

import pytest

from tests.helpers.command import TINY
from thorax.bundle import load_bundle
from thorax.bundle.manifest import Ensemble
from thorax.datasets.phantom import write_phantoms
from thorax.errors import BundleError, DataError, RecipeError
from thorax.reporting.model_card import model_card
from thorax.workflows.bundles import _idle_members, calibrate, ensemble, export
from thorax.workflows.explain import explain
from thorax.workflows.prepare import prepare
from thorax.workflows.train import train_seeds


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Phantoms, their store, and runs of two seeds."""
    folder = tmp_path_factory.mktemp("work")
    write_phantoms(folder / "phantoms", patients=60, size=64)
    store = prepare(folder / "phantoms", folder / "store", size=64, workers=1)
    train_seeds("small-cpu", store, folder / "runs", seeds=2, settings=TINY, device="cpu")
    return folder


def test_a_calibrated_bundle_is_new_and_has_an_engine(work, tmp_path):
    run, calls = work / "runs" / "seed-0", []
    before = (run / "bundle" / "bundle.json").read_bytes()
    written = calibrate(
        str(run), str(work / "store"), tmp_path / "out", kind="platt", rule="one-half", device="cpu",
        progress=calls.append,
    )  # fmt: skip
    assert written.bundle == load_bundle(written)
    assert written.bundle.manifest.calibration.kind == "platt"
    assert set(written.bundle.manifest.operating_points.thresholds.values()) == {0.5}
    assert [engine.kind for engine in written.bundle.manifest.engines] == ["onnx"]
    assert written.notices == ()
    assert (calls[-1].stage, calls[-1].done) == ("predicting", calls[-1].total)
    assert (run / "bundle" / "bundle.json").read_bytes() == before


def test_an_ensemble_replaces_a_bundle_only_when_asked_for(work, tmp_path):
    runs = [work / "runs" / f"seed-{seed}" for seed in (0, 1)]
    written = ensemble(runs, tmp_path / "both", mean_of="logits")
    assert written.bundle.manifest.ensemble.weights == (0.5, 0.5)
    assert written.bundle.manifest.calibration is None
    with pytest.raises(DataError, match=r"both is not empty; .* `overwrite`"):
        ensemble(runs, tmp_path / "both")
    again = ensemble(runs, tmp_path / "both", store=work / "store", device="cpu", overwrite=True)
    assert again.bundle.manifest.ensemble.mean_of == "probabilities"
    assert again.bundle.manifest.calibration is not None


@pytest.mark.parametrize(("weights", "said"), [((0.9996, 0.0004), ["member 2 has"]), ((0.9995, 0.0005), [])])
def test_a_member_of_weight_nought_is_named(work, weights, said):
    bundle = load_bundle(work / "runs" / "seed-0")
    manifest = bundle.manifest.model_copy(
        update={"ensemble": Ensemble(weights=weights, mean_of="probabilities", fitted_on=None)}
    )
    notices = _idle_members(replace(bundle, manifest=manifest))
    assert [notice[:12] for notice in notices] == said
    assert _idle_members(bundle) == ()


def test_wrong_settings_are_refused_before_anything_is_written(work, tmp_path):
    runs = [work / "runs" / f"seed-{seed}" for seed in (0, 1)]
    with pytest.raises(RecipeError, match="`weights=validation` needs `store`"):
        ensemble(runs, tmp_path / "new", weights="validation")
    with pytest.raises(BundleError, match="at least two bundles"):
        ensemble(runs[:1], tmp_path / "new")
    with pytest.raises(RecipeError, match="set `int8` too"):
        export(runs[0], work / "store", gated=["Mass"], out=tmp_path / "new")
    with pytest.raises(DataError, match="no split 'x'"):
        calibrate(runs[0], work / "store", tmp_path / "new", split="x")
    assert not (tmp_path / "new").exists()


def test_an_exported_copy_leaves_the_bundle_as_it_is(work, tmp_path):
    run = work / "runs" / "seed-0"
    before = (run / "bundle" / "bundle.json").read_bytes()
    written = export(run, work / "store", out=tmp_path / "copy")
    assert written.bundle.folder == tmp_path / "copy"
    assert written.bundle.manifest.engines[-1].parity.largest_difference < 1e-4
    assert (run / "bundle" / "bundle.json").read_bytes() == before


def test_a_card_and_a_picture_are_replaced_only_when_asked_for(work, tmp_path):
    run, card = work / "runs" / "seed-0", tmp_path / "cards" / "card.md"
    assert model_card(run, card) == card.read_text()
    with pytest.raises(DataError, match=r"card\.md already exists"):
        model_card(run, card)
    assert model_card(run, card, overwrite=True) == model_card(run)
    image, picture = next((work / "phantoms" / "images").iterdir()), tmp_path / "maps.png"
    found = explain(run, image, findings=["Mass", "Effusion"], out=picture, device="cpu")
    assert [entry.finding.name for entry in found.maps] == ["Mass", "Effusion"]
    assert found.as_json()["source"] == str(image)
    with pytest.raises(DataError, match=r"maps\.png already exists"):
        explain(run, image, out=picture)
