import csv
import dataclasses
import gzip
import hashlib
import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import thorax
from thorax.datasets.phantom import render_phantom, write_phantoms
from thorax.datasets.phantom.anatomy import FIELD_MM, draw_anatomy
from thorax.datasets.phantom.chest import build_chest
from thorax.datasets.phantom.cohort import draw_patient, draw_patients
from thorax.datasets.phantom.findings import BOX_SIDE, NUM_SITE_DRAWS, plant
from thorax.errors import DataError
from thorax.findings import NIH14, NO_FINDING, Finding, parse_finding
from thorax.radiograph import Sex, ViewPosition

LABELS, BOXES = "Data_Entry_2017_v2020.csv", "BBox_List_2017.csv"


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "small"
    return write_phantoms(folder, patients=25, seed=7, size=64)


@pytest.fixture(scope="module")
def cohort():
    return list(draw_patients(3, 1500))


def test_the_same_call_writes_the_same_bytes(small, tmp_path):
    again = write_phantoms(tmp_path / "again", patients=25, seed=7, size=64)
    assert hashes(again.folder) == hashes(small.folder)
    assert dataclasses.replace(again, folder=small.folder) == small


def test_another_seed_draws_other_images(small, tmp_path):
    other = hashes(write_phantoms(tmp_path / "other", patients=2, seed=8, size=64).folder)
    assert not set(other.values()) & set(hashes(small.folder).values())


def test_the_first_patients_of_a_larger_set_are_the_same_files(small, tmp_path):
    fewer = write_phantoms(tmp_path / "fewer", patients=9, seed=7, size=64).folder
    some, whole = hashes(fewer / "images"), hashes(small.folder / "images")
    assert len(some) < len(whole)
    assert some.items() <= whole.items()
    for name in (LABELS, BOXES, "train_val_list.txt", "test_list.txt"):
        assert (small.folder / name).read_text().startswith((fewer / name).read_text())


def test_layout_is_that_of_nih(small):
    labels, boxes = rows_of(small.folder / LABELS), rows_of(small.folder / BOXES)
    assert {path.name for path in small.folder.iterdir()} == {
        *(LABELS, BOXES, "train_val_list.txt", "test_list.txt", "images")
    }
    names = [row[0] for row in labels[1:]]
    assert sorted(names) == sorted(path.name for path in (small.folder / "images").iterdir())
    assert len(names) == small.num_images
    assert len(boxes) - 1 == small.num_boxes
    for name in names[:5]:
        with Image.open(small.folder / "images" / name) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (64, 64))
    for row in labels[1:]:
        assert set(row[1].split("|")) <= {*(finding.name for finding in NIH14), NO_FINDING.name}
        assert row[0] == f"{int(row[3]):011d}_{int(row[2]):03d}.png"
        assert row[5] in {"M", "F"}
        assert row[6] in {"PA", "AP"}
        assert row[7:] == ["64", "64", str(FIELD_MM / 64), str(FIELD_MM / 64)]


def test_every_planted_finding_has_a_box_and_no_other(small):
    boxed = {}
    for name, spelling, *_ in rows_of(small.folder / BOXES)[1:]:
        boxed.setdefault(name, set()).add(parse_finding(spelling, where="the test").name)
    for name, labels, *_ in rows_of(small.folder / LABELS)[1:]:
        assert boxed.get(name, {NO_FINDING.name}) == set(labels.split("|"))
    assert "Infiltrate" in (small.folder / BOXES).read_text()
    assert "Infiltration" not in (small.folder / BOXES).read_text()


def test_every_patient_is_in_one_list(small):
    lists = [(small.folder / f"{part}_list.txt").read_text().splitlines() for part in ("train_val", "test")]
    train, test = ({name.split("_")[0] for name in names} for names in lists)
    assert not train & test
    assert (len(train), len(test)) == (20, 5)
    assert len(lists[1]) == small.num_test_images
    assert sum(map(len, lists)) == small.num_images


def test_headers_are_nihs_own_and_no_patient_is(small, nih_sample):
    for name in (LABELS, BOXES):
        assert rows_of(small.folder / name)[0] == rows_of(nih_sample / f"{name}.gz")[0]
    real = rows_of(nih_sample / f"{LABELS}.gz")[1:]
    phantoms = rows_of(small.folder / LABELS)[1:]
    assert not {row[3] for row in real} & {row[3] for row in phantoms}
    assert not {row[0] for row in real} & {row[0] for row in phantoms}
    assert len(real[0]) == len(phantoms[0])


def test_identities_are_never_nihs():
    # NIH's patients are numbered 1 to 30805, and their names have eight digits.
    for seed in (0, 9_999, 10_000, 123_456_789):
        patient = draw_patient(seed, 12)
        assert patient.identity == int(f"9{seed % 10_000:04d}000012")
        assert patient.image_name(patient.visits[0]) == f"{patient.identity}_000.png"


def pair(finding, number, size=256):
    """The same image without and with one finding, and its boxes in pixels."""
    patient = draw_patient(11, number)
    visit = dataclasses.replace(patient.visits[0], findings=())
    healthy, nothing = render_phantom(patient, visit, seed=11, size=size)
    assert nothing == []
    ill = dataclasses.replace(visit, findings=(finding,))
    shown, planted = render_phantom(patient, ill, seed=11, size=size)
    boxes = [np.rint(np.array(each.box) * size / BOX_SIDE).astype(int) for each in planted]
    return healthy.astype(int), shown.astype(int), boxes


@pytest.mark.parametrize("finding", NIH14, ids=str)
def test_a_finding_changes_the_image_in_its_box_and_nowhere_else(finding):
    strength = []
    for number in range(6):
        healthy, shown, boxes = pair(finding, number)
        change = np.abs(shown - healthy)
        inside = np.zeros(change.shape, bool)
        for left, top, width, height in boxes:
            inside[top : top + height, left : left + width] = True
            assert 0 <= left < left + width <= 256
            assert 0 <= top < top + height <= 256
        assert change[~inside].max() <= 3
        strength.append(change[inside].mean())
        assert (change[inside] > 8).mean() > 0.04
    assert np.mean(strength) > 5


@pytest.mark.parametrize("name", ["Effusion", "Mass", "Nodule", "Consolidation", "Edema"])
def test_densities_are_brighter_and_the_box_is_tight(name):
    finding = parse_finding(name, where="the test")
    healthy, shown, boxes = pair(finding, 3)
    for left, top, width, height in boxes:
        change = (shown - healthy)[top : top + height, left : left + width]
        assert change.mean() > 0
        for edge in (change[0], change[-1], change[:, 0], change[:, -1]):
            assert np.abs(edge).max() > 0


def test_lungs_of_emphysema_are_darker():
    healthy, shown, _ = pair(parse_finding("Emphysema", where="the test"), 2)
    assert (shown - healthy)[110:150, 50:80].mean() < -5


def test_nodules_are_below_and_masses_above_thirty_millimetres():
    widest = {"Nodule": [], "Mass": []}
    for name, sizes in widest.items():
        for number in range(25):
            _, _, boxes = pair(parse_finding(name, where="the test"), number, size=128)
            sizes += [max(box[2:]) * FIELD_MM / 128 for box in boxes]
    assert max(widest["Nodule"]) < 30
    assert min(widest["Mass"]) >= 30


def test_effusion_lies_on_the_diaphragm_at_the_chest_wall():
    for number in range(5):
        _, _, boxes = pair(parse_finding("Effusion", where="the test"), number)
        for left, top, width, height in boxes:
            assert top + height > 180
            assert left < 60 or left + width > 196


def test_pneumothorax_has_no_vessels():
    rng = np.random.default_rng(0)
    anatomy = draw_anatomy(rng.random(12), rng.random(8), Sex.MALE, ViewPosition.PA, ())
    chest = build_chest(anatomy, 256, seed=0, step=0)
    finding = parse_finding("Pneumothorax", where="the test")
    (planted,) = plant(finding, chest, site=np.full(NUM_SITE_DRAWS, 0.4), severity=0.9)
    air = planted.change < -0.08
    assert air.sum() > 300
    uniform_air = (chest.vessels + planted.change)[air]
    assert uniform_air.std() < 0.3 * chest.vessels[chest.lung > 0.9].std()


def test_heart_is_as_wide_as_its_ratio_and_above_half_only_in_cardiomegaly():
    rng = np.random.default_rng(1)
    cardiomegaly = parse_finding("Cardiomegaly", where="the test")
    for findings in ((), (cardiomegaly,)):
        for view in (ViewPosition.PA, ViewPosition.AP):
            for _ in range(10):
                anatomy = draw_anatomy(rng.random(12), rng.random(8), Sex.FEMALE, view, findings)
                chest = build_chest(anatomy, 256, seed=0, step=1)
                widths = [
                    np.ptp(np.flatnonzero((mask > 0.5).any(axis=0))) for mask in (chest.heart, chest.cavity)
                ]
                assert widths[0] / widths[1] == pytest.approx(anatomy.cardiothoracic_ratio, abs=0.025)
                assert (anatomy.cardiothoracic_ratio > 0.5) == bool(findings)


def test_an_unknown_finding_cannot_be_planted():
    rng = np.random.default_rng(0)
    anatomy = draw_anatomy(rng.random(12), rng.random(8), Sex.MALE, ViewPosition.PA, ())
    chest = build_chest(anatomy, 64, seed=0, step=0)
    with pytest.raises(DataError, match=r"phantoms cannot show 'Fracture'.*choose one of Atelectasis"):
        plant(Finding("Fracture"), chest, site=np.zeros(NUM_SITE_DRAWS), severity=0.5)


def test_patients_have_as_many_images_and_findings_as_nihs(cohort):
    visits = [visit for patient in cohort for visit in patient.visits]
    counts = Counter(finding.name for visit in visits for finding in visit.findings)
    share = {name: count / len(visits) for name, count in counts.items()}
    assert 3.0 < len(visits) / len(cohort) < 4.4
    assert 0.5 < sum(len(patient.visits) == 1 for patient in cohort) / len(cohort) < 0.62
    assert min(share[finding.name] for finding in NIH14) > 0.015
    assert 0.14 < share["Infiltration"] < 0.22
    assert 0.09 < share["Effusion"] < 0.16
    assert 0.42 < sum(not visit.findings for visit in visits) / len(visits) < 0.58
    assert all(0 <= visit.age_years < 100 for visit in visits)
    assert 0.34 < sum(visit.view is ViewPosition.AP for visit in visits) / len(visits) < 0.46


def test_findings_occur_together_and_persist(cohort):
    visits = [visit for patient in cohort for visit in patient.visits]
    table = np.array([[finding in visit.findings for finding in NIH14] for visit in visits])
    column = {finding.name: table[:, index] for index, finding in enumerate(NIH14)}
    for one, other, least in (
        ("Edema", "Pneumonia", 3.0),
        ("Emphysema", "Pneumothorax", 3.0),
        ("Effusion", "Atelectasis", 1.6),
        ("Effusion", "Cardiomegaly", 1.6),
    ):
        assert column[one][column[other]].mean() > least * column[one].mean()
    follows = np.array([visit.follow_up > 0 for visit in visits[1:]])
    for effusion in (column["Effusion"],):
        before = effusion[:-1][follows]
        after = effusion[1:][follows]
        assert after[before].mean() > 3 * after[~before].mean()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"patients": 0}, "0 patients cannot be drawn into .*ask for 1 to 1000000"),
        ({"patients": 1, "size": 63}, "63 x 63 pixels cannot .* ask for a size from 64 to 1024"),
        ({"patients": 1, "size": 1025}, "1025 x 1025 pixels cannot .* ask for a size from 64 to 1024"),
        ({"patients": 1, "seed": -1}, "seed -1 of the phantoms .* choose one from 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, arguments, text):
    with pytest.raises(DataError, match=text):
        write_phantoms(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stranger", ["notes.txt", "images/00000001_000.png", "images/90008000000_000.png"])
def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path, stranger):
    (tmp_path / "images").mkdir()
    (tmp_path / stranger).write_bytes(b"kept")
    with pytest.raises(
        DataError, match=r"does not belong to 3 phantom patients of seed 7.*choose an empty folder"
    ):
        write_phantoms(tmp_path, patients=3, seed=7, size=64)
    assert hashes(tmp_path).keys() == {stranger}


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "out").write_bytes(b"kept")
    with pytest.raises(DataError, match=r"out is a file.*choose a folder"):
        write_phantoms(tmp_path / "out", patients=1, size=64)


def test_a_larger_set_is_not_mixed_with_a_smaller_one(tmp_path):
    write_phantoms(tmp_path, patients=4, seed=7, size=64)
    before = hashes(tmp_path)
    with pytest.raises(DataError, match="is not empty"):
        write_phantoms(tmp_path, patients=2, seed=7, size=64)
    assert hashes(tmp_path) == before


def test_a_set_that_was_cut_short_is_completed(tmp_path):
    whole = hashes(write_phantoms(tmp_path, patients=4, seed=7, size=64).folder)
    (tmp_path / LABELS).unlink()
    image = next((tmp_path / "images").iterdir())
    image.rename(image.with_name(f".{image.name}.partial"))
    (tmp_path / f".{LABELS}.4711.partial").write_bytes(b"half")
    write_phantoms(tmp_path, patients=4, seed=7, size=64)
    assert hashes(tmp_path) == whole


def test_phantoms_are_replaced_only_when_asked_for(tmp_path):
    write_phantoms(tmp_path, patients=4, seed=7, size=64)
    before = hashes(tmp_path)
    with pytest.raises(DataError, match=r"is not empty; .* set `overwrite`"):
        write_phantoms(tmp_path, patients=5, seed=7, size=64)
    assert hashes(tmp_path) == before
    write_phantoms(tmp_path, patients=2, seed=8, size=64, overwrite=True)
    assert not before.keys() & {name for name in hashes(tmp_path) if name.startswith("images/")}
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"notes\.txt does not belong to 2 phantom patients"):
        write_phantoms(tmp_path, patients=2, seed=8, size=64, overwrite=True)


def test_a_complete_set_is_left_as_it_is(tmp_path):
    drawn = thorax.phantom(str(tmp_path), patients=4, seed=7, size=64)
    assert os.fspath(drawn) == str(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert thorax.phantom(tmp_path, patients=4, seed=7, size=64) == drawn
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
    for other in ({"size": 65}, {"seed": 8}, {"patients": 3}):
        with pytest.raises(DataError, match="is not empty"):
            thorax.phantom(tmp_path, **{"patients": 4, "seed": 7, "size": 64} | other)
    next((tmp_path / "images").iterdir()).unlink()
    with pytest.raises(DataError, match="is not empty"):
        thorax.phantom(tmp_path, patients=4, seed=7, size=64)
