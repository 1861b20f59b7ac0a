import numpy as np
import pytest

from thorax.auditing.lists import Locator
from thorax.auditing.prediction_checks import (
    check_columns_left_out,
    check_predicted_rows,
    check_predicted_values,
    check_ranking,
    only_of_part,
)
from thorax.datasets.splits import NIH_DATASET
from thorax.errors import DataError
from thorax.evaluation.inputs.prediction_csv import read_predictions
from thorax.findings import NIH15, Finding

NAMES = [f"{number:08d}_000.png" for number in range(1, 301)]


@pytest.fixture
def read(tmp_path, table):
    """Write columns as a CSV and read it: read(names, prob_Mass=[...])."""

    def make(names, images=None, **columns):
        lines = [",".join(["Image Index", *columns])]
        lines += [",".join(map(str, row)) for row in zip(names, *columns.values(), strict=True)]
        path = tmp_path / "predictions.csv"
        path.write_text("\n".join(lines))
        file = read_predictions(path, findings=NIH15)
        return file, Locator(images or table(NAMES), NIH_DATASET).locate(file.images)

    return make


def kinds(problems):
    return [(each.severity, each.kind, each.count) for each in problems]


def spread(seed, count=300):
    return np.random.default_rng(seed).random(count) ** 3


def test_good_predictions_have_no_problem(read, table, lists):
    images = table(NAMES, Mass=np.arange(300) % 3 == 0)
    split = lists(images, train=NAMES[:100], test=NAMES[100:])
    score = 0.2 * (np.arange(300) % 3 == 0) + 0.3 * spread(0)
    predicted = read(NAMES[100:], prob_Mass=score[100:], prob_Nodule=spread(1, 200), note=["x"] * 200)
    assert [finding.name for finding in predicted[0].findings] == ["Mass", "Nodule"]
    assert predicted[0].ignored == ("note",)
    assert check_predicted_rows(*predicted, split, "test") == []
    assert check_predicted_values(*predicted) == []
    assert check_ranking(*predicted, images) == []


@pytest.mark.parametrize("prefix", ["", "prob_", "pred_", "p_", "Prob_", "mean_pred_"])
def test_columns_have_any_prefix(read, prefix):
    columns = {
        f"{prefix}Pleural_Thickening": [0.25],
        f"{prefix}Hernia": ["x"],
        "true_Hernia": [1],
        "y_Mass": [0],
    }
    predicted, _ = read(NAMES[:1], **columns)
    assert [finding.name for finding in predicted.findings] == ["Pleural_Thickening", "Hernia"]
    assert predicted.values[0, 0] == 0.25
    assert np.isnan(predicted.values[0, 1])
    assert predicted.ignored == ("true_Hernia", "y_Mass")


def test_a_finding_of_the_stores_own_is_known(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("image,prob_Silicosis\n00000001_000.png,0.5\n")
    assert read_predictions(path, findings=(Finding("Silicosis"),)).findings == (Finding("Silicosis"),)
    with pytest.raises(DataError, match="has no column of a finding"):
        read_predictions(path, findings=NIH15)


def test_two_columns_for_a_finding_are_refused(read):
    with pytest.raises(DataError, match="two columns for Mass, 'prob_Mass' and 'Mass'; keep the one with"):
        read(NAMES[:1], prob_Mass=[0.5], Mass=[1])


def test_validation_reported_as_test_is_found(read, table, lists):
    split = lists(table(NAMES), train=NAMES[:100], val=NAMES[100:200], test=NAMES[200:])
    predicted = read(NAMES[100:200], prob_Mass=spread(0, 100))
    assert kinds(check_predicted_rows(*predicted, split, "test")) == [
        ("error", "rows-of-val", 100),
        ("warning", "rows-missing", 100),
    ]
    assert check_predicted_rows(*predicted, split, "val") == []


def test_rows_of_training_patients_are_found_whether_or_not_the_store_has_the_image(read, table, lists):
    split = lists(table(NAMES), train=NAMES[:100], test=NAMES[200:])
    rows = [*NAMES[200:], NAMES[3], "images_002/00000004_009.png", "99999999_000.png"]
    problems = check_predicted_rows(*read(rows, prob_Mass=spread(0, 103)), split, "test")
    assert kinds(problems) == [("error", "rows-of-train", 2), ("warning", "rows-of-no-part", 1)]
    assert problems[0].examples == ("00000004_000.png", "00000004_009.png")


def test_rows_of_other_parts_that_were_left_out_are_not_an_error(read, table, lists):
    images = table(NAMES)
    split = lists(images, train=NAMES[:100], val=NAMES[100:200], test=NAMES[200:])
    rows = [*NAMES, "99999999_000.png", f"images/{NAMES[250]}"]
    file, listed = read(rows, prob_Mass=spread(0, 302))
    assert "rows-of-train" in {problem.kind for problem in check_predicted_rows(file, listed, split, "test")}
    locator = Locator(images, NIH_DATASET)
    only = only_of_part(file, locator, split, "test")
    assert only.values.tolist() == file.values[[*range(200, 300), 301]].tolist()
    # A row that is repeated within the part still counts.
    assert kinds(check_predicted_rows(only, locator.locate(only.images), split, "test")) == [
        ("error", "rows-repeated", 1)
    ]


def test_columns_of_findings_left_out_are_found(read, table, lists):
    labels = {"Mass": np.arange(300) % 3 == 0, "Nodule": np.arange(300) == 0, "No Finding": [1] * 300}
    images = table(NAMES, Hernia=[0] * 299 + [1], **labels)
    split = lists(images, train=NAMES[:100], test=NAMES[100:])
    file, _ = read(NAMES[100:], prob_Mass=spread(0, 200))
    # Nodule has no positive in test, and No Finding is not a finding.
    [problem] = check_columns_left_out(file, images, split, "test")
    assert (problem.severity, problem.kind, problem.examples) == (
        "warning", "columns-left-out", ("Hernia: 1 positive",)
    )  # fmt: skip
    assert problem.what.endswith(": 1 of 2")
    whole, _ = read(NAMES[100:], prob_Mass=spread(0, 200), prob_Hernia=spread(1, 200))
    assert check_columns_left_out(whole, images, split, "test") == []


def test_repeated_rows_are_found(read, table, lists):
    split = lists(table(NAMES), test=NAMES[:3])
    rows = [*NAMES[:3], NAMES[0], f"images/{NAMES[1]}"]
    predicted = read(rows, prob_Mass=[0.1, 0.2, 0.3, 0.1, 0.25])
    [problem] = check_predicted_rows(*predicted, split, "test")
    assert (problem.severity, problem.kind, problem.count) == ("error", "rows-repeated", 2)
    assert problem.what == "images with more than one row: 2, of which 1 have different values"


def test_values_that_are_no_number_are_found(read):
    values = [0.1, "", "nan", 0.4, "error"]
    predicted = read(NAMES[:5], prob_Mass=values, prob_Nodule=[0.1, 0.2, 0.3, 0.4, 0.5])
    assert kinds(check_predicted_values(*predicted)) == [("error", "not-a-number", 3)]


def test_logits_are_found(read):
    predicted = read(NAMES[:4], prob_Mass=[-3.25, 0.5, 1.5, 0.2])
    [problem] = check_predicted_values(*predicted)
    assert (problem.severity, problem.kind, problem.count) == ("error", "not-probabilities", 2)
    assert "values range from -3.25 to 1.5" in problem.what


def test_binarised_predictions_are_found(read):
    predicted = read(NAMES, prob_Mass=(spread(0) > 0.3).astype(int), prob_Nodule=spread(1))
    [problem] = check_predicted_values(*predicted)
    assert (problem.severity, problem.kind, problem.examples) == ("error", "binarised", ("Mass",))


def test_coarse_and_constant_columns_are_found(read):
    predicted = read(
        NAMES,
        prob_Mass=spread(0).round(1),
        prob_Nodule=[0.3] * 300,
        prob_Hernia=spread(1),
        prob_Edema=spread(1),
    )
    assert kinds(check_predicted_values(*predicted)) == [
        ("error", "constant", 1),
        ("error", "equal-columns", 1),
        ("warning", "few-values", 1),
    ] or kinds(check_predicted_values(*predicted)) == [
        ("error", "constant", 1),
        ("warning", "few-values", 1),
        ("error", "equal-columns", 1),
    ]


def test_an_untrained_net_is_found(read):
    near_half = [0.45 + 0.05 * spread(seed) for seed in range(3)]
    predicted = read(NAMES, Mass=near_half[0], Nodule=near_half[1], Hernia=near_half[2])
    assert kinds(check_predicted_values(*predicted)) == [("error", "untrained", 3)]
    one_is_trained = read(NAMES, Mass=near_half[0], Nodule=near_half[1], Hernia=spread(5))
    assert check_predicted_values(*one_is_trained) == []


def test_predictions_that_rank_no_better_than_chance_are_found(read, table):
    images = table(NAMES, Mass=np.arange(300) % 3 == 0, Nodule=np.arange(300) % 4 == 0)
    predicted = read(NAMES, images, Mass=spread(0), Nodule=spread(1))
    [problem] = check_ranking(*predicted, images)
    assert (problem.severity, problem.kind, problem.count) == ("error", "no-better-than-chance", 2)


def test_a_useful_model_of_few_images_is_a_warning(read, table):
    """Of 20 positives and 20 negatives, an AUC up to .78 is within three standard errors of chance."""
    names, mass = NAMES[:40], np.arange(40) % 2 == 0
    images = table(names, Mass=mass)
    severities = {}
    for lower in (5, 8, 11):  # positives moved below the negatives that they were above
        values = np.where(mass, 20, -0.5) + np.arange(40) / 2
        values[np.flatnonzero(mass)[:lower]] -= 20.5
        predicted = read(names, images, Mass=values / 100 + 0.1)
        (problem,) = check_ranking(*predicted, images)
        severities[problem.examples[0]] = problem.severity
    assert severities == {
        "Mass: AUC 0.775": "warning", "Mass: AUC 0.670": "warning", "Mass: AUC 0.588": "error"
    }  # fmt: skip


def test_a_reversed_column_is_found(read, table):
    mass, nodule = np.arange(300) % 3 == 0, np.arange(300) % 2 == 0
    images = table(NAMES, Mass=mass, Nodule=nodule)
    predicted = read(
        NAMES, images, Mass=0.3 * spread(0) + 0.5 * mass, Nodule=0.9 - 0.3 * nodule - 0.5 * spread(1)
    )
    [problem] = check_ranking(*predicted, images)
    assert (problem.severity, problem.kind, problem.count) == ("warning", "worse-than-chance", 1)
    assert problem.examples[0].startswith("Nodule: AUC 0.")


def test_too_few_images_say_nothing_of_ranking(read, table):
    images = table(NAMES, Mass=np.arange(300) < 19)
    assert check_ranking(*read(NAMES, images, Mass=spread(0)), images) == []


def test_a_real_models_predictions_are_sound(real, shared_data):
    locator = Locator(real.table, real.dataset)
    path = shared_data / "chexnet-predictions" / "predictions.csv.gz"
    file = read_predictions(path, findings=real.table.findings)
    predicted = file, locator.locate(file.images)
    assert file.values.shape == (11_516, 14)
    assert check_predicted_values(*predicted) == []
    assert check_ranking(*predicted, real.table) == []


def test_predictions_of_other_images_or_findings_are_not_ranked(read, table):
    images = table(NAMES, Edema=np.arange(300) % 3 == 0)
    assert check_ranking(*read(NAMES, images, Mass=spread(0)), images) == []
    images = table(["99999999_000.png"], Mass=[1])
    assert check_ranking(*read(NAMES, images, Mass=spread(0)), images) == []
