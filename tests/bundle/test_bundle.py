import json

import pytest
from pydantic import ValidationError

from thorax.atomic_io import sha256_of_file
from thorax.bundle import (
    Exported,
    Manifest,
    Member,
    OperatingPoints,
    SiteCalibration,
    Trained,
    attach_engine,
    hashed_patients,
    load_bundle,
    refuse_seen_patients,
    refuse_used_folder,
    write_bundle,
)
from thorax.bundle.manifest import ExportedFile, ExportedNet, Parity
from thorax.bundle.writing import copy_bundle
from thorax.calibration import Platt, Temperature
from thorax.errors import BundleError, DataError, LeakError
from thorax.image_set import ImageSet
from thorax.rates import FindingRates, MeasuredRates, Share
from thorax.recipe.schema import Network, Preparation


def reference(part: str) -> ImageSet:
    return ImageSet(
        dataset="folder", split="patient-80-10-10", part=part, sha256="0" * 64, images_sha256="1" * 64,
        num_images=3, num_patients=2,
    )  # fmt: skip


def trained() -> Trained:
    return Trained(
        recipe="toy", recipe_sha256="2" * 64, seed=0, dataset="folder", store_fingerprint="3" * 64,
        trained_on=reference("train"), selected_on=reference("val"), selected_by="best macro-auc on val",
        epoch=2, versions={"thorax": "0"},
    )  # fmt: skip


def member(**changes) -> Member:
    values = {
        "weights": "weights.safetensors", "sha256": "", "model": Network(backbone="resnet18"),
        "findings": ("Mass", "Nodule"), "exact_cam": True, "provenance": trained(),
    }  # fmt: skip
    return Member(**{**values, **changes})


def manifest(**changes) -> Manifest:
    values = {
        "name": "toy",
        "findings": ("Mass", "Nodule"),
        "preparation": Preparation(size=64),
        "members": (member(),),
        "calibration": Temperature(temperature=1.5, fitted_on=reference("val")),
        "operating_points": OperatingPoints(
            rule="f1-optimal", thresholds={"Mass": 0.25, "Nodule": None}, chosen_on=reference("val")
        ),
        "patients_sha256": "",
    }
    return Manifest(**{**values, **changes})


PLATT_OF_MASS = Platt(slopes={"Mass": 1.0}, intercepts={"Mass": 0.0}, kept={}, fitted_on=reference("val"))


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(
        tmp_path / "run" / "bundle",
        manifest(),
        weights={"weights.safetensors": b"weights"},
        patients={
            "train": hashed_patients("folder", ["a", "b"]).values(),
            "val": hashed_patients("folder", ["c", "val"]).values(),
        },
    )


SHARE = Share(value=0.5, low=0.1, high=0.9, matching=1, images=2, patients=2)
RATES = MeasuredRates(
    findings={"Mass": FindingRates(sensitivity=SHARE, specificity=None)}, measured_on=reference("val")
)


def with_rates(**changes):
    points = {**manifest().operating_points.model_dump(), "measured": RATES}
    return manifest(**{"format": 2, "operating_points": points} | changes)


def test_rates_at_the_thresholds_are_kept(tmp_path):
    written = write_bundle(
        tmp_path / "bundle",
        with_rates(),
        weights={"weights.safetensors": b"weights"},
        patients={
            "train": hashed_patients("folder", ["a", "b"]).values(),
            "val": hashed_patients("folder", ["c", "val"]).values(),
        },
    )
    assert load_bundle(written.folder).manifest.operating_points.measured == RATES


def test_rates_that_do_not_fit_are_refused(bundle):
    assert "measured" not in json.loads((bundle.folder / "bundle.json").read_text())["operating_points"]
    with pytest.raises(ValueError, match="rates at the thresholds need format 2"):
        with_rates(format=1)
    other = RATES.model_copy(update={"findings": {"Edema": RATES.findings["Mass"]}})
    points = {**manifest().operating_points.model_dump(), "measured": other.model_dump()}
    with pytest.raises(ValueError, match="rates of Edema need a threshold"):
        manifest(format=2, operating_points=points)


def test_round_trip(bundle):
    for path in (bundle.folder, bundle.folder.parent):
        again = load_bundle(path)
        assert again == bundle
        assert [finding.name for finding in again.findings] == ["Mass", "Nodule"]
        assert again.manifest.operating_points.thresholds == {"Mass": 0.25, "Nodule": None}


def test_the_same_bundle_has_the_same_bytes(bundle, tmp_path):
    again = write_bundle(
        tmp_path / "again",
        manifest(),
        weights={"weights.safetensors": b"weights"},
        patients={
            "train": list(hashed_patients("folder", ["b", "a"]).values())[::-1],
            "val": hashed_patients("folder", ["c", "val"]).values(),
        },
    )
    for name in ("bundle.json", "patients.json", "weights.safetensors"):
        assert (again.folder / name).read_bytes() == (bundle.folder / name).read_bytes()


def test_no_patient_id_is_written(bundle):
    text = (bundle.folder / "patients.json").read_text()
    assert len(json.loads(text)["train"]) == 2
    assert all(len(each) == 16 for each in json.loads(text)["train"])


@pytest.mark.parametrize("name", ["weights.safetensors", "patients.json"])
def test_a_changed_file_is_refused(bundle, name):
    path = bundle.folder / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match=rf"{name} is not the file that the manifest describes"):
        load_bundle(bundle.folder)
    path.unlink()
    with pytest.raises(BundleError, match=rf"{name} is missing from the bundle"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "not a manifest that Thorax 0.1.0 understands"),
        (
            {"monitor": {}},
            "has the section monitor, which this version of Thorax does not know; update Thorax",
        ),
        ({"members": []}, "not a manifest that Thorax 0.1.0 understands"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(bundle, change, message):
    path = bundle.folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle.folder)


def test_files_outside_the_folder_are_refused(bundle):
    path = bundle.folder / "bundle.json"
    values = json.loads(path.read_text())
    values["members"][0]["weights"] = "../../secret"
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match="outside its folder"):
        load_bundle(bundle.folder)


def test_hostile_bytes(bundle, tmp_path):
    path = bundle.folder / "bundle.json"
    for content in (b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(BundleError):
            load_bundle(bundle.folder)
    with pytest.raises(BundleError, match="holds no bundle"):
        load_bundle(tmp_path)


def test_patients_that_were_seen_are_refused_with_their_count(bundle):
    with pytest.raises(LeakError, match=r"3 of these 4 patients were seen .*\(2 in train and 1 in val\)"):
        refuse_seen_patients(bundle, "folder", ["a", "b", "c", "d", "d"])
    with pytest.raises(LeakError, match=r"1 of these 1 patients were seen .*\(1 in val\)"):
        refuse_seen_patients(bundle, "folder", ["c"])
    refuse_seen_patients(bundle, "folder", ["d", "e"])
    refuse_seen_patients(bundle, "another data set", ["a", "b"])


def test_a_folder_with_something_else_is_not_overwritten(bundle, tmp_path):
    refuse_used_folder(tmp_path / "new")
    with pytest.raises(DataError, match=r"is not empty; .* set `overwrite`"):
        refuse_used_folder(bundle.folder)
    refuse_used_folder(bundle.folder, overwrite=True)
    with pytest.raises(DataError, match="is a source of the new bundle"):
        refuse_used_folder(bundle.folder, overwrite=True, sources=[bundle])
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"is not empty and is not a bundle .*; give another folder"):
        refuse_used_folder(tmp_path, overwrite=True)
    with pytest.raises(DataError, match="is a file"):
        refuse_used_folder(bundle.folder / "bundle.json")
    # What a killed write left: it had not come to the manifest.
    (bundle.folder / "bundle.json").unlink()
    refuse_used_folder(bundle.folder)


def test_a_bundle_that_is_replaced_leaves_no_file_behind(bundle, tmp_path):
    other = copy_bundle(bundle, tmp_path / "other")
    (other.folder / "onnx-float32-1-0.onnx").touch()
    (other.folder / "card.md").touch()
    renamed = bundle.manifest.members[0].model_copy(update={"weights": "renamed.safetensors"})
    manifest = bundle.manifest.model_copy(update={"members": (renamed, *bundle.manifest.members[1:])})
    weights = {"renamed.safetensors": bundle.weights[bundle.manifest.members[0].weights]}
    write_bundle(other.folder, manifest, weights=dict(bundle.weights) | weights, patients=bundle.patients)
    names = {path.name for path in other.folder.iterdir()}
    assert {"renamed.safetensors", "card.md", "bundle.json"} <= names
    assert not names & {"onnx-float32-1-0.onnx"}


def test_weights_are_copied_from_files(bundle, tmp_path):
    copied = write_bundle(
        tmp_path / "copy", bundle.manifest, weights=bundle.weights, patients=bundle.patients
    )
    assert (copied.folder / "bundle.json").read_bytes() == (bundle.folder / "bundle.json").read_bytes()
    assert (copied.folder / "weights.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"findings": ("Mass", "Edema")}, "does not predict Edema"),
        (
            {"calibration": PLATT_OF_MASS},
            "one slope and intercept for each finding",
        ),
        ({"members": (member(), member(weights="b"))}, "1 weights do not fit 2 members"),
    ],
)
def test_members_must_fit_the_manifest(changes, message):
    with pytest.raises(ValidationError, match=message):
        manifest(**changes)


def test_what_a_bundle_says_of_itself(bundle):
    assert bundle.exact_cam
    assert bundle.all_trained
    assert bundle.split == "patient-80-10-10"
    assert [training.recipe for training in bundle.trainings] == ["toy"]
    with pytest.raises(DataError, match="requires images prepared with size 64"):
        bundle.refuse_other_preparation(bundle.folder, Preparation(size=32))
    bundle.refuse_other_preparation(bundle.folder, Preparation(size=64))


def test_calibration_may_see_again_what_calibrated(bundle):
    refuse_seen_patients(bundle, "folder", ["c"], by=("train", "pretrain"))
    with pytest.raises(LeakError, match=r"2 of these 3 patients .*\(2 in train\)"):
        refuse_seen_patients(bundle, "folder", ["a", "b", "c"], by=("train", "pretrain"))


def exported(*, nets=1, precision="float32") -> Exported:
    file = ExportedFile(name="", sha256="")
    parity = Parity(
        compared_with="torch", compared_on=reference("val"), num_images=3, largest_difference=1e-6
    )
    return Exported(
        kind="onnx", precision=precision, nets=(ExportedNet(files=(file,), cam=False),) * nets, parity=parity,
        versions={},
    )  # fmt: skip


def test_an_engine_that_is_attached_again_replaces_the_one_before(bundle, tmp_path):
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(b"first")
    first = attach_engine(bundle, exported(), [[graph]])
    [name] = [file.name for file in first.manifest.engines[0].nets[0].files]
    assert (first.folder / name).read_bytes() == b"first"
    both = attach_engine(first, exported(precision="int8"), [[graph]])
    graph.write_bytes(b"second")
    again = attach_engine(both, exported(), [[graph]])
    assert not (again.folder / name).exists()
    written = {
        engine.precision: (again.folder / engine.nets[0].files[0].name).read_bytes()
        for engine in again.manifest.engines
    }
    assert written == {"int8": b"first", "float32": b"second"}


def site(name="ward 7", **changes) -> SiteCalibration:
    calibration = Temperature(temperature=2.0, fitted_on=reference("val"))
    values = {"site": name, "adjusts": "all", "calibration": calibration, "operating_points": None}
    return SiteCalibration(**{**values, **changes})


def test_calibrations_of_sites_are_a_section_of_format_2(bundle):
    both = manifest(format=2, sites=(site(), site("ward 8")))
    written = both.model_dump(mode="json")
    assert [each["site"] for each in written["sites"]] == ["ward 7", "ward 8"]
    assert Manifest.model_validate(written) == both
    assert not {"sites", "seen", "statement"} & bundle.manifest.model_dump(mode="json").keys()
    for changes, message in (
        ({"format": 1, "sites": (site(),)}, "the section sites needs format 2"),
        ({"format": 2, "sites": (site(), site())}, "a site is listed twice"),
        ({"format": 2, "sites": (site(calibration=PLATT_OF_MASS),)}, "one slope and intercept for each"),
    ):
        with pytest.raises(ValidationError, match=message):
            manifest(**changes)


@pytest.mark.parametrize(
    ("engines", "message"),
    [
        ((exported(nets=2),), "2 exported nets do not fit 1 members"),
        ((exported(), exported()), "an engine is listed twice"),
    ],
)
def test_engines_must_fit_the_manifest(engines, message):
    with pytest.raises(ValidationError, match=message):
        manifest(engines=engines)


def test_patients_that_are_not_lists_of_hashes_are_refused(bundle):
    path = bundle.folder / "bundle.json"
    patients = bundle.folder / "patients.json"
    patients.write_text('{"train": 3}')
    values = json.loads(path.read_text()) | {"patients_sha256": sha256_of_file(patients)}
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=r"patients\.json is not a list of hashes per part"):
        load_bundle(bundle.folder)
