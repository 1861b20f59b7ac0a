import importlib.util

import numpy as np
import pytest

from thorax.bundle import load_bundle, write_bundle
from thorax.bundle.writing import attach_engine, copy_bundle
from thorax.errors import BundleError
from thorax.exporting import CHECKED_IMAGES, evenly_spaced, export_float32, export_int8
from thorax.inference.engines import open_engine, open_predictor
from thorax.recipe.sections import TestTime

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino, an extra, is not installed"
)
KINDS = ["onnx", pytest.param("openvino", marks=needs_openvino)]


@pytest.fixture(scope="session")
def export(store, part_of):
    """The function that adds the float32 engine."""

    def run(bundle, to="onnx"):
        part = part_of(bundle)
        pixels = store.pixels(evenly_spaced(part.rows, CHECKED_IMAGES))
        reference = bundle.manifest.members[0].provenance.selected_on
        return export_float32(bundle, pixels, to=to, compared_on=reference)

    return run


def names(bundle):
    return sorted(path.name for path in bundle.folder.iterdir())


def test_rows_are_spread_evenly():
    assert evenly_spaced(np.arange(10), 4).tolist() == [0, 3, 6, 9]
    assert evenly_spaced(np.arange(3), 4).tolist() == [0, 1, 2]


@pytest.mark.parametrize("to", KINDS)
def test_an_engine_is_added_and_agrees_on_every_image(bundle, store, export, to):
    exported = export(bundle, to)
    assert exported == load_bundle(bundle.folder)
    (engine,) = exported.manifest.engines
    assert (engine.kind, engine.precision, engine.parity.num_images) == (to, "float32", 64)
    assert engine.parity.largest_difference < 1e-5
    assert engine.nets[0].cam
    rows = np.arange(len(store))
    expected = open_predictor(exported, engine="torch", device="cpu").predict_rows(store.pixels, rows)
    found = open_predictor(exported, engine=to).predict_rows(store.pixels, rows)
    assert np.abs(found - expected).max() < 1e-5


def test_an_ensemble_with_views(make_bundle, store, export, tmp_path):
    plain = make_bundle(tmp_path / "both", seeds=(0, 1), test_time=TestTime(flip=True, scales=(1.0, 1.1)))
    exported = export(plain)
    (engine,) = exported.manifest.engines
    assert [len(net.files) for net in engine.nets] == [1, 1]
    assert not any(net.cam for net in engine.nets)
    pixels = store.pixels(np.arange(20))
    first, second = (
        open_engine(exported, engine=name, device="cpu").logits(pixels) for name in ("torch", "onnx")
    )
    assert [each.shape for each in second] == [(4, 20, 3), (4, 20, 3)]
    assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(first, second, strict=True))


def test_the_same_bundle_gets_the_same_bytes(make_bundle, export, tmp_path):
    first, second = (export(make_bundle(tmp_path / name)) for name in ("a", "b"))
    assert names(first) == names(second)
    assert all(
        (first.folder / name).read_bytes() == (second.folder / name).read_bytes() for name in names(first)
    )
    # Once more changes nothing either.
    before = (first.folder / "bundle.json").read_bytes()
    assert (export(first).folder / "bundle.json").read_bytes() == before


def test_a_damaged_engine_is_refused(bundle, export):
    exported = export(bundle)
    (graph,) = exported.exported_files(exported.manifest.engines[0])
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"onnx is not the file that the manifest describes"):
        load_bundle(bundle.folder)
    graph.unlink()
    with pytest.raises(BundleError, match=r"onnx is missing from the bundle"):
        load_bundle(bundle.folder)


def test_an_engine_takes_the_place_of_its_like(bundle, export, tmp_path):
    exported = export(bundle)
    (engine,) = exported.manifest.engines
    (old,) = exported.exported_files(engine)
    again = attach_engine(exported, *another(exported, tmp_path))
    (new,) = again.exported_files(again.manifest.engines[0])
    assert new.read_bytes() == b"another graph"
    assert new != old
    assert not old.exists()


def test_killed_before_the_manifest_the_bundle_is_the_old_one(bundle, export, tmp_path):
    exported = export(bundle)
    newer = attach_engine(copy_bundle(exported, tmp_path / "newer"), *another(exported, tmp_path))
    # What stands in the folder when everything but the manifest was written.
    for path in newer.folder.iterdir():
        if path.name != "bundle.json":
            (exported.folder / path.name).write_bytes(path.read_bytes())
    assert load_bundle(exported.folder) == exported


def another(bundle, folder):
    (folder / "another.onnx").write_bytes(b"another graph")
    return bundle.manifest.engines[0], [(folder / "another.onnx",)]


def test_a_copy_has_the_same_bytes(bundle, export, tmp_path):
    exported = export(bundle)
    copied = copy_bundle(exported, tmp_path / "copy")
    assert copied.sha256 == exported.sha256
    assert names(copied) == names(exported)


def test_a_bundle_written_anew_has_no_engine_yet(bundle, export, tmp_path):
    exported = export(bundle)
    written = write_bundle(
        tmp_path / "new", exported.manifest, weights=exported.weights, patients=exported.patients
    )
    assert written.manifest.engines == ()


def test_too_few_positives_keep_the_float_engine(bundle, export, part_of):
    exported = export(bundle)
    before = names(exported)
    with pytest.raises(BundleError, match=r"too few positives .*Hernia 7"):
        export_int8(exported, part_of(exported))
    assert load_bundle(bundle.folder) == exported
    assert names(exported) == before


def test_without_calibration_nothing_is_quantised(make_bundle, part_of, tmp_path):
    plain = make_bundle(tmp_path / "plain", calibrated=False)
    with pytest.raises(BundleError, match="is not calibrated, not on folder-official; calibrate the bundle"):
        export_int8(plain, part_of(plain), gated=("Mass",))


def test_int8_stands_on_the_float_engine(bundle, part_of):
    with pytest.raises(
        BundleError, match=r"has no engine onnx \(it has torch\); export it first with `to=onnx`"
    ):
        export_int8(bundle, part_of(bundle), gated=("Mass",))


@pytest.mark.parametrize("to", KINDS)
def test_a_quantised_engine_has_its_own_points(bundle, store, export, part_of, to):
    exported = export_int8(export(bundle, to), part_of(bundle), to=to, gated=("Effusion", "Mass"))
    first, engine = exported.manifest.engines
    assert (first.precision, engine.precision) == ("float32", "int8")
    parity = engine.parity
    assert parity.compared_with == f"{to} float32"
    assert parity.num_images == 260
    assert 1e-5 < parity.largest_difference <= 0.1
    assert parity.percentile_99 <= 0.05
    assert parity.macro_auc_change <= 0.002
    assert parity.operating_point_change <= 0.01
    assert engine.quantised_with.part == "train"
    assert engine.operating_points.thresholds["Hernia"] is None
    # It is used only by name, with its own points.
    rows = part_of(bundle).rows
    usual, quantized = (open_predictor(exported, engine=name) for name in (to, f"{to}-int8"))
    assert usual.bundle.manifest.operating_points == bundle.manifest.operating_points
    assert quantized.bundle.manifest.operating_points == engine.operating_points
    difference = usual.predict_rows(store.pixels, rows) - quantized.predict_rows(store.pixels, rows)
    assert 0 < np.abs(difference).max() <= parity.largest_difference
    # The rates of its points are its own.
    column = bundle.manifest.findings.index("Mass")
    mass = engine.operating_points.measured.findings["Mass"]
    called = (
        quantized.predict_rows(store.pixels, rows)[:, column] >= engine.operating_points.thresholds["Mass"]
    )
    present = store.table.targets(bundle.findings)[rows, column] == 1
    assert (mass.sensitivity.matching, mass.sensitivity.images) == (np.sum(called & present), np.sum(present))
    assert bundle.manifest.operating_points.measured.findings == {}
