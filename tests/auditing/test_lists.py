import gzip

import numpy as np
import pytest

from thorax.auditing.lists import (
    ABSENT,
    Locator,
    lists_of_split,
    locate_parts,
    read_image_list,
    read_part_lists,
)
from thorax.datasets.splits import NIH_DATASET, build_split
from thorax.errors import DataError

NAMES = ("00000001_000.png", "00000001_001.png", "00000002_000.png")


@pytest.mark.parametrize(
    "text",
    [
        "00000001_000.png\n00000001_001.png\n\n00000002_000.png",
        "00000001_000.png\r\n00000001_001.png\r\n00000002_000.png\r\n",
        # arnoweng's CheXNet: labels behind the name.
        "00000001_000.png 0 1 0\n00000001_001.png 0 0 0\n00000002_000.png 1 0 0\n",
        "00000001_000.png,0,1\n00000001_001.png,0,0\n00000002_000.png,1,0\n",
        "Image Index\n00000001_000.png\n00000001_001.png\n00000002_000.png\n",
        "Image Index,Labels\n00000001_000.png,Mass\n00000001_001.png,No Finding\n00000002_000.png,Mass",
        "Mass,filename\n1,00000001_000.png\n0,00000001_001.png\n0,00000002_000.png\n",
        "\ufeffimage,part\n00000001_000.png,train\n00000001_001.png,train\n00000002_000.png,val\n",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_lists_as_people_write_them(tmp_path, text, packed):
    path = tmp_path / ("list.txt.gz" if packed else "list.txt")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert read_image_list(path) == NAMES


def test_names_keep_folders_and_spaces_until_they_are_located(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("images_001/00000001_000.png 0 1 0\nmy images/a 1.png\n")
    assert read_image_list(path) == ("images_001/00000001_000.png", "my images/a 1.png")


@pytest.mark.parametrize(
    "name",
    [
        "00000001_001.png",
        "images_001/images/00000001_001.png",
        "C:\\data\\images\\00000001_001.png",
        " 00000001_001.png",
        "00000001_001",
        "images/00000001_001",
    ],
)
def test_an_image_is_found_however_it_is_written(table, name):
    located = Locator(table(NAMES), NIH_DATASET).locate([name])
    assert located.images == ("00000001_001.png",)
    assert located.rows.tolist() == [1]
    assert located.patients == ("1",)


def test_names_that_two_rows_share_are_not_guessed(table):
    names = ["a/1.png", "b/1.png", "b/2.png"]
    locator = Locator(table(names, ["p", "q", "r"]), "folder")
    located = locator.locate(["a/1.png", "1.png", "x/2.png", "2"])
    assert located.rows.tolist() == [0, ABSENT, ABSENT, 2]  # x/2.png is not b/2.png


def test_absent_images_of_nih_still_have_their_patient(table):
    names = ["x/00000044_001.png", "other.png"]
    nih = Locator(table(NAMES), NIH_DATASET).locate(names)
    assert (nih.images, nih.patients) == (("00000044_001.png", "other.png"), ("44", ""))
    assert nih.rows.tolist() == [ABSENT, ABSENT]
    assert len(nih.present) == 0
    assert Locator(table(NAMES), "folder").locate(names).patients == ("", "")


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("00000001_001_flip.png", "00000001_001.png"),
        ("00000001_001-rot90-2.jpg", "00000001_001.png"),
        ("aug1_00000002_000.png", "00000002_000.png"),
        ("00000002_000 (1).png", "00000002_000.png"),
        ("00000003_000.png", None),
        ("unrelated.png", None),
    ],
)
def test_changed_copies_are_recognised(table, name, original):
    found = Locator(table(NAMES), NIH_DATASET).originals([name])
    assert found == ({name: original} if original else {})


def test_parts_of_one_file(tmp_path):
    path = tmp_path / "nih_labels.csv"
    path.write_text("Image Index,Mass,fold\na.png,1,Train\nb.png,0,valid\nc.png,0,test\nd.png,0,\n")
    assert read_part_lists(path) == {"train": ("a.png",), "val": ("b.png",), "test": ("c.png",)}


def test_the_hash_is_that_of_the_split_itself(clean, tmp_path):
    split = build_split(
        "folder-official", clean.table, dataset=clean.dataset, whole_sha256=clean.split_sha256
    )
    lists = lists_of_split(split, clean.dataset)
    images = clean.table.images
    lines = [f"{images[row]},{part}" for part, rows in split.parts.items() for row in rows]
    (tmp_path / "list.csv").write_text("\n".join(["image,part", *reversed(lines)]))
    again = locate_parts("x", read_part_lists(tmp_path / "list.csv"), Locator(clean.table, clean.dataset))
    assert lists.sha256 == split.sha256 == again.sha256
    for part, rows in split.parts.items():
        np.testing.assert_array_equal(again.parts[part].present, rows)
        np.testing.assert_array_equal(lists.parts[part].present, rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; give a list of images, one per line"),
        (b"\n \n", "is empty"),
        (
            b"Age,Sex\n5,M\n",
            "has no column of images \\(it has Age, Sex\\); call it 'Image Index' or 'image'",
        ),
        (b"\xff\xfe\x00", "cannot be read as a list of images"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, content, message):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_image_list(path)


def test_files_that_are_missing_or_lack_a_column_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.txt does not exist"):
        read_image_list(tmp_path / "nothing.txt")
    (tmp_path / "damaged.txt.gz").write_bytes(gzip.compress(b"a.png\n" * 99)[:-20])
    with pytest.raises(DataError, match=r"damaged\.txt\.gz cannot be read"):
        read_image_list(tmp_path / "damaged.txt.gz")
    (tmp_path / "a.csv").write_text("image,Mass\na.png,1\n")
    with pytest.raises(DataError, match="has no column that names a part"):
        read_part_lists(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("image,part\n")
    with pytest.raises(DataError, match="has no rows"):
        read_part_lists(tmp_path / "b.csv")
