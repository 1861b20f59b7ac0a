import math
from dataclasses import replace

import numpy as np
import pytest

from thorax.datasets.splits import NIH_DATASET, REGISTERED
from thorax.errors import DataError
from thorax.evaluation.published_results import (
    PNEUMONIA_F1,
    PUBLISHED,
    ComparableResults,
    comparable_results,
    split_kind,
)
from thorax.findings import NIH14, find_finding

BY_NAME = {(each.name, each.split): each for each in PUBLISHED}


def test_every_figure_has_its_source():
    assert len(BY_NAME) == len(PUBLISHED) == 24
    for each in PUBLISHED:
        assert 0.7 < each.auc.value < 0.9
        assert each.source
        assert each.grade in ("read", "excerpt")
        assert math.isnan(each.auc.low) or each.auc.low < each.auc.value < each.auc.high


@pytest.mark.parametrize("name", ["Wang 2017", "CheXNet", "DNetLoc", "AE-CNN"])
def test_the_mean_is_that_of_the_findings(name):
    (result,) = (each for each in PUBLISHED if each.name == name and each.by_finding)
    assert tuple(result.by_finding) == NIH14
    assert np.mean(list(result.by_finding.values())) == pytest.approx(result.auc.value, abs=6e-4)


def test_figures_that_everybody_quotes():
    chexnet, wang = BY_NAME["CheXNet", "random"], BY_NAME["Wang 2017", "official"]
    assert chexnet.auc.value == 0.8414
    assert chexnet.by_finding[find_finding("Emphysema")] == 0.9371
    assert wang.by_finding[find_finding("Hernia")] == 0.8717
    assert BY_NAME["DNetLoc", "official"].auc.value == 0.807
    assert BY_NAME["DNetLoc", "random"].auc.value == 0.841


@pytest.mark.parametrize("split", [*REGISTERED, "nih-official/fold-1-of-5", "file:mine.csv", ""])
@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("dataset", [NIH_DATASET, "nih-layout", "phantom"])
def test_no_random_figure_beside_an_official_one(split, part, dataset):
    column = comparable_results(split, dataset=dataset, part=part)
    assert {each.split for each in column.results} <= {column.split}
    aucs = [each.auc.value for each in column.results]
    assert aucs == sorted(aucs)
    if part != "test" or dataset != NIH_DATASET:
        assert column == ComparableResults("other", ())


def test_each_kind_of_split_has_its_column():
    official = comparable_results("nih-official", dataset=NIH_DATASET, part="test")
    random = comparable_results("nih-random-patient", dataset=NIH_DATASET, part="test")
    assert (official.split, len(official.results)) == ("official", 14)
    assert (random.split, len(random.results)) == ("random", 10)
    kinds = {name: split_kind(name, dataset=NIH_DATASET) for name in REGISTERED}
    assert [name for name, kind in kinds.items() if kind == "official"] == ["nih-official"]
    assert kinds["patient-70-15-15"] == "random"
    assert kinds["folder-official"] == "other"


def test_a_mixed_column_cannot_be_made():
    chexnet, wang = BY_NAME["CheXNet", "random"], BY_NAME["Wang 2017", "official"]
    with pytest.raises(
        DataError,
        match=r"^CheXNet was measured on a split of kind 'random' and cannot be listed with results of",
    ):
        ComparableResults("official", (wang, chexnet))
    with pytest.raises(DataError, match=r"^Wang 2017 was measured"):
        replace(ComparableResults("random", (chexnet,)), results=(chexnet, wang))


def test_radiologists_have_their_interval_and_what_differs():
    radiologists, chexnet = PNEUMONIA_F1
    assert (radiologists.f1.value, radiologists.f1.low, radiologists.f1.high) == (0.387, 0.330, 0.442)
    assert (chexnet.f1.value, chexnet.f1.low, chexnet.f1.high) == (0.435, 0.387, 0.481)
    for each in PNEUMONIA_F1:
        assert each.num_images == 420
        assert each.finding == find_finding("Pneumonia")
        assert len(each.differs) >= 4
        assert all(sentence.endswith(".") for sentence in each.differs)
