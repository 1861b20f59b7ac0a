import re

import numpy as np
import pytest

from thorax.arrays import NOT_LABELED, UNCERTAIN
from thorax.datasets.sources import open_source, read_folder
from thorax.datasets.splits import build_split
from thorax.errors import DataError
from thorax.findings import Finding, parse_findings


def written(tmp_path, text, *, images=("a.png", "b.png")):
    for name in images:
        (tmp_path / name).touch()
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


def test_labels_of_four_kinds(tmp_path):
    path = written(
        tmp_path,
        "path,patient,age,sex,view,split,Pleural Effusion,pneumonia,finding:Scoliosis,note:ward\n"
        "a.png,p1,61,F,AP,train,1,-1,,west\n"
        "b.png,p2,,,,test,0.0,,1,east\n",
    )
    source = open_source(path, dataset="ours")
    assert source.dataset == "ours"
    names = [finding.name for finding in source.table.findings]
    assert names == ["Effusion", "Pneumonia", "Scoliosis"]
    findings = (*parse_findings(["Effusion", "Pneumonia"]), Finding("Scoliosis"))
    expected = [[1, UNCERTAIN, NOT_LABELED], [0, NOT_LABELED, 1]]
    assert np.array_equal(source.table.targets(findings), expected)
    assert source.table.frame["age"].tolist()[0] == 61
    split = build_split("folder-official", source.table, dataset=source.dataset, whole_sha256={})
    assert {part: rows.tolist() for part, rows in split.parts.items()} == {
        "train": [0],
        "val": [],
        "test": [1],
    }


def test_a_folder_with_one_csv_is_enough(tmp_path):
    written(tmp_path, "path,Mass\na.png,1\n")
    source = open_source(tmp_path)
    assert source.table.images == ["a.png"]
    assert any("each image counts as a separate patient" in notice for notice in source.notices)


def test_missing_images_are_counted_and_the_first_is_named(tmp_path):
    source = read_folder(written(tmp_path, "path,Mass\nmissing.png,1\na.png,0\n"))
    assert source.table.images == ["a.png"]
    assert "1 of 2 described images exist (first missing: missing.png)" in source.notices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "picture,Mass\na.png,1\n",
            r"no column with the images' paths \(it has picture, Mass\); call it 'path'",
        ),
        ("path,Pneumonja\na.png,1\n", r"unknown finding 'Pneumonja' in the header .*did you mean Pneumonia"),
        ("path,Ward\na.png,1\n", r"a column to be ignored is named 'note:Ward'"),
        ("path,Mass\na.png,2\n", r"line 2: Mass is '2'; write 1, 0 or -1, present"),
        ("path,Mass\na.png,1\na.png,0\n", r"image a.png is listed twice, in lines 2 and 3"),
        ("path,Mass,Lung mass,Infiltrate,Infiltration\na.png,1,1,1,1\n", r"unknown finding 'Lung mass'"),
        ("path,Infiltrate,Infiltration\na.png,1,1\n", r"two columns for Infiltration"),
        ("path,view,Mass\na.png,oblique,1\n", r"line 2: view is 'OBLIQUE'"),
        ("path,split,Mass\na.png,validation,1\n", r"line 2: split is 'validation'"),
        ("path\na.png\n", r"no column for a finding"),
        ("path,patient,Mass\na.png, ,1\n", r"line 2: the patient is missing"),
        ("path,finding:row\na.png,1\n", r"a finding cannot be called 'row'"),
        ("path,finding:image\na.png,1\n", r"a finding cannot be called 'image'"),
        ("path,follow_up,Mass\na.png,1.5,1\n", r"line 2: follow_up is '1.5'; write a whole number"),
        ("path,Mass\na.png,1,0\n", r"cannot be read as CSV"),
        ("path,Mass\nx.png,1\n", r"none exists \(first missing: x.png\)"),
    ],
)
def test_wrong_input_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_folder(written(tmp_path, text))


def test_report_080_a_csv_of_another_data_set_is_told_which_columns_it_needs(tmp_path):
    """CheXpert's own file was asked for "as its data set ships it"."""
    (tmp_path / "train.csv").write_text(
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema\na.jpg,F,68,Frontal,AP,1,\n"
    )
    with pytest.raises(DataError, match=r"a column to be ignored is named 'note:Frontal/Lateral'"):
        read_folder(tmp_path / "train.csv")


@pytest.mark.parametrize("column", ["path", "Path", "file", "File Name", "filename", "image", "Image Index"])
def test_the_column_of_paths_has_many_names(tmp_path, column):
    source = read_folder(written(tmp_path, f"{column},Mass\na.png,1\n"))
    assert source.table.frame["path"].tolist() == source.table.images == ["a.png"]
    assert (f"column '{column}' is read as 'path'" in source.notices) is (column != "path")


def test_names_and_files_may_be_two_columns(tmp_path):
    source = read_folder(written(tmp_path, "image,file,Patient ID,Gender,Mass\nfirst,a.png,P1,f,1\n"))
    frame = source.table.frame
    assert (frame["image"][0], frame["path"][0], frame["patient"][0]) == ("first", "a.png", "P1")
    assert frame["sex"][0] == "F"


def test_labels_may_be_words(tmp_path):
    words = ["1", "Yes", "TRUE", "positive", " present ", "0", "no", "False", "negative", "absent", "-1.0",
             "uncertain", ""]  # fmt: skip
    names = [f"{number}.png" for number in range(len(words))]
    for name in names:
        (tmp_path / name).touch()
    rows = "".join(f"{name},{word}\n" for name, word in zip(names, words, strict=True))
    targets = read_folder(written(tmp_path, f"path,Mass\n{rows}")).table.frame["Mass"]
    assert targets[:-1].tolist() == [1] * 5 + [0] * 5 + [-1] * 2
    assert targets.isna().tolist() == [False] * 12 + [True]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_spreadsheets_of_any_country(tmp_path, separator, encoding):
    (tmp_path / "Größe.png").touch()
    lines = [["path", "patient", "Mass"], ["Größe.png", "Müller 1", "1"]]
    (tmp_path / "labels.csv").write_bytes("\r\n".join(map(separator.join, lines)).encode(encoding))
    frame = read_folder(tmp_path / "labels.csv").table.frame
    assert frame[["image", "patient", "Mass"]].to_numpy().tolist() == [["Größe.png", "Müller 1", 1]]


def test_spaces_do_not_make_another_patient(tmp_path):
    source = read_folder(written(tmp_path, "path,patient,Mass\na.png,P1,1\nb.png,P1 ,0\n"))
    assert set(source.whole.patients) == {"P1"}


@pytest.mark.parametrize("name", ["nih-chestxray14", "nih-layout"])
def test_a_csv_cannot_call_itself_nih(tmp_path, name):
    with pytest.raises(DataError, match="a CSV cannot use the name"):
        read_folder(written(tmp_path, "path,Mass\na.png,1\n"), dataset=name)


def test_hostile_bytes_and_names(tmp_path):
    path = tmp_path / "labels.csv"
    for content in (b"", b"\xff\xfe\x00path", b"path,Mass\n", b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(DataError):
            read_folder(path)
    (tmp_path / "labels.csv.gz").write_bytes(b"\x1f\x8b\x08\x00" + bytes(range(60)))
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_folder(tmp_path / "labels.csv.gz")
    with pytest.raises(DataError, match="none exists"):
        read_folder(written(tmp_path, f"path,Mass\n{'x' * 300}.png,1\n"))


def test_ages_beyond_every_integer(tmp_path):
    source = read_folder(written(tmp_path, f"path,age,Mass\na.png,{'9' * 25},1\n"))
    assert source.table.frame["age"].isna().all()


def test_a_view_is_chosen_among_the_images_of_a_csv(tmp_path):
    source = read_folder(written(tmp_path, "path,view,Mass\na.png,AP,1\nb.png,PA,0\n"), view="PA")
    assert source.table.images == ["b.png"]
    assert source.whole.images == ("a.png", "b.png")
    assert source.notices[1:] == (
        "2 of 2 described images exist",
        "1 of them have view PA",
    )


@pytest.mark.parametrize("spellings", [("1", "001"), ("1", "1.0"), ("007", "7.0"), ("0", "00")])
def test_f12_a_patient_in_two_spellings_is_refused(tmp_path, spellings):
    text = "path,patient,Mass\na.png,2,1\nb.png,{},1\nc.png,{},0\n".format(*spellings)
    with pytest.raises(
        DataError, match="the patients in lines 3 and 4 differ only in leading zeros or a decimal"
    ):
        read_folder(written(tmp_path, text, images=("a.png", "b.png", "c.png")))


def test_f12_other_ids_are_different_patients(tmp_path):
    text = "path,patient,Mass\na.png,10,1\nb.png,100,1\nc.png,A1,0\nd.png,A01,0\ne.png,10,0\n"
    source = read_folder(written(tmp_path, text, images=[f"{letter}.png" for letter in "abcde"]))
    assert source.table.frame["patient"].tolist() == ["10", "100", "A1", "A01", "10"]


@pytest.mark.parametrize(
    "text",
    [
        "path,Mass\na.png,{}\n",
        "path,patient,age,Mass\na.png,1,{},1\n",
        "path,view,Mass\na.png,{},1\n",
        "path,{}\na.png,1\n",
    ],
    ids=["label", "age", "view", "header"],
)
def test_a_value_in_a_message_has_at_most_sixty_characters(tmp_path, text):
    with pytest.raises(DataError) as refused:
        read_folder(written(tmp_path, text.format("Zz" * 20_000)))
    assert max(map(len, re.findall("[Zz]+", str(refused.value)))) <= 60
    assert len(str(refused.value).replace(str(tmp_path), "")) <= 700
