import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from thorax.datasets.nih import read_nih
from thorax.datasets.splits import (
    NIH_SPLIT_SHA256,
    PARTS,
    REGISTERED,
    build_split,
    nih_official_test_patients,
    registered_sha256,
)
from thorax.datasets.table import Patients, SampleTable
from thorax.errors import DataError

DIVIDING = [name for name in REGISTERED if name != "folder-official"]
NIH = "nih-chestxray14"


def table(images, patients, official=None, views=None) -> SampleTable:
    frame = pd.DataFrame({"image": images, "patient": patients})
    frame["official"] = official if official is not None else ""
    frame["view"] = views if views is not None else "PA"
    return SampleTable(frame, ())


def nih_like(num_patients=1000, images_each=2) -> SampleTable:
    patients = np.repeat(np.arange(1, num_patients + 1), images_each)
    images = [f"{patient:08d}_{k % images_each:03d}.png" for k, patient in enumerate(patients)]
    return table(images, [str(patient) for patient in patients])


def split_of(name, samples, dataset=NIH):
    return build_split(
        name, samples, dataset=dataset, whole_sha256=NIH_SPLIT_SHA256 if dataset == NIH else {}
    )


@pytest.mark.parametrize("name", [*DIVIDING, "nih-official/fold-2-of-5"])
def test_each_patient_is_in_one_part_only(name):
    samples = nih_like()
    split = split_of(name, samples)
    owners = [set(samples.frame["patient"].iloc[split.parts[part]]) for part in PARTS]
    assert all(owners)
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]


def test_a_sample_is_drawn_by_name_from_all_parts_and_leaves_the_test_part_whole():
    samples = nih_like()
    split = split_of("patient-70-15-15", samples)
    drawn = split.sampled(500)
    numbers = {image: hashlib.sha256(f"sample:{image}".encode()).digest() for image in samples.frame["image"]}
    chosen = set(sorted(numbers, key=numbers.__getitem__)[:500])
    for part in ("train", "val"):
        names = set(samples.frame["image"].iloc[drawn.parts[part]])
        assert names == chosen & set(samples.frame["image"].iloc[split.parts[part]])
    assert 320 < len(drawn.parts["train"]) < 380
    assert np.array_equal(drawn.parts["test"], split.parts["test"])
    assert (drawn.name, drawn.sha256) == (split.name, split.sha256)
    whole = split.sampled(10_000)
    assert all(np.array_equal(whole.parts[part], split.parts[part]) for part in PARTS)


@pytest.mark.parametrize(
    ("name", "fractions"),
    [
        ("nih-random-patient", (0.7, 0.1, 0.2)),
        ("patient-80-10-10", (0.8, 0.1, 0.1)),
        ("patient-70-15-15", (0.7, 0.15, 0.15)),
        ("patient-92.8-5.2-2", (0.928, 0.052, 0.02)),
    ],
)
def test_parts_have_their_size(name, fractions):
    split = split_of(name, nih_like(10_000, 1))
    found = [len(split.parts[part]) / 10_000 for part in PARTS]
    # Three standard deviations of a binomial draw of 10,000 patients.
    assert np.allclose(found, fractions, atol=3 * np.sqrt(0.25 / 10_000))


@pytest.mark.parametrize("name", [*DIVIDING, "nih-official/fold-1-of-3"])
def test_a_subset_agrees_with_the_whole(name):
    whole = nih_like()
    rows = np.arange(0, len(whole), 7)
    subset = whole.take(rows)

    def placed(samples):
        split, images = split_of(name, samples), samples.images
        return {images[row]: part for part in PARTS for row in split.parts[part]}

    everywhere, here = placed(whole), placed(subset)
    assert here == {image: part for image, part in everywhere.items() if image in set(subset.images)}
    assert split_of(name, whole).sha256 == split_of(name, subset).sha256


def test_the_official_test_part_is_the_published_patients():
    assert len(nih_official_test_patients()) == 2797
    samples = nih_like(3000, 1)
    split = split_of("nih-official", samples)
    found = {samples.frame["patient"].iloc[row] for row in split.parts["test"]}
    assert found == nih_official_test_patients() & set(samples.frame["patient"])


def test_validation_by_hand():
    """SHA-256 of "nih-official:PATIENT", its first eight bytes as a part of 2**64, below a tenth."""
    samples = nih_like(200, 1)
    split = split_of("nih-official", samples)
    for row, patient in enumerate(samples.frame["patient"]):
        digest = hashlib.sha256(f"nih-official:{patient}".encode()).hexdigest()
        validation = int(digest[:16], 16) / 16**16 < 0.1
        part = "test" if patient in nih_official_test_patients() else "val" if validation else "train"
        assert row in split.parts[part]


def test_folds_partition_the_training_part_and_leave_the_test_part_out():
    samples = nih_like(2000, 1)
    base = split_of("nih-official", samples)
    folds = [split_of(f"nih-official/fold-{k}-of-5", samples) for k in range(1, 6)]
    held_out = np.concatenate([fold.parts["test"] for fold in folds])
    development = np.concatenate([base.parts["train"], base.parts["val"]])
    assert sorted(held_out) == sorted(development)
    for fold in folds:
        used = np.concatenate([fold.parts[part] for part in PARTS])
        assert sorted(used) == sorted(development)
    assert len({fold.sha256 for fold in folds}) == 5


def test_hashes_cover_the_list_and_the_images_used():
    samples = nih_like(50)
    split = split_of("nih-official", samples)
    names = sorted(samples.images[row] for row in split.rows("train"))
    expected = hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()
    assert split.images_sha256(split.rows("train")) == expected
    assert split.images_sha256(split.rows("train")[::-1]) == expected
    assert split.sha256 == NIH_SPLIT_SHA256["nih-official"]


def test_a_patient_in_two_parts_cannot_be_built(tmp_path):
    samples = table(["a", "b", "c"], ["1", "1", "2"])
    path = tmp_path / "mine.csv"
    path.write_text("image,part\na,train\nb,test\nc,test\n")
    with pytest.raises(
        DataError, match=r"has 1 patient in two parts or more \(patient 1: a in train, b in test\)"
    ):
        split_of(f"file:{path}", samples, dataset="folder")
    crossing = table(["a", "b"], ["1", "1"], official=["train", "test"])
    with pytest.raises(DataError, match=r"has 1 patient in two parts or more"):
        split_of("folder-official", crossing, dataset="folder")


def test_folds_of_a_split_that_crosses_patients_cannot_be_built():
    crossing = table(["a", "b"], ["1", "1"], official=["train", "test"])
    with pytest.raises(DataError, match=r"folder-official has 1 patient in two parts or more"):
        split_of("folder-official/fold-2-of-2", crossing, dataset="folder")
    with pytest.raises(DataError, match="there is no split"):
        split_of("patient-80-10-10/fold-1-of-2/fold-1-of-2", crossing, dataset="folder")


@pytest.mark.parametrize("whole_path", [True, False])
def test_a_file_may_leave_images_out(tmp_path, monkeypatch, whole_path):
    monkeypatch.chdir(tmp_path)
    samples = table(["a", "b", "c"], ["1", "1", "2"])
    path = (tmp_path if whole_path else Path()) / "mine.csv"
    path.write_text("image,part\nb,train\nc,test\nelsewhere,test\n")
    split = split_of(f"file:{path}", samples, dataset="folder")
    assert split.name == "file:mine.csv"
    assert {part: rows.tolist() for part, rows in split.parts.items()} == {
        "train": [1],
        "val": [],
        "test": [2],
    }
    listed = hashlib.sha256(b"test\tc\ntest\telsewhere\ntrain\tb\n").hexdigest()
    assert split.sha256 == listed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,group\na,1\n", r"needs the columns image and part"),
        ("image,part\na,other\n", r"line 2: part 'other' of a is unknown; use train, val or test"),
        ("image,part\na,train\na,test\n", r"line 3: a is in train and in test"),
        ("image,part\na\n", r"line 2: 1 fields, but the header has 2"),
    ],
)
def test_wrong_files_are_named(tmp_path, text, message):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        split_of(f"file:{path}", table(["a"], ["1"]), dataset="folder")


@pytest.mark.parametrize(
    ("name", "dataset", "message"),
    [
        (
            "nih-offical",
            NIH,
            r"no split 'nih-offical' \(did you mean nih-official\?\); registered are nih-official",
        ),
        (
            "nih-official",
            "nih-layout",
            r"is nih-layout, whose image names or patients are not NIH's own; choose",
        ),
        ("nih-random-patient", "folder", r"choose one by patient, such as `data.split=patient-70-15-15`"),
        ("folder-official", "folder", r"this data set has none"),
        ("nih-official/fold-6-of-5", NIH, r"fold-6-of-5 does not exist"),
        ("file:/nowhere.csv", NIH, r"/nowhere\.csv does not exist"),
        (
            "test_list.txt",
            NIH,
            r"no split 'test_list\.txt'.*to read the parts from a file, write file:test_l",
        ),
    ],
)
def test_wrong_names_say_what_to_do(name, dataset, message):
    with pytest.raises(DataError, match=message):
        split_of(name, nih_like(20), dataset=dataset)


@pytest.mark.parametrize("fold", ["", "/fold-2-of-5"])
def test_the_lists_that_nih_comes_with_are_its_official_split(fold):
    samples = nih_like(20)
    split, official = (split_of(f"{name}{fold}", samples) for name in ("folder-official", "nih-official"))
    assert (split.name, split.sha256) == (f"nih-official{fold}", official.sha256)
    for part in PARTS:
        assert split.parts[part].tolist() == official.parts[part].tolist()


def test_a_part_without_images_says_so():
    samples = nih_like(3, 1)
    with pytest.raises(DataError, match=r"no image of the test part of split nih-official with view AP"):
        split_of("nih-official", samples).rows("test", views=("AP",))
    with pytest.raises(DataError, match=r"no part 'validation'; its parts are train, val, test"):
        split_of("nih-official", samples).rows("validation")


def test_views_are_kept():
    samples = table(["a", "b", "c"], ["1", "2", "3"], official=["train"] * 3, views=["PA", "AP", "PA"])
    split = split_of("folder-official", samples, dataset="folder")
    assert split.rows("train", views=("PA",)).tolist() == [0, 2]


@pytest.fixture(scope="module")
def sample_source(nih_sample):
    return read_nih(nih_sample)


def test_the_real_labels_have_the_registered_hashes(sample_source):
    source = sample_source
    assert registered_sha256(source.whole, source.dataset) == NIH_SPLIT_SHA256
    split = split_of("nih-official", source.table)
    assert {part: len(rows) for part, rows in split.parts.items()} == {"train": 1382, "val": 124, "test": 138}
    official = source.table.frame["official"].to_numpy()
    assert set(official[split.parts["test"]]) == {"test"}


def test_changed_nih_labels_are_noticed(sample_source):
    whole = sample_source.whole
    changed = Patients((*whole.images[:-1], "00030805_777.png"), whole.patients, whole.official)
    with pytest.raises(DataError, match="differs from that of NIH ChestX-ray14"):
        registered_sha256(changed, NIH)


def test_the_process_does_not_matter():
    """The draw is no use of Python's own salted hash."""
    code = (
        "from thorax.datasets.splits import *; from thorax.datasets.table import Patients;"
        "w = Patients(('a','b','c'), ('1','2','3'), ('train_val','test','train_val'));"
        "print(registered_sha256(w, 'folder'))"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1


def test_a_folder_without_lists_of_its_own_has_no_official_split():
    images, patients = ("a.png", "b.png", "c.png"), ("p", "q", "r")
    own = registered_sha256(Patients(images, patients, ("train_val", "train_val", "test")), "folder")
    without = registered_sha256(Patients(images, patients, ("", "", "")), "folder")
    assert own.keys() - without.keys() == {"folder-official"}
    assert without == {name: own[name] for name in without}


def test_nihs_own_lists_as_files_are_nihs_official_split(nih_sample, sample_source):
    """Whichever of the two lists is named, and with names without endings."""
    samples = sample_source.table
    official = split_of("nih-official", samples)
    splits = [split_of(f"file:{nih_sample}/{part}_list.txt.gz", samples) for part in ("test", "train_val")]
    for split in splits:
        for part, rows in official.parts.items():
            assert split.parts[part].tolist() == rows.tolist()
        assert split.sha256 == splits[0].sha256
        assert split.num_listed("test") == 25_596
        assert split.num_listed("train") is None  # not all listed images are in the sample


@pytest.mark.parametrize("ending", ["", ".png"])
@pytest.mark.parametrize("case", [str, str.capitalize, str.upper])
def test_lists_of_one_part_each(tmp_path, ending, case):
    samples = table(["a.png", "b.png", "c.png", "d.png"], ["1", "2", "3", "4"])
    for part, images in (("train", "ab"), ("valid", "c"), ("test", "d")):
        (tmp_path / f"fold1-{case(part)}.txt").write_text(
            "".join(f"images/{image}{ending}\n" for image in images)
        )
    split = split_of(f"file:{tmp_path}/fold1-{case('test')}.txt", samples, dataset="folder")
    assert {part: rows.tolist() for part, rows in split.parts.items()} == {
        "train": [0, 1], "val": [2], "test": [3],
    }  # fmt: skip
    assert [split.num_listed(part) for part in ("train", "val", "test")] == [2, 1, 1]


def test_a_list_alone_has_one_part(tmp_path):
    (tmp_path / "test_list.txt").write_text("Image Index\nb.png\nelsewhere.png\n")
    split = split_of(
        f"file:{tmp_path}/test_list.txt", table(["a.png", "b.png"], ["1", "2"]), dataset="folder"
    )
    assert {part: rows.tolist() for part, rows in split.parts.items()} == {
        "train": [],
        "val": [],
        "test": [1],
    }
    assert split.num_listed("test") == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "mylist.txt",
            "a.png\n",
            r"mylist\.txt lists images without their parts.*call it for example test_list",
        ),
        ("latest.txt", "a.png\n", r"its name does not say which part"),
        ("my_dev_test.txt", "a.png\n", r"its name says several of them \(dev, test\)"),
        ("test_list.txt", "", r"needs the columns image and part|has no rows"),
        ("test.csv", "image;part\na;test\na.png;train\n", r"a\.png is in test and in train; keep one"),
    ],
)
def test_a_list_that_does_not_say_the_parts_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        split_of(f"file:{tmp_path}/{name}", table(["a.png"], ["1"]), dataset="folder")


def test_two_lists_with_one_image(tmp_path):
    (tmp_path / "test_list.txt").write_text("a.png\n")
    (tmp_path / "train_list.txt").write_text("a.png\n")
    with pytest.raises(DataError, match=r"a\.png is in train and in test"):
        split_of(f"file:{tmp_path}/test_list.txt", table(["a.png"], ["1"]), dataset="folder")
