import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from thorax.datasets.nih import is_nih, read_nih
from thorax.datasets.sources import open_source
from thorax.datasets.splits import NIH_IMAGES
from thorax.datasets.table import Patients
from thorax.errors import DataError
from thorax.findings import NIH14, NIH15, NO_FINDING, parse_finding

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = (
    "00000001_000.png,Cardiomegaly,0,1,58,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,AP,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171",
    "00000003_000.png,Hernia,0,3,81,F,PA,2582,2991,0.143,0.143",
)


def folder(
    path: Path, *, rows=ROWS, header=HEADER, name="Data_Entry_2017_v2020.csv", images=None, where="images"
) -> Path:
    """A folder in NIH's layout; its images are empty files, since reading tables opens none."""
    path.mkdir(exist_ok=True)
    text = "\n".join([header, *rows]) + "\n"
    if name.endswith(".gz"):
        (path / name).write_bytes(gzip.compress(text.encode()))
    else:
        (path / name).write_text(text)
    (path / where).mkdir(parents=True, exist_ok=True)
    for image in images if images is not None else [row.split(",")[0] for row in rows]:
        (path / where / image).touch()
    return path


def test_rows_columns_and_labels(tmp_path):
    source = read_nih(folder(tmp_path))
    frame = source.table.frame
    assert source.table.findings == NIH15
    assert list(frame["image"]) == [row.split(",")[0] for row in ROWS]
    assert list(frame["path"]) == [f"images/{row.split(',')[0]}" for row in ROWS]
    assert list(frame["patient"]) == ["1", "1", "2", "3"]
    assert list(frame["age"]) == [58, 58, 81, 81]
    assert list(frame["sex"]) == ["M", "M", "M", "F"]
    assert list(frame["view"]) == ["PA", "AP", "PA", "PA"]
    assert list(frame["follow_up"]) == [0, 1, 0, 0]
    targets = source.table.targets(NIH15)
    assert targets.dtype == np.int8
    assert targets.sum() == 5
    named = [[str(NIH15[k]) for k in np.flatnonzero(row)] for row in targets]
    assert named == [["Cardiomegaly"], ["Cardiomegaly", "Emphysema"], ["No Finding"], ["Hernia"]]
    assert source.notices[0].startswith("4 of 4 labeled images")


@pytest.mark.parametrize(
    "name", ["Data_Entry_2017.csv", "Data_Entry_2017.csv.gz", "Data_Entry_2017_v2020.csv.gz"]
)
def test_label_file_names(tmp_path, name):
    assert len(read_nih(folder(tmp_path, name=name)).table) == 4


def test_the_official_file_says_sex_and_its_copies_say_gender(tmp_path):
    header = HEADER.replace("Patient Gender", "Patient Sex")
    assert read_nih(folder(tmp_path, header=header)).table.frame["sex"].tolist() == ["M", "M", "M", "F"]


def test_the_older_file_has_a_trailing_comma_and_impossible_ages(tmp_path):
    rows = [f"{row},".replace(",58,M,AP", ",411,M,AP") for row in ROWS]
    source = read_nih(folder(tmp_path, rows=rows, header=f"{HEADER},", name="Data_Entry_2017.csv"))
    assert source.table.frame["age"].tolist()[0] == 58
    assert source.table.frame["age"].isna().tolist() == [False, True, False, False]
    assert any("1 ages above 120" in notice for notice in source.notices)


def test_the_newer_label_file_is_preferred(tmp_path):
    folder(tmp_path, name="Data_Entry_2017.csv")
    relabeled = [ROWS[0].replace("Cardiomegaly", "Mass"), *ROWS[1:]]
    source = read_nih(folder(tmp_path, rows=relabeled))
    assert source.table.targets((parse_finding("Mass", where="test"),))[0, 0] == 1


def test_kaggle_sample(tmp_path):
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y"
    )
    rows = [
        ROWS[0].replace(",58,", ",060Y,"),
        ROWS[2].replace(",81,", ",013M,"),
        ROWS[3].replace(",81,", ",005D,"),
    ]
    source = open_source(
        folder(tmp_path, rows=rows, header=header, name="sample_labels.csv", where="sample/images")
    )
    assert source.table.frame["age"].tolist() == [60, 1, 0]
    assert source.table.frame["path"].iloc[0] == "sample/images/00000001_000.png"


def test_images_in_numbered_folders_and_only_some_of_them(tmp_path):
    folder(tmp_path, images=["00000001_000.png"], where="images_001/images")
    folder(tmp_path, images=["00000003_000.png"], where="images_012/images")
    source = read_nih(tmp_path)
    assert list(source.table.frame["path"]) == [
        "images_001/images/00000001_000.png",
        "images_012/images/00000003_000.png",
    ]
    assert len(source.whole.images) == 4
    assert source.notices[0].startswith("2 of 4 labeled images")


def test_view_filter(tmp_path):
    source = read_nih(folder(tmp_path), view="AP")
    assert source.table.images == ["00000001_001.png"]
    assert len(source.whole.images) == 4


def test_boxes_and_nihs_spelling_of_infiltration(tmp_path):
    folder(tmp_path)
    (tmp_path / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000003_000.png,Infiltrate,225.08,547.02,86.78,79.19\n"
        "00000003_000.png,Mass,1,2,3,4\n"
    )
    first, second = read_nih(tmp_path).table.frame["boxes"].iloc[3]
    assert (first.finding.name, *first.box) == (
        "Infiltration",
        225.08,
        547.02,
        86.78,
        79.19,
    )
    assert second.finding.name == "Mass"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rows": [ROWS[0].replace("Cardiomegaly", "Cardiomegly")]},
            r"line 2.*'?Cardiomegly'?|Cardiomegly.*line 2",
        ),
        ({"rows": [*ROWS, ROWS[0]]}, r"00000001_000.png is listed twice, in lines 2 and 6"),
        ({"rows": [ROWS[0].replace(",58,", ",old,")]}, r"line 2: 'old' is not an age"),
        (
            {"rows": [ROWS[0].replace("Cardiomegaly", "Fracture")]},
            r"line 2: Fracture is not one of NIH's labels",
        ),
        ({"rows": [ROWS[0].replace("Cardiomegaly", "Mass|No Finding")]}, r"line 2: 'Mass\|No Finding'"),
        ({"header": HEADER.replace("Finding Labels", "Labels")}, r"no column 'Finding Labels'"),
        (
            {"images": ["00000001_000.png", "00000009_000.png"]},
            r"1 of 2 images have no row in .*00000009_000.png",
        ),
        ({"images": []}, r"labels of 4 images, but no image file"),
        ({"rows": []}, r"has no rows"),
    ],
)
def test_wrong_input_is_named(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read_nih(folder(tmp_path, **change))


def test_an_image_in_two_folders_is_refused(tmp_path):
    folder(tmp_path)
    with pytest.raises(DataError, match=r"image 00000001_000.png exists twice, as images/.* and images_001/"):
        read_nih(folder(tmp_path, images=["00000001_000.png"], where="images_001"))


def test_damaged_box_lines_are_named(tmp_path):
    folder(tmp_path)
    boxes = tmp_path / "BBox_List_2017.csv"
    for line, message in [
        ("00000003_000.png,Mass,1,2,x,4", r"line 2: the box of 00000003_000.png is not four numbers"),
        ("00000003_000.png,Mass,1,2,nan,4", r"line 2: the box of 00000003_000.png is not four finite"),
        ("00000099_000.png,Mass,1,2,3,4", r"line 2: 00000099_000.png has a box but no row"),
        ("00000003_000.png,Masss,1,2,3,4", r"unknown finding 'Masss' in .*line 2"),
    ]:
        boxes.write_text(f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n{line}\n")
        with pytest.raises(DataError, match=message):
            read_nih(tmp_path)


def test_lists_that_are_not_nihs_are_refused_beside_nihs_images(tmp_path):
    folder(tmp_path)
    (tmp_path / "test_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (tmp_path / "train_val_list.txt").write_text("00000002_000.png\n00000003_000.png\n")
    with pytest.raises(DataError, match=r"in the other one of NIH's published lists"):
        read_nih(tmp_path)


def test_a_file_that_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "missing")
    with pytest.raises(DataError, match="and no other CSV file; give the CSV itself"):
        open_source(tmp_path)
    with pytest.raises(
        DataError, match=r"has none of Data_Entry_2017_v2020\.csv, .*give the folder that has"
    ):
        read_nih(tmp_path)


@pytest.mark.parametrize("name", ["Data_Entry_2017_v2020 (1).csv", "labels.csv.gz"])
def test_the_label_file_may_have_any_name_and_may_be_given_itself(tmp_path, name):
    folder(tmp_path, name=name)
    (tmp_path / "BBox_List_2017.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h]\n")
    with (tmp_path / "BBox_List_2017.csv").open("a") as file:
        file.write("00000003_000.png,Mass,1,2,3,4\n")
    usual = read_nih(folder(tmp_path / "usual"))
    for path in (tmp_path, tmp_path / name):
        source = open_source(path)
        assert source.table.frame.drop(columns="boxes").equals(usual.table.frame.drop(columns="boxes"))
        assert (source.dataset, source.label_files[0][0]) == (usual.dataset, name)
        assert len(source.table.frame["boxes"][3]) == 1


def test_two_label_files_are_not_chosen_from(tmp_path):
    folder(folder(tmp_path, name="a.csv"), name="b.csv")
    with pytest.raises(DataError, match=r"2 label files in NIH's layout \(a\.csv, b\.csv\); give the one"):
        open_source(tmp_path)
    assert open_source(tmp_path / "b.csv").label_files[0][0] == "b.csv"


def test_a_spreadsheets_semicolons(tmp_path):
    rows = [row.replace(",", ";") for row in ROWS]
    images = [row.split(",")[0] for row in ROWS]
    source = read_nih(folder(tmp_path, rows=rows, header=HEADER.replace(",", ";"), images=images))
    assert source.table.frame.equals(read_nih(folder(tmp_path / "commas")).table.frame)


def test_nihs_layout_has_its_own_name(tmp_path):
    folder(tmp_path)
    with pytest.raises(DataError, match=r"in NIH's layout, which sets the name; omit `dataset=ours`"):
        open_source(tmp_path, dataset="ours")


def test_patients_that_are_not_nihs_are_another_data_set(tmp_path):
    rows = [row.replace(",1,58,", ",0,58,").replace(",2,81,", ",A[7,81,") for row in ROWS]
    source = read_nih(folder(tmp_path, rows=rows))
    assert source.dataset == "nih-layout"
    assert list(source.table.frame["patient"]) == ["0", "0", "A[7", "3"]
    assert read_nih(folder(tmp_path)).dataset == "nih-chestxray14"


def test_report_076_patients_as_a_spreadsheet_saves_them_are_nihs(tmp_path):
    rows = [row.replace(",1,58,", ",1.0,58,").replace(",2,81,", ",00000002,81,") for row in ROWS]
    source = read_nih(folder(tmp_path, rows=rows))
    assert source.dataset == "nih-chestxray14"
    assert list(source.table.frame["patient"]) == ["1", "1", "2", "3"]


def test_the_real_sample(nih_sample):
    source = read_nih(nih_sample)
    assert source.dataset == "nih-chestxray14"
    assert len(source.table) == 1644
    assert len(source.whole.images) == 112_120
    assert len(set(source.whole.patients)) == 30_805
    assert sum(bool(boxes) for boxes in source.table.frame["boxes"]) == 30
    official = source.table.frame["official"].value_counts()
    assert official.to_dict() == {"train_val": 1506, "test": 138}
    targets = source.table.targets(NIH14)
    no_finding = source.table.targets((NO_FINDING,))[:, 0]
    assert np.array_equal(no_finding == 1, targets.sum(axis=1) == 0)


def test_both_real_label_layouts_agree(nih_sample, tmp_path):
    """The same rows as Kaggle's sample has them give the same table."""
    rows = gzip.decompress((nih_sample / "Data_Entry_2017_v2020.csv.gz").read_bytes()).decode().splitlines()
    few = rows[1:30]
    names = [row.split(",")[0] for row in few]
    there = [name for name in names if (nih_sample / "images" / name).is_file()]
    ours, kaggle = tmp_path / "nih", tmp_path / "kaggle"
    for path, name in ((ours, "Data_Entry_2017_v2020.csv"), (kaggle, "sample_labels.csv")):
        folder(path, rows=few, header=rows[0], name=name, images=[])
        for image in there:
            shutil.copy(nih_sample / "images" / image, path / "images")
    first, second = read_nih(ours).table.frame, read_nih(kaggle).table.frame
    assert len(first)
    assert first.equals(second)


def test_lists_of_parts_that_cross_or_are_damaged_are_named(tmp_path):
    folder(tmp_path)
    (tmp_path / "train_val_list.txt").write_text("00000002_000.png\n00000001_000.png\n")
    (tmp_path / "test_list.txt").write_text("00000001_000.png\n")
    with pytest.raises(DataError, match=r"test_list\.txt: 00000001_000\.png is also in train_val_list\.txt"):
        read_nih(tmp_path)
    (tmp_path / "test_list.txt").unlink()
    (tmp_path / "test_list.txt.gz").write_bytes(gzip.compress(b"00000003_000.png\n" * 99)[:-12])
    with pytest.raises(DataError, match=r"test_list\.txt\.gz cannot be read as a list of images"):
        read_nih(tmp_path)


def test_more_images_than_nih_has_are_another_data_set():
    images = tuple(f"{1 + row // 1000:08d}_{row % 1000:03d}.png" for row in range(NIH_IMAGES + 1))
    patients = tuple(str(int(image[:8])) for image in images)
    assert is_nih(Patients(images[:-1], patients[:-1], ("",) * NIH_IMAGES))
    assert not is_nih(Patients(images, patients, ("",) * (NIH_IMAGES + 1)))


def test_the_folder_of_the_images_alone_leads_to_the_one_above(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "Data_Entry_2017_v2020.csv").touch()
    with pytest.raises(DataError, match=rf"is in the folder above it, so give that one: {tmp_path}$"):
        open_source(tmp_path / "images")


def test_a_folder_one_level_too_high_leads_to_the_one_below(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(DataError, match=r"and no other CSV file; give the CSV itself, or download"):
        open_source(tmp_path)
    for name in ("nih", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Data_Entry_2017_v2020.csv").touch()
        if name == "nih":
            with pytest.raises(DataError, match=rf"folder below it, so give that one: {tmp_path / 'nih'}$"):
                open_source(tmp_path)
    with pytest.raises(
        DataError, match=r"data sets in folders below it, so give one of those: .*nih, .*other$"
    ):
        open_source(tmp_path)
