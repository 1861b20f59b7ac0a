"""Bands of abstention: hand-worked, against MAPIE, against a literal twin, and in simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from thorax.bands import Band, Bands, fewest_patients
from thorax.errors import DataError
from thorax.evaluation.abstention import choose_band, choose_bands, measure_abstention
from thorax.evaluation.labeled_images import LabeledImages
from thorax.findings import NIH14
from thorax.image_set import ImageSet

EDEMA, MASS = (next(finding for finding in NIH14 if finding.name == name) for name in ("Edema", "Mass"))
CHOSEN_ON = ImageSet(
    dataset="d", split="s", part="val", sha256="", images_sha256="", num_images=1, num_patients=1
)
CHOSEN = {"chosen_on": CHOSEN_ON, "chose_checkpoint": False}


def drawn(random, with_it, without):
    """One image of each patient, whose scores are 1.5 standard deviations higher with the finding."""
    target = np.arange(with_it + without) < with_it
    score = random.normal(size=len(target)) + 1.5 * target - 1.5
    return target, np.round(1 / (1 + np.exp(-score)), 4)


def cohort(target, patients=None, images=None, findings=(EDEMA,)):
    target = np.asarray(target, dtype=np.int8).reshape(len(target), -1)
    return LabeledImages(
        images=images or [f"{row:05}.png" for row in range(len(target))],
        patients=patients or [str(row) for row in range(len(target))],
        targets=target,
        findings=findings,
    )


def test_with_nine_patients_of_each_the_lowest_and_the_highest_are_the_ends():
    p = np.arange(1, 19) / 20
    target = np.array([False, True] * 9)
    band = choose_band(target, p, np.arange(18))
    assert band == Band(low=0.1, high=0.85, patients_with=9, patients_without=9)


def test_with_nineteen_patients_one_of_each_may_lie_outside():
    p = np.concatenate([np.arange(1, 20) / 20, np.arange(1, 20) / 20])
    band = choose_band(np.arange(38) < 19, p, np.arange(38))
    assert (band.low, band.high) == (0.1, 0.9)


@pytest.mark.parametrize(("level", "few"), [(0.5, 1), (0.75, 3), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_fewest_patients(level, few):
    assert fewest_patients(level) == few
    random = np.random.default_rng(0)
    target, p = drawn(random, few, few)
    assert isinstance(choose_band(target, p, np.arange(2 * few), level=level), Band)
    for with_it, without in ((few - 1, few), (few, few - 1)):
        target, p = drawn(random, with_it, without)
        reason = choose_band(target, p, np.arange(len(p)), level=level)
        assert reason == (
            f"validation patients with it: {with_it}, without: {without}; at {100 * level:.3g} % a band "
            f"needs {few} of each"
        )


@pytest.mark.parametrize("level", [0.49, 1.0, math.nan, -1.0])
def test_a_level_that_is_none_is_refused(level):
    with pytest.raises(DataError, match=r"^`level` is .*; give a share of at least 0\.5 and below 1"):
        choose_band(np.array([True]), np.array([0.5]), np.array([0]), level=level)


def test_mapie():
    """MAPIE 1.6.0: the least and the greatest probability in the set of each class.

    SplitConformalClassifier(prefit, confidence_level=level, conformity_score="lac"), conformalized on the
    images of one class alone, asked for probabilities .00005, .00015, ... .99995; ends hence to .0001.
    """
    target, p = drawn(np.random.default_rng(18), 37, 163)
    for level, low, high in ((0.8, 0.39215, 0.29895), (0.9, 0.28435, 0.45145)):
        band = choose_band(target, p, np.arange(200), level=level)
        assert (band.low, band.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def literal_band(target, p, patient, level):
    """Each candidate's p value: the share of the patients and it that are at least as strange."""
    scores = {present: [] for present in (True, False)}
    for row in range(len(p)):
        earlier = [r for r in range(row) if patient[r] == patient[row] and target[r] == target[row]]
        if not earlier:
            scores[bool(target[row])].append(p[row])

    def plausible(candidate, present):
        others = scores[present]
        stranger = sum(other <= candidate if present else other >= candidate for other in others)
        return (stranger + 1) / (len(others) + 1) > 1 - level + 1e-9

    low = min(candidate for candidate in scores[True] if plausible(candidate, True))
    high = max(candidate for candidate in scores[False] if plausible(candidate, False))
    return low, high


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 30)), min_size=30, max_size=120),
    st.sampled_from([0.5, 0.75, 0.8, 0.9]),
)
def test_the_twin_by_p_values(rows, level):
    target, score, patient = (np.array(column) for column in zip(*rows, strict=True))
    p = score / 20
    band = choose_band(target.astype(bool), p, patient, level=level)
    few = fewest_patients(level)
    if min(len(set(patient[target])), len(set(patient[~target]))) < few:
        assert isinstance(band, str)
    else:
        assert (band.low, band.high) == literal_band(target, p, patient, level)


@pytest.mark.parametrize("level", [0.8, 0.9])
@pytest.mark.parametrize(("with_it", "without"), [(9, 19), (19, 49), (99, 99)])
def test_coverage_in_simulation(level, with_it, without):
    """A new patient of either class is covered within two points of the level (bench/abstention.py)."""
    random, trials = np.random.default_rng(18), 2000
    hits = np.zeros(2)
    for _ in range(trials):
        target, p = drawn(random, with_it + 1, without + 1)
        new = (0, len(p) - 1)
        others = np.arange(1, len(p) - 1)
        band = choose_band(target[others], p[others], others, level=level)
        hits += p[new[0]] >= band.low, p[new[1]] <= band.high
    error = 3 * math.sqrt(level * (1 - level) / trials)  # three standard errors of the simulation itself
    assert np.all(np.abs(hits / trials - level) < 0.02 + error)


def test_coverage_does_not_change_with_prevalence():
    few = choose_band(*drawn(np.random.default_rng(3), 40, 40), np.arange(80))
    target, p = drawn(np.random.default_rng(3), 40, 40)
    copies = np.concatenate([np.arange(80), *[np.arange(40, 80)] * 9])
    many = choose_band(target[copies], p[copies], np.arange(len(copies)))
    assert many.low == few.low


def test_a_patient_counts_once():
    """A hundred images of one patient move nothing, wherever they lie."""
    target, p = drawn(np.random.default_rng(5), 20, 20)
    patients = [str(number) for number in range(40)]
    names = [f"{number}.png" for number in range(40)]
    chosen = choose_bands(cohort(target, patients, names), p[:, None], **CHOSEN)
    more = cohort(
        np.concatenate([target, np.ones(100, bool)]),
        [*patients, *["40"] * 100],
        [*names, *(f"more-{number}.png" for number in range(100))],
    )
    extended = choose_bands(more, np.concatenate([p, np.zeros(100)])[:, None], **CHOSEN)
    band, other = chosen.bands["Edema"], extended.bands["Edema"]
    assert (other.patients_with, other.high) == (21, band.high)
    assert other.low == sorted(np.append(p[:20], 0.0))[1]  # the second lowest of 21 patients, not of 120


def test_bands_depend_on_names_not_on_rows():
    random = np.random.default_rng(7)
    target, p = drawn(random, 60, 60)
    patients = [str(number // 3) for number in range(120)]
    images = cohort(target, patients)
    order = random.permutation(120)
    assert choose_bands(images, p[:, None], **CHOSEN) == choose_bands(
        images.take(order), p[order][:, None], **CHOSEN
    )


def test_unknown_labels_do_not_count_and_the_reason_is_kept():
    target = np.array([[1, -1]] * 9 + [[0, -2]] * 9, dtype=np.int8)
    p = np.tile(np.linspace(0.9, 0.1, 18)[:, None], 2)
    bands = choose_bands(cohort(target, findings=(EDEMA, MASS)), p, **CHOSEN)
    assert list(bands.bands) == ["Edema"]
    assert bands.absent == {
        "Mass": "validation patients with it: 0, without: 0; at 90 % a band needs 9 of each"
    }


@pytest.mark.parametrize(
    ("chose", "said"),
    [
        (False, ""),
        (True, " The same patients chose the checkpoint, which costs some of it."),
        (None, " Whether they also chose the checkpoint, which would cost some of it, is not known."),
    ],
)
def test_the_promise_says_where_it_holds(chose, said):
    bands = Bands(level=0.8, bands={}, absent={}, chosen_on=CHOSEN_ON, chose_checkpoint=chose)
    assert bands.promise == (
        "On average at most 20 % of the patients with a finding get a no, and at most 20 % of those without "
        "it a yes; between, it is not decided. This holds for patients like those of validation; at another "
        f"hospital nothing is guaranteed.{said}"
    )


def test_a_finding_has_a_band_or_a_reason():
    band = Band(low=0.1, high=0.2, patients_with=9, patients_without=9)
    with pytest.raises(ValidationError, match="Edema cannot both have a band and have none"):
        Bands(level=0.9, bands={"Edema": band}, absent={"Edema": ""}, **CHOSEN)


@pytest.mark.parametrize(
    ("low", "high", "threshold", "ends"),
    [
        (0.2, 0.6, 0.4, (0.2, 0.6)),  # the ordinary case: both are plausible between the ends
        (0.2, 0.6, 0.8, (0.2, 0.8)),  # yes is plausible and no is not, but the threshold says no
        (0.2, 0.6, 0.1, (0.1, 0.6)),
        (0.6, 0.2, 0.4, (0.4, 0.4)),  # better than the level asks: the threshold decides everywhere
        (0.6, 0.2, 0.7, (0.6, 0.7)),
        (0.6, 0.2, 0.1, (0.1, 0.2)),
    ],
)
def test_a_threshold_answers_where_the_opposite_is_ruled_out(low, high, threshold, ends):
    band = Band(low=low, high=high, patients_with=9, patients_without=9)
    assert band.undecided(threshold) == ends
    for p in np.arange(0.05, 1, 0.1):
        answer = p >= threshold
        opposite_ruled_out = p > high if answer else p < low
        inside = ends[0] < ends[1] and ends[0] <= p <= ends[1]
        assert opposite_ruled_out != inside


def test_abstention_by_hand():
    bands = Bands(
        level=0.9,
        bands={"Edema": Band(low=0.3, high=0.6, patients_with=9, patients_without=9)},
        absent={"Mass": "too few"},
        **CHOSEN,
    )
    target = np.array([[1, 0], [1, 0], [1, 1], [0, 0], [0, 0], [-1, 0]])
    p = np.array([0.2, 0.5, 0.9, 0.7, 0.1, 0.4])
    images = cohort(target, ["a", "a", "b", "c", "d", "e"], findings=(EDEMA, MASS))
    measured = measure_abstention(images, np.column_stack([p, p]), bands, thresholds=(0.5, None))
    edema, mass = measured.findings
    assert (edema.patients_with, edema.patients_without) == (2, 2)
    assert edema.covered_with.value == 0.75  # one of two images of a, the image of b
    assert edema.covered_without.value == 0.5
    assert edema.undecided.value == pytest.approx(1.5 / 5)  # half of a, all of e
    assert 0 <= edema.covered_with.low < 0.75 < edema.covered_with.high <= 1
    assert (mass.band, mass.absent, mass.undecided.exists) == (None, "too few", False)
    assert measured.banded == (edema,)


def test_a_band_without_a_threshold_has_coverage_and_no_share_undecided():
    bands = Bands(
        level=0.9,
        bands={"Edema": Band(low=0.3, high=0.6, patients_with=9, patients_without=9)},
        absent={},
        **CHOSEN,
    )
    target = np.array([1, 0])
    (edema,) = measure_abstention(
        cohort(target), np.array([[0.2], [0.5]]), bands, thresholds=(None,)
    ).findings
    assert (edema.covered_with.value, edema.covered_without.value) == (0, 1)
    assert not edema.undecided.exists
