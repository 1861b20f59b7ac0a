"""Images in train/, val/ and test/ folders, with labels beside them."""

import shutil

import numpy as np
import pytest
from PIL import Image

from thorax.datasets.part_folders import find_part_folders
from thorax.datasets.sources import open_source
from thorax.datasets.splits import build_split, registered_sha256
from thorax.errors import DataError
from thorax.recipe.schema import Preparation
from thorax.store import build_store, open_store

NIH_HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
LABELS = {1: "Mass|Nodule", 2: "No Finding", 3: "Effusion", 4: "No Finding", 5: "Hernia"}
PLACES = {1: "train/Mass", 2: "train/No_Finding", 3: "val/Effusion", 4: "test/No_Finding", 5: "test/Hernia"}


def name_of(patient, number=0):
    return f"{patient:08d}_{number:03d}.png"


def nih_row(patient, number=0, *, view="PA"):
    return f"{name_of(patient, number)},{LABELS[patient]},{number},{patient},058Y,M,{view}"


def draw(path, shade=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (64, 64), shade).save(path)


@pytest.fixture
def folders(tmp_path):
    """Images below folders of classes, as in Chest-X-Ray-Classifier, and one label file in NIH's layout."""
    for patient, folder in PLACES.items():
        draw(tmp_path / "data" / folder / name_of(patient), 40 * patient)
    (tmp_path / "data/val/Mass").mkdir()
    write(tmp_path / "data/Data_Entry_2017.csv", NIH_HEADER, *map(nih_row, LABELS))
    return tmp_path / "data"


def write(path, *lines):
    path.write_text("\n".join([*lines, ""]))


def parts_of(source):
    return dict(zip(source.table.frame["image"], source.table.frame["official"], strict=True))


def test_the_folders_are_the_split(folders, tmp_path):
    source = open_source(folders)
    expected = {1: "train", 2: "train", 3: "val", 4: "test", 5: "test"}
    assert parts_of(source) == {name_of(patient): part for patient, part in expected.items()}
    assert source.dataset == "nih-chestxray14"
    assert source.notices == ("5 of 5 labeled images exist: 2 in train/, 1 in val/, 2 in test/",)
    row = source.table.frame.set_index("image").loc[name_of(1)]
    assert (row["Mass"], row["Nodule"], row["Hernia"], row["patient"], row["age"]) == (1, 1, 0, "1", 58)
    sums = registered_sha256(source.whole, source.dataset)
    build_store(source, tmp_path / "store", Preparation(size=32), split_sha256=sums, workers=1)
    store = open_store(tmp_path / "store")
    split = build_split(
        "folder-official", store.table, dataset=store.dataset, whole_sha256=store.split_sha256
    )
    assert {part: len(rows) for part, rows in split.parts.items()} == {"train": 2, "val": 1, "test": 2}
    assert split.sha256 == sums["folder-official"]
    assert "nih-official" in sums
    shades = {
        image: int(pixels.max())
        for image, pixels in zip(store.table.images, store.pixels(np.arange(5)), strict=True)
    }
    assert shades == {name_of(patient): 40 * patient for patient in LABELS}


def test_a_label_file_for_each_part_with_rows_that_repeat(folders):
    """As the source writes them, which draws its images with replacement."""
    (folders / "Data_Entry_2017.csv").unlink()
    write(folders / "train_metadata.csv", NIH_HEADER, nih_row(1), nih_row(2), nih_row(1))
    write(folders / "val" / "val_metadata.csv", NIH_HEADER, nih_row(3))
    write(folders / "test_metadata.csv", NIH_HEADER, nih_row(4), nih_row(5))
    write(folders / "sizes.csv", "width,height", "64,64")
    source = open_source(folders)
    assert len(source.table) == 5
    assert source.notices[1:] == (
        "sizes.csv has no column of images and was not read",
        "1 of 3 rows of train_metadata.csv are repeats",
    )
    assert [name for name, _ in source.label_files] == [
        "test_metadata.csv", "train_metadata.csv", "val/val_metadata.csv",
    ]  # fmt: skip


def test_any_csv_with_a_column_of_images(tmp_path):
    for place in ("train/a.png", "train/deep/b.png", "valid/c.png", "test/d.png"):
        draw(tmp_path / place)
    write(
        tmp_path / "labels.csv", "filename,patient_id,Edema,finding:Cyst", "x/a.png,p1,1,", "b.png,p2,0,1",
        "c.png,p3,-1,0", "d.png,p4,,0",
    )  # fmt: skip
    source = open_source(tmp_path, dataset="ward-7")
    assert source.dataset == "ward-7"
    assert parts_of(source) == {"a.png": "train", "b.png": "train", "c.png": "val", "d.png": "test"}
    assert list(source.table.frame["path"]) == [
        "train/a.png",
        "train/deep/b.png",
        "valid/c.png",
        "test/d.png",
    ]
    assert list(source.table.frame["patient"]) == ["p1", "p2", "p3", "p4"]
    assert source.table.targets(source.table.findings).tolist() == [[1, -2], [0, 1], [-1, 0], [-2, 0]]


def test_missing_files_and_images_without_labels_are_counted(folders):
    (folders / PLACES[3] / name_of(3)).unlink()
    draw(folders / "train" / "stray.png")
    source = open_source(folders)
    assert source.notices == (
        "4 of 5 labeled images exist: 2 in train/, 0 in val/, 2 in test/",
        "1 of 5 images have no label and are left out (first: train/stray.png)",
    )
    assert len(source.whole.images) == 5
    assert name_of(3) not in parts_of(source)


def test_without_a_validation_folder_validation_is_drawn_by_patient(tmp_path):
    for patient in range(100):
        draw(tmp_path / ("test" if patient < 8 else "train") / f"{patient}.png")
    write(tmp_path / "labels.csv", "image,patient,Mass", *(f"{p}.png,{p},{p % 2}" for p in range(100)))
    source = open_source(tmp_path)
    assert set(parts_of(source).values()) == {"train_val", "test"}
    split = build_split("folder-official", source.table, dataset=source.dataset, whole_sha256={})
    assert len(split.parts["test"]) == 8
    assert 0 < len(split.parts["val"]) < 30


def test_an_image_in_two_parts_is_refused_with_the_count(folders):
    draw(folders / "test" / name_of(1))
    draw(folders / "train" / "copy" / name_of(2))
    with pytest.raises(
        DataError, match=r"2 images exist twice, 1 of them in two parts \(first: train/.*keep one"
    ):
        open_source(folders)


def test_a_patient_in_two_folders_is_told_and_the_split_refused_but_not_the_images(folders):
    draw(folders / "test" / name_of(1, 1))
    write(folders / "Data_Entry_2017.csv", NIH_HEADER, *map(nih_row, LABELS), nih_row(1, 1))
    source = open_source(folders)
    assert source.notices[-1] == (
        f"1 of 5 patients have images in several folders (first: patient 1: {name_of(1)} in train, "
        f"{name_of(1, 1)} in test), so the folders' own split folder-official will be refused; use a split "
        "by patient, such as data.split=patient-70-15-15"
    )
    with pytest.raises(
        DataError, match=r"folder-official has 1 patient in two parts or more .*patient-70-15-15"
    ):
        build_split("folder-official", source.table, dataset=source.dataset, whole_sha256={})
    build_split("patient-70-15-15", source.table, dataset=source.dataset, whole_sha256={})


def test_names_of_nih_say_the_patient_where_no_column_does(folders):
    write(folders / "Data_Entry_2017.csv", "image,Mass", *(f"{name_of(patient)},1" for patient in LABELS))
    source = open_source(folders)
    assert list(source.table.frame["patient"]) == ["1", "2", "3", "4", "5"]
    assert "the names of the images say whose they are" in source.notices[1]


def test_views_are_chosen(folders):
    write(
        folders / "Data_Entry_2017.csv",
        NIH_HEADER,
        *(nih_row(p, view="AP" if p == 3 else "PA") for p in LABELS),
    )
    source = open_source(folders, view="AP")
    assert parts_of(source) == {name_of(3): "val"}
    assert "1 of them have view AP" in source.notices


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "Data_Entry_2017.csv").unlink(), "no CSV with a column of images"),
        (lambda root: (root / "validation").mkdir(), r"both val/ and validation/; keep one"),
        (lambda root: write(root / "b.csv", NIH_HEADER, nih_row(1).replace("58", "9")), "1 images have"),
        (lambda root: write(root / "b.csv", NIH_HEADER, nih_row(1).replace("Mass", "Moss")), "b.csv, line 2"),
        (lambda root: write(root / "Data_Entry_2017.csv", NIH_HEADER, nih_row(1, 7)), "no image has a label"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(folders, change, message):
    change(folders)
    with pytest.raises(DataError, match=message):
        open_source(folders)


def test_a_name_of_the_data_set_is_for_other_data(folders, tmp_path):
    with pytest.raises(DataError, match="NIH's layout, which sets the name; omit `dataset=mine`"):
        open_source(folders, dataset="mine")
    draw(tmp_path / "other/train/a.png")
    draw(tmp_path / "other/test/b.png")
    write(tmp_path / "other/labels.csv", "image,Mass", "a.png,1", "b.png,0")
    with pytest.raises(DataError, match="nih-layout is not their name"):
        open_source(tmp_path / "other", dataset="nih-layout")


def test_other_layouts_are_read_as_before(folders):
    assert set(find_part_folders(folders)) == {"train", "val", "test"}
    (folders / "images").mkdir()
    assert find_part_folders(folders) == {}
    (folders / "images").rmdir()
    for name in ("val", "test"):
        shutil.rmtree(folders / name)
    assert find_part_folders(folders) == {}
