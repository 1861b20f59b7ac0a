import gzip
from dataclasses import replace

import numpy as np
import pytest

from thorax.datasets.splits import NIH_DATASET
from thorax.errors import DataError
from thorax.evaluation.inputs.join import (
    count_official_test,
    is_whole_part,
    join_predictions,
    labeled_images,
    official_test_warning,
    read_labels,
    trained_prevalence,
)
from thorax.evaluation.inputs.prediction_csv import (
    finding_of_column,
    read_predictions,
    usable_predictions,
    write_predictions,
)
from thorax.evaluation.labeled_images import LabeledImages
from thorax.findings import NIH14, Finding, find_finding

EDEMA, MASS = find_finding("Edema"), find_finding("Mass")


def written(folder, text, name="predictions.csv"):
    path = folder / name
    path.write_text(text)
    return path


def sound(folder, text, **options):
    return usable_predictions(read_predictions(written(folder, text)), **options)[0]


@pytest.mark.parametrize(
    ("column", "finding"),
    [
        ("Edema", EDEMA),
        ("prob_Edema", EDEMA),
        ("pred_Pleural_Thickening", find_finding("Pleural_Thickening")),
        ("my_model_Pleural Thickening", find_finding("Pleural_Thickening")),
        ("label_Edema", None),
        ("true_Edema", None),
        ("y_true_Edema", None),
        ("Patient ID", None),
    ],
)
def test_columns_are_known_with_and_without_a_prefix(column, finding):
    assert finding_of_column(column) == finding


def test_a_finding_of_the_labels_alone_is_known():
    assert finding_of_column("prob_Silicosis") is None
    assert finding_of_column("prob_Silicosis", (Finding("Silicosis"),)) == Finding("Silicosis")


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_read_as_it_is(tmp_path, packed):
    text = "Image Index,prob_Mass,age,Edema\nimages_001/images/b.png,.5,60,\na.png,0.25,1,x\n"
    path = written(tmp_path, text)
    if packed:
        path = tmp_path / "predictions.csv.gz"
        path.write_bytes(gzip.compress(text.encode()))
    read = read_predictions(path)
    assert read.images == ("b.png", "a.png")
    assert read.findings == (MASS, EDEMA)
    assert read.ignored == ("age",)
    np.testing.assert_array_equal(read.values, [[0.5, np.nan], [0.25, np.nan]])
    assert len(read.sha256) == 64


def test_what_is_left_out_is_counted_and_named(tmp_path):
    text = "Image Index,Edema\na.png,.5\nb.png,\nc.png,.25\na.png,0.50\nd.png,nan\n"
    found, warnings = usable_predictions(read_predictions(written(tmp_path, text)))
    assert found.images == ("a.png", "c.png")
    np.testing.assert_array_equal(found.scores, [[0.5], [0.25]])
    assert warnings == (
        "2 rows of predictions.csv with a value that is empty or not a number are left out (b.png, d.png).",
        "1 row of predictions.csv repeats another row and is left out (a.png).",
    )


def test_logits_pass_the_sigmoid_only_when_they_are_said_to_be_logits(tmp_path):
    text = "Image Index,Edema\na.png,-2\nb.png,0.5\n"
    with pytest.raises(
        DataError,
        match=r"^1 of 2 rows of .* outside \[0, 1\] \(first: Edema of a.png is -2\); give prob.*`logits`",
    ):
        sound(tmp_path, text)
    found = sound(tmp_path, text, logits=True)
    np.testing.assert_allclose(found.scores[:, 0], 1 / (1 + np.exp([2, -0.5])), rtol=1e-12)
    with pytest.raises(DataError, match=r"they are probabilities, not logits; leave out `logits`"):
        sound(tmp_path, "Image Index,Edema\na.png,.5\n", logits=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("Image Index,Edema\n", "has no rows"),
        ("name,Edema\na,1\n", "has no column of images"),
        ("Image Index,age\na,1\n", "has no column of a finding"),
        ("Image Index,Edema,prob_Edema\na,1,1\n", "two columns for Edema, 'Edema' and 'prob_Edema'"),
        ("Image Index,Edema\na,1,2\n", "line 2: 3 fields, but the header has 2"),
        ("Image Index,Edema\na,\nb,x\n", "no row with a number for every finding"),
        ("Image Index,Edema\na.png,.1\na.png,.2\nb.png,1\n", r"1 images .* two rows with different values"),
        ("Image Index,Edema\na.png,inf\n", r"outside \[0, 1\]"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        sound(tmp_path, text)


LONG = """source,finding,probability,threshold,positive
a/x.png,Edema,0.1,0.5,0
a/x.png,Mass,0.7,,
b/y.png,Mass,0.25,0.5,0
b/y.png,Edema,1,0.5,1
a/x.png,Edema,0.1,0.5,0
a/x.png,Mass,0.7,,
z.png,Mass,0.5,0.5,1
b/y.png,Tuberculosis,1,,
"""


def test_what_predict_prints_is_read_with_a_row_for_each_image(tmp_path):
    read = read_predictions(written(tmp_path, LONG))
    assert read.images == ("x.png", "y.png", "x.png", "z.png")
    assert read.findings == (EDEMA, MASS, find_finding("Tuberculosis"))
    assert read.ignored == ("threshold", "positive")
    expected = [[0.1, 0.7, np.nan], [1, 0.25, 1], [0.1, 0.7, np.nan], [np.nan, 0.5, np.nan]]
    np.testing.assert_array_equal(read.values, expected)
    found, warnings = usable_predictions(read_predictions(written(tmp_path, LONG.rsplit("\n", 2)[0])))
    assert found.images == ("x.png", "y.png")
    assert ["z.png" in warnings[0], "x.png" in warnings[1]] == [True, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("finding,probability\nEdema,1\n", "a row per image and finding, but no column of images"),
        ("source,finding,probability\na.png,a,1\n", "names no finding that is known"),
        ("image,finding,probability\na.png,Edema,2\n", r"outside \[0, 1\]"),
    ],
)
def test_a_row_per_finding_that_cannot_be_measured_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        sound(tmp_path, text)


@pytest.mark.parametrize("images", [["a.png", "b.png", "c.png"], ["one/a.png", "two/a.png", 'b, "c".png']])
def test_what_is_written_is_read_back_to_the_last_bit(tmp_path, images):
    findings = (MASS, Finding('y_Own, "x"'), EDEMA)
    probabilities = np.random.default_rng(0).random((3, 3)) ** 9
    probabilities[0] = (0.0, 5e-324, 1.0)
    labeled = LabeledImages(
        images=images, patients=["7", "7", "8"], targets=np.zeros((3, 3), np.int8), findings=findings
    )
    path = tmp_path / "predictions.csv"
    write_predictions(path, labeled, probabilities)
    read = read_predictions(path, findings=findings, images=images)
    assert (read.images, read.findings, read.ignored) == (tuple(images), findings, ("Patient ID",))
    np.testing.assert_array_equal(read.values, probabilities)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "x.csv.gz").write_bytes(b"\x1f\x8b\x08 not gzip")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_predictions(tmp_path / "x.csv.gz")


LABELS = """Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position
00000001_000.png,Edema|Mass,0,1,58,M,PA
00000001_001.png,No Finding,1,1,59,M,AP
00000003_000.png,Edema,0,3,81,F,PA
00000013_000.png,No Finding,0,13,60,F,AP
"""


@pytest.fixture
def labels(tmp_path):
    return read_labels(written(tmp_path, LABELS, "Data_Entry_2017_v2020.csv"))


def test_labels_are_read_without_any_image(labels):
    assert labels.dataset == "nih-chestxray14"
    assert labels.table.images[2] == "00000003_000.png"
    np.testing.assert_array_equal(labels.table.targets((EDEMA, MASS)), [[1, 1], [0, 0], [1, 0], [0, 0]])


def test_labels_may_be_a_csv_as_prepare_takes_it(tmp_path):
    text = "filename,patient,Edema,Mass,view\na.png,p1,1,0,PA\nb.png,p2,-1,,AP\n"
    labels = read_labels(written(tmp_path, text, "mine.csv"))
    assert (labels.table.findings, labels.warnings) == ((EDEMA, MASS), ())
    found = join_predictions(sound(tmp_path, "Image Index,Edema\nb.png,.5\na.png,.25\n"), labels)
    assert (found.cohort.images, found.cohort.views) == (["b.png", "a.png"], ["AP", "PA"])
    np.testing.assert_array_equal(found.cohort.targets, [[-1], [1]])
    alone = read_labels(written(tmp_path, "path,Edema\na.png,1\n", "alone.csv"))
    assert alone.warnings == (
        "the labels have no column 'patient', so each image counts as a separate patient",
    )
    with pytest.raises(DataError, match=r"other.csv has no column with the images' paths"):
        read_labels(written(tmp_path, "name,Edema\na.png,1\n", "other.csv"))


def test_rows_meet_their_labels_whatever_their_order(tmp_path, labels):
    rows = ("00000003_000.png,.1,.9,0", "x.png,0,0,0", "00000001_000.png,.7,.8,0")
    text = "\n".join(("Image Index,Mass,Edema,Tuberculosis", *rows))
    found = join_predictions(sound(tmp_path, text), labels)
    assert found.cohort.images == ["00000003_000.png", "00000001_000.png"]
    assert found.cohort.findings == (MASS, EDEMA)
    np.testing.assert_array_equal(found.cohort.targets, [[0, 1], [1, 1]])
    np.testing.assert_array_equal(found.probabilities, [[0.1, 0.9], [0.7, 0.8]])
    assert (found.cohort.sexes, found.cohort.views) == (["F", "M"], ["PA", "PA"])
    np.testing.assert_array_equal(found.cohort.ages, [81, 58])
    assert found.split is None
    unlabeled, unknown, missing, of_test = found.warnings
    assert unlabeled == "1 predicted image has no labels and is left out (x.png)."
    assert unknown == "1 predicted finding has no labels and is left out (Tuberculosis)."
    assert missing.startswith(
        "2 of 4 labeled images have no prediction and are not in these results (0000000"
    )
    assert of_test.startswith("1 of the 2 labeled images of NIH's official test have no prediction")


def test_a_part_keeps_its_rows_and_names_those_that_are_missing(tmp_path, labels):
    # Of these, patients 3 and 13 are in NIH's official test.
    text = "Image Index,Edema\n00000001_000.png,.7\n00000003_000.png,.9\n"
    found = join_predictions(sound(tmp_path, text), labels, split="nih-official", part="test")
    assert found.cohort.images == ["00000003_000.png"]
    assert "1 predicted image is not in the test part of nih-official and left out." in found.warnings
    assert any(
        "of 2 images of the test part have no prediction" in each and "00000013_000.png" in each
        for each in found.warnings
    )


def test_rows_of_the_validation_part_may_choose_thresholds(tmp_path, labels):
    text = "Image Index,Edema\n" + "".join(f"{image},.5\n" for image in labels.table.images)
    split = labels.split("nih-official")
    found = join_predictions(sound(tmp_path, text), labels, split="nih-official", part="test")
    assert (found.validation is None) == (len(split.parts["val"]) == 0)
    train = join_predictions(sound(tmp_path, text), labels, split="nih-official", part="train")
    assert train.cohort.images == ["00000001_000.png", "00000001_001.png"]


def test_predictions_of_nothing_known_are_refused(tmp_path, labels):
    with pytest.raises(DataError, match=r"^none of the 1 predicted images is in the labels: .* .x.png. here"):
        join_predictions(sound(tmp_path, "Image Index,Edema\nx.png,.5\n"), labels)
    elsewhere = sound(tmp_path, "Image Index,Edema\n00000001_000.png,.5\n")
    with pytest.raises(DataError, match=r"^none of the 1 predicted images is in the test part"):
        join_predictions(elsewhere, labels, split="nih-official")


def test_a_real_file_meets_its_labels(chexnet):
    assert len(chexnet.cohort.images) == 11_516
    assert len(set(chexnet.cohort.patients)) == 3_093
    assert chexnet.cohort.findings == NIH14
    missing, of_test = chexnet.warnings
    assert missing.startswith("100,604 of 112,120 labeled images have no prediction")
    assert of_test.startswith("22,766 of the 25,596 labeled images of NIH's official test have no prediction")


def test_columns_of_other_lengths_are_refused():
    targets = np.zeros((2, 1), dtype=np.int8)
    with pytest.raises(DataError, match=r"^columns of 1, 2 rows do not fit 2 images; give one row per image"):
        LabeledImages(images=["a", "b"], patients=["p"], sexes=["F", "M"], targets=targets, findings=(MASS,))


def test_prevalence_in_training_is_of_the_known_labels(nih_labels, labels):
    split = nih_labels.split("nih-official")
    prevalence = trained_prevalence(split, (EDEMA, MASS))
    targets = nih_labels.table.targets((EDEMA, MASS))[split.parts["train"]]
    assert [prevalence[finding].value for finding in (EDEMA, MASS)] == targets.mean(axis=0).tolist()
    # Patients 3 and 13 are in the official test.
    tested = replace(labels, table=labels.table.take(np.array([2, 3])))
    assert trained_prevalence(tested.split("nih-official"), (EDEMA, MASS)) == {}


def test_images_of_the_official_test_are_counted_and_missing_ones_told(nih_labels):
    assert count_official_test(NIH_DATASET, ["1", "3", "13", "3"]) == 3
    assert count_official_test("folder", ["3"]) is None
    split = nih_labels.split("nih-official")
    assert official_test_warning(split, "test", 25_596) == ""
    assert official_test_warning(split, "val", 7) == ""
    assert official_test_warning(split, "test", 1234) == (
        "1,234 of the 25,596 images of NIH's official test part."
    )
    for part in ("val", "test"):
        rows = split.parts[part]
        assert is_whole_part(split, part, labeled_images(split.table.take(rows), (MASS,)))
        assert not is_whole_part(split, part, labeled_images(split.table.take(rows[1:]), (MASS,)))


def test_f18_what_float32_adds_to_one_is_taken_away(tmp_path):
    path = written(tmp_path, "Image Index,Edema,Mass\na.png,1.0000001,0.5\nb.png,-0.0000001,0.25\n")
    scored, warnings = usable_predictions(read_predictions(path))
    assert scored.scores.tolist() == [[1, 0.5], [0, 0.25]]
    assert warnings == ()
    path = written(tmp_path, "Image Index,Edema\na.png,1.00001\nb.png,0.2\n")
    with pytest.raises(DataError, match=r"Edema of a\.png is 1\.00001\)"):
        usable_predictions(read_predictions(path))


@pytest.mark.parametrize("column", ["Image Index", "id", "File", "source"])
@pytest.mark.parametrize("name", ["{}", "{}.png", "{}.jpg", "C:\\data\\images\\{}.png", "images/{}"])
def test_images_are_found_under_the_names_that_people_write(tmp_path, column, name):
    known = ("00000010_000.png", "images/00000011_000.png")
    rows = "".join(
        f"{name.format(stem)},0.{k + 1}\n" for k, stem in enumerate(("00000010_000", "00000011_000"))
    )
    read = read_predictions(written(tmp_path, f"{column},Mass\n{rows}"), images=known)
    assert read.images == known
    assert read.values.tolist() == [[0.1], [0.2]]


def test_a_german_spreadsheet(tmp_path):
    read = read_predictions(written(tmp_path, "Image Index;Mass;Edema\na.png;0,25;1\nb.png;;0,5\n"))
    assert read.values[0].tolist() == [0.25, 1]
    assert np.isnan(read.values[1, 0])
    assert read.values[1, 1] == 0.5


def test_thresholds_and_decisions_beside_probabilities_are_left_out(tmp_path):
    text = (
        "Image Index,Mass,Edema,Mass_threshold,Edema_threshold,Mass_decision,Edema_decision,warnings,path\n"
        "a.png,0.25,0.5,0.3,,no,,lateral,/x/a.png\n"
    )
    read = read_predictions(written(tmp_path, text))
    assert (read.findings, read.values.tolist(), read.unknown) == ((MASS, EDEMA), [[0.25, 0.5]], ())
