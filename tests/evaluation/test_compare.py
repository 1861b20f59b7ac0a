import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from thorax.errors import DataError
from thorax.evaluation.compare import compare
from thorax.evaluation.labeled_images import LabeledImages, ScoredImages, ScoredRuns
from thorax.evaluation.leaderboard import rank_models
from thorax.evaluation.statistics.delong import auc_contrast, auc_covariance, auc_interval
from thorax.evaluation.statistics.differences import auc_difference
from thorax.evaluation.statistics.holm import holm
from thorax.evaluation.statistics.intervals import (
    mean_patients,
    patient_resample,
    percentile_interval,
    resample_counts,
)
from thorax.evaluation.statistics.ranking import auroc_score, rank, weighted_auroc
from thorax.findings import NIH14, NIH15, NO_FINDING

FINDINGS = NIH14[:3]


def labeled_images(*, patients=60, findings=FINDINGS, seed=0):
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 6, patients))
    targets = (random.random((len(patient), len(findings))) < 0.3).astype(np.int8)
    return LabeledImages(
        images=[f"{number:08d}.png" for number in range(len(patient))],
        patients=[f"p{number}" for number in patient],
        targets=targets,
        findings=findings,
    )


def model(name, labeled, *, skill=1.0, seed=0):
    random = np.random.default_rng(seed)
    scores = skill * (labeled.targets == 1) + random.normal(size=labeled.targets.shape)
    return ScoredImages(
        model=name, images=labeled.images, scores=np.round(scores, 1), findings=labeled.findings
    )


def shown(comparison):
    """All numbers, as text: NaN equals itself there."""
    return repr(comparison)


def kish(images):
    """How many patients of equal size say as much as these (Kish 1965)."""
    return np.sum(images) ** 2 / np.sum(np.square(images))


def slow_patients(positive, patient):
    """The effective patients of the class that has fewer."""
    return min(kish(np.bincount(patient[positive == value])) for value in (True, False))


def slow_interval(samples, patients):
    """Percentiles moved out for few patients (Hesterberg 2015, section 4)."""
    reach = stats.t.ppf(0.975, patients - 1) * math.sqrt(patients / (patients - 1))
    return np.quantile(samples, [stats.norm.cdf(-reach), stats.norm.cdf(reach)])


def slow_variance(positive, one, other, patient):
    """DeLong's variance of a difference of AUCs, patients as clusters (Obuchowski 1997), in plain loops."""
    placements = []
    for score in (one, other):
        wins = (score[positive, None] > score[None, ~positive]) + 0.5 * (
            score[positive, None] == score[None, ~positive]
        )
        placements.append((wins.mean(axis=1), wins.mean(axis=0), wins.mean()))
    (of_positive, of_negative, auc), (of_positive_2, of_negative_2, auc_2) = placements
    differences = (of_positive_2 - of_positive, of_negative_2 - of_negative)
    gap = auc_2 - auc
    patients = np.unique(patient)
    sums = [
        [np.sum(values[patient[rows] == each] - gap) / np.sum(rows) for each in patients]
        for values, rows in zip(differences, (positive, ~positive), strict=True)
    ]
    present = [len(np.unique(patient[rows])) for rows in (positive, ~positive)]
    n, m, both = *present, len(patients)
    own = n / (n - 1) * np.dot(sums[0], sums[0]) + m / (m - 1) * np.dot(sums[1], sums[1])
    return own + 2 * both / (both - 1) * np.dot(sums[0], sums[1])


def test_every_number_equals_its_slow_twin():
    labeled = labeled_images(patients=40)
    labeled.targets[::7, 1] = -1  # uncertain
    one, other = model("one", labeled), model("other", labeled, skill=1.5, seed=1)
    pair = compare(labeled, [one, other], resamples=200, seed=3).pairs[0]
    patient = np.unique(labeled.patients, return_inverse=True)[1]
    counts = patient_resample(3, np.arange(200), num_patients=40)
    known = labeled.targets >= 0
    values, samples = np.empty(3), np.empty((200, 3))
    for k in range(3):
        for resample in range(-1, 200):
            rows = np.flatnonzero(known[:, k])
            if resample >= 0:
                rows = np.repeat(rows, counts[resample, patient[rows]])
            aucs = [roc_auc_score(labeled.targets[rows, k], each.scores[rows, k]) for each in (one, other)]
            if resample >= 0:
                samples[resample, k] = aucs[1] - aucs[0]
            else:
                values[k] = aucs[1] - aucs[0]
    positive = labeled.targets == 1
    patients = [slow_patients(positive[known[:, k], k], patient[known[:, k]]) for k in range(3)]
    for difference, value, sample, count in zip(
        [*(each.auc for each in pair.findings), pair.macro],
        [*values, values.mean()],
        [*samples.T, samples.mean(axis=1)],
        [*patients, stats.hmean(patients)],
        strict=True,
    ):
        assert difference.difference.value == pytest.approx(value, abs=1e-12)
        bootstrap = difference.bootstrap
        assert (bootstrap.low, bootstrap.high) == pytest.approx(
            tuple(slow_interval(sample, count)), abs=1e-12
        )
    assert [each.num_known for each in pair.findings] == known.sum(axis=0).tolist()
    for k, each in enumerate(pair.findings):
        rows = known[:, k]
        first, second, both = (
            slow_variance(positive[rows, k], *scores, patient[rows])
            for scores in (
                (np.zeros(np.sum(rows)), one.scores[rows, k]),
                (np.zeros(np.sum(rows)), other.scores[rows, k]),
                (one.scores[rows, k], other.scores[rows, k]),
            )
        )
        shared = (first + second - both) / 2
        tested = auc_difference(
            np.array([each.auc.baseline_auc, each.auc.model_auc]),
            np.array([[first, shared], [shared, second]]),
            degrees=patients[k] - 1,
        )
        interval = each.auc.difference
        assert (interval.low, interval.high) == pytest.approx(
            (tested.interval.low, tested.interval.high), rel=1e-9
        )
        assert each.auc.p == pytest.approx(tested.p, rel=1e-9)


def test_the_order_of_images_and_findings_changes_nothing():
    labeled = labeled_images()
    one, other = model("one", labeled), model("other", labeled, seed=1)
    expected = compare(labeled, [one, other], resamples=50)
    order = np.random.default_rng(0).permutation(len(labeled.images))
    turned = ScoredImages(
        model="other",
        images=[labeled.images[row] for row in order],
        scores=other.scores[order][:, ::-1],
        findings=FINDINGS[::-1],
    )
    assert shown(compare(labeled, [one, turned], resamples=50)) == shown(expected)


def test_rankings_that_agree_do_not_differ():
    labeled = labeled_images()
    one = model("one", labeled)
    other = replace(one, model="other", scores=np.exp(one.scores))
    pair = compare(labeled, [one, other], resamples=50).pairs[0]
    for each in (*(finding.auc for finding in pair.findings), pair.macro):
        assert (each.difference.value, each.difference.low, each.difference.high) == (0, 0, 0)
        assert (each.p, each.p_adjusted) == (1, 1)


def test_turning_the_pair_turns_the_sign():
    labeled = labeled_images()
    one, other = model("one", labeled), model("other", labeled, skill=2.0, seed=1)
    there = compare(labeled, [one, other], baseline="one", resamples=99).pairs[0]
    back = compare(labeled, [one, other], baseline="other", resamples=99).pairs[0]
    assert (there.baseline, there.model, back.baseline, back.model) == ("one", "other", "other", "one")
    assert there.macro.difference.value > 0.1
    for to, fro in zip((there.macro, there.findings[0].auc), (back.macro, back.findings[0].auc), strict=True):
        assert to.difference.low == pytest.approx(-fro.difference.high, abs=1e-6)
        assert to.p == pytest.approx(fro.p, abs=1e-6)


def test_all_pairs_or_each_against_the_baseline():
    labeled = labeled_images()
    models = [model(name, labeled, seed=seed) for seed, name in enumerate("abc")]
    every = compare(labeled, models, resamples=20)
    assert [(pair.baseline, pair.model) for pair in every.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert every.correction == "Holm, over the findings of all 3 pairs together, and over their means"
    against = compare(labeled, models, baseline="b", resamples=20)
    assert [(pair.baseline, pair.model) for pair in against.pairs] == [("b", "a"), ("b", "c")]
    assert against.num_images == len(labeled.images)
    assert against.num_patients == 60


def test_the_adjusted_values_are_of_all_findings_of_all_pairs():
    labeled = labeled_images()
    models = [
        model(name, labeled, skill=skill, seed=seed)
        for seed, (name, skill) in enumerate([("a", 0.5), ("b", 0.8), ("c", 1.5)])
    ]
    pairs = compare(labeled, models, resamples=200).pairs
    family = [each.auc for pair in pairs for each in pair.findings]
    np.testing.assert_allclose(
        [each.p_adjusted for each in family], holm(np.array([each.p for each in family]))
    )
    np.testing.assert_allclose(
        [pair.macro.p_adjusted for pair in pairs], holm(np.array([pair.macro.p for pair in pairs]))
    )


def test_what_one_model_lacks_or_the_labels_do_not_define_is_left_out_of_the_mean():
    labeled = labeled_images(findings=(*FINDINGS, NO_FINDING))
    labeled.targets[:, 2] = 0
    one = model("one", labeled)
    other = replace(one, model="other", scores=one.scores[:, 1:] + 0.0, findings=labeled.findings[1:])
    pair = compare(labeled, [one, other], resamples=30).pairs[0]
    assert [each.auc.difference.exists for each in pair.findings] == [False, True, False, True]
    assert all(math.isnan(pair.findings[k].auc.p_adjusted) for k in (0, 2))
    assert math.isnan(pair.findings[0].auc.baseline_auc)
    assert pair.num_findings == 1  # No Finding is never in the mean
    assert pair.macro.baseline_auc == pair.findings[1].auc.baseline_auc


def test_no_finding_in_common():
    labeled = labeled_images()
    one = model("one", labeled)
    other = replace(one, model="other", findings=NIH15[-3:])
    pair = compare(labeled, [one, other], resamples=30).pairs[0]
    assert pair.num_findings == 0
    assert not pair.macro.difference.exists
    assert math.isnan(pair.macro.p)


def test_resamples_without_a_class_are_counted():
    labeled = labeled_images(patients=12, findings=FINDINGS[:1])
    labeled.targets[:] = 0
    labeled.targets[np.array(labeled.patients) == "p3"] = 1
    pair = compare(labeled, [model("a", labeled), model("b", labeled, seed=1)], resamples=400).pairs[0]
    counts = patient_resample(0, np.arange(400), num_patients=12)
    names = np.unique(labeled.patients).tolist()
    assert pair.findings[0].auc.undefined_resamples == np.sum(counts[:, names.index("p3")] == 0) > 50
    assert math.isnan(pair.findings[0].auc.difference.low)  # one patient is all that is known
    assert math.isnan(pair.findings[0].auc.p)


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
def test_models_of_equal_worth_are_seldom_told_apart():
    told = 0
    for seed in range(150):
        labeled = labeled_images(findings=FINDINGS[:1], seed=seed)
        models = [model(name, labeled, seed=1000 + 2 * seed + turn) for turn, name in enumerate("ab")]
        told += compare(labeled, models, resamples=200).pairs[0].macro.p < 0.05
    assert told / 150 < 0.104  # 0.05 and three standard errors of 0.018


def test_models_of_other_images_are_refused():
    labeled = labeled_images()
    one = model("one", labeled)
    fewer = ScoredImages(
        model="other", images=[*labeled.images[2:], "x.png"], scores=one.scores[1:], findings=FINDINGS
    )
    count = len(labeled.images)
    with pytest.raises(
        DataError,
        match=rf"^model other was not evaluated on the images of the comparison: of {count} it lacks 2, and "
        r"it has 1 others \(first: 00000000\.png\); let every model score the same images$",
    ):
        compare(labeled, [one, fewer])


def test_hostile_input_is_refused():
    labeled = labeled_images()
    one = model("one", labeled)
    with pytest.raises(DataError, match=r"^a comparison needs at least two models.*; got one$"):
        compare(labeled, [one])
    with pytest.raises(DataError, match=r"each of its own name; got one, one$"):
        compare(labeled, [one, one])
    with pytest.raises(DataError, match=r"^no model is called 'x', to compare with; there are one, two$"):
        compare(labeled, [one, replace(one, model="two")], baseline="x")
    with pytest.raises(DataError, match=r"^0 resamples give no interval; ask"):
        compare(labeled, [one, replace(one, model="two")], resamples=0)


def test_values_are_valid_from_birth():
    labeled = labeled_images()
    one = model("one", labeled)
    with pytest.raises(
        DataError, match=r"images of model one are listed more than once \(first: 00000000\.png"
    ):
        replace(one, images=[labeled.images[0], *labeled.images[:-1]])
    with pytest.raises(DataError, match=r"images of the labels are listed more than once"):
        replace(labeled, images=["a"] * len(labeled.images))
    with pytest.raises(
        DataError, match=r"^scores of shape .* of model one do not fit .* and 2 findings; give"
    ):
        replace(one, findings=FINDINGS[:2])
    with pytest.raises(DataError, match=r"^columns of 1 rows do not fit"):
        replace(labeled, patients=["p"])
    scores = one.scores.copy()
    scores[4, 1] = np.nan
    with pytest.raises(
        DataError,
        match=r"^1 scores of model one are not a number \(first: Cardiomegaly of 00000004\.png\); find",
    ):
        replace(one, scores=scores)


def test_holm_by_hand():
    adjusted = holm(np.array([0.04, 0.01, np.nan, 0.03, 0.5]))
    np.testing.assert_allclose(adjusted, [0.09, 0.04, np.nan, 0.09, 0.5])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.array([np.nan])).tolist() == pytest.approx([np.nan], nan_ok=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_rejects_what_the_step_down_procedure_rejects(values):
    adjusted = holm(np.array(values))
    rejected = set()
    for step, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        if values[place] * (len(values) - step) > 0.05:
            break
        rejected.add(place)
    assert set(np.flatnonzero(adjusted <= 0.05)) == rejected


def drawn_models(seed, *, patients):
    """Two models of one mind in part, three findings that go together, patients of uneven size."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 9, patients))
    shape = (len(patient), 3)
    ill = random.random((patients, 3)) < 0.35
    target = np.where(random.random(shape) < 0.8, ill[patient], random.random(shape) < 0.35)
    shared = (0.6 * random.normal(size=(patients, 1)) + 0.8 * random.normal(size=(patients, 3)))[patient]
    own = 0.5 * random.normal(size=(patients, 3))[patient]
    scores = [
        np.round(better * target + shared + part * own + 0.7 * random.normal(size=shape), 1)
        for better, part in ((1.0, 0.0), (1.3, 1.0))
    ]
    return target, patient, scores


@pytest.mark.slow
@pytest.mark.usefixtures("shapes_unchecked")
def test_intervals_of_means_and_of_differences_hold_the_truth_as_often_as_they_say():
    """The large simulation is bench/coverage.py; the standard error of a share is .013 here."""
    target, _, scores = drawn_models(2**31, patients=60_000)
    truth = np.array([[auroc_score(target[:, k], each[:, k]) for k in range(3)] for each in scores])
    gap, held = truth[1] - truth[0], np.zeros((300, 6))
    for seed in range(300):
        target, patient, scores = drawn_models(seed, patients=60)
        labeled = LabeledImages(
            images=[str(row) for row in range(len(patient))],
            patients=[f"{each:03d}" for each in patient],
            targets=target.astype(np.int8),
            findings=FINDINGS,
        )
        models = [
            ScoredImages(model=name, images=labeled.images, scores=each, findings=FINDINGS)
            for name, each in zip(("one", "other"), scores, strict=True)
        ]
        (pair,) = compare(labeled, models, resamples=200, seed=seed).pairs
        ranked = [rank(target[:, k], scores[0][:, k], patient) for k in range(3)]
        few, counts = mean_patients(ranked), resample_counts(60, resamples=200, seed=seed)
        samples = np.mean([weighted_auroc(each, counts) for each in ranked], axis=0)
        mean = auc_contrast(auc_covariance(ranked, num_units=60), np.full(3, 1 / 3))
        shown = (
            (percentile_interval(mean.interval.value, samples, patients=few), truth[0].mean()),
            (auc_interval(mean.interval.value, mean.variance, patients=few), truth[0].mean()),
            (pair.findings[0].auc.difference, gap[0]),
            (pair.findings[0].auc.bootstrap, gap[0]),
            (pair.macro.difference, gap.mean()),
            (pair.macro.bootstrap, gap.mean()),
        )
        held[seed] = [each.low <= true <= each.high for each, true in shown]
    assert np.all(held.mean(axis=0) >= 0.93), held.mean(axis=0)
    assert np.all(held.mean(axis=0) <= 0.98), held.mean(axis=0)


def test_models_without_a_mistake_differ_by_nothing_and_have_no_interval():
    labeled = labeled_images()
    perfect = [
        ScoredImages(model=name, images=labeled.images, scores=scale * labeled.targets, findings=FINDINGS)
        for name, scale in (("one", 0.5), ("other", 0.9))
    ]
    pair = compare(labeled, perfect, resamples=50).pairs[0]
    for difference in (*(each.auc for each in pair.findings), pair.macro):
        assert (difference.baseline_auc, difference.model_auc) == (1.0, 1.0)
        assert difference.difference.value == 0.0
        assert math.isnan(difference.difference.low)
        assert math.isnan(difference.difference.high)
        assert math.isnan(difference.p)


def test_without_a_resample_of_both_classes_there_is_no_p_value():
    labeled = LabeledImages(
        images=["a", "b"], patients=["p", "q"], targets=np.array([[1], [0]], np.int8), findings=FINDINGS[:1]
    )
    models = [
        ScoredImages(model=name, images=["a", "b"], scores=np.array([[a], [0.5]]), findings=FINDINGS[:1])
        for name, a in (("one", 0.4), ("other", 0.6))
    ]
    seed = next(s for s in range(99) if patient_resample(s, np.arange(1), num_patients=2).max() == 2)
    difference = compare(labeled, models, resamples=1, seed=seed).pairs[0].findings[0].auc
    assert difference.difference.value == 1.0
    assert difference.undefined_resamples == 1
    assert math.isnan(difference.bootstrap.low)
    assert math.isnan(difference.p)


def test_p_inverts_the_interval_beside_it_and_one_positive_patient_says_nothing():
    """Twelve patients, one of whom has the finding: twice the share of resamples would be p < .001."""
    labeled = labeled_images(patients=12, findings=FINDINGS[:1])
    labeled.targets[:] = np.array([[name == "p3"] for name in labeled.patients])
    good = ScoredImages(
        model="good", images=labeled.images, scores=1.0 * labeled.targets, findings=FINDINGS[:1]
    )
    bad = replace(good, model="bad", scores=-good.scores)
    pair = compare(labeled, [good, bad], resamples=1000).pairs[0]
    for difference in (pair.findings[0].auc, pair.macro):
        assert difference.difference.value == -1
        assert math.isnan(difference.difference.low)
        assert math.isnan(difference.p)
        assert math.isnan(difference.p_adjusted)


def runs(name, labeled, *, count, skill=1.0, spread=0.0, seed=0):
    random = np.random.default_rng([seed, 99])
    return ScoredRuns(
        model=name,
        runs=tuple(
            model(f"{name}/seed-{k}", labeled, skill=skill + spread * random.normal(), seed=100 * seed + k)
            for k in range(count)
        ),
    )


def test_runs_of_one_recipe_are_compared_as_their_mean():
    labeled = labeled_images(patients=80)
    first, second = runs("a", labeled, count=3, spread=0.6), runs("b", labeled, count=4, spread=0.6, seed=1)
    result = compare(labeled, [first, second], resamples=50)
    (pair,) = result.pairs
    for side, of_pair in ((first, "baseline_auc"), (second, "model_auc")):
        aucs = np.array(
            [[roc_auc_score(labeled.targets[:, k], run.scores[:, k]) for k in range(3)] for run in side.runs]
        )
        assert [getattr(each.auc, of_pair) for each in pair.findings] == pytest.approx(aucs.mean(axis=0))
        assert getattr(pair.macro, of_pair) == pytest.approx(aucs.mean())
        (summary,) = (each for each in result.models if each.model == side.model)
        assert summary.runs == tuple(run.model for run in side.runs)
        assert summary.aucs == pytest.approx(aucs.mean(axis=1))
        assert summary.spread == pytest.approx(np.std(aucs.mean(axis=1), ddof=1))
        assert summary.mean.low < summary.mean.value < summary.mean.high
    alone = [ScoredImages(model=side.model, images=labeled.images, findings=FINDINGS,
                          scores=side.runs[0].scores) for side in (first, second)]  # fmt: skip
    single = compare(labeled, alone, resamples=50)
    assert [each.runs for each in single.models] == [("a",), ("b",)]
    assert all(math.isnan(each.spread) for each in single.models)


def test_the_interval_of_several_runs_holds_their_seeds():
    """The same patients, and runs that differ more: the interval is wider, and p larger."""
    labeled = labeled_images(patients=80)
    widths, p = [], []
    for spread in (0.0, 1.0):
        models = [
            runs("a", labeled, count=4, spread=spread),
            runs("b", labeled, count=4, skill=1.6, spread=spread, seed=1),
        ]
        macro = compare(labeled, models, resamples=20).pairs[0].macro
        widths.append(macro.difference.high - macro.difference.low)
        p.append(macro.p)
        assert macro.bootstrap.low > macro.difference.low or spread == 0
    assert widths[1] > 1.5 * widths[0]
    assert p[1] > p[0]


def one_patient_of(labeled, *columns):
    """The same images, with these findings in those of one patient each."""
    targets = labeled.targets.copy()
    for number, column in enumerate(columns):
        targets[:, column] = [name == f"p{5 + number}" for name in labeled.patients]
    return replace(labeled, targets=targets)


def test_a_finding_of_one_patient_is_in_the_means_of_several_runs_and_named():
    labeled = one_patient_of(labeled_images(patients=60), 2)
    models = [runs("a", labeled, count=2, spread=0.3), runs("b", labeled, count=2, spread=0.3, seed=1)]
    board = rank_models(labeled, models, resamples=20)
    (pair,) = board.comparison.pairs
    for one in board.standings:
        assert one.macro.mean.low < one.macro.mean.value < one.macro.mean.high
        assert math.isnan(one.findings[FINDINGS[2]].mean.low)
        values = [one.findings[finding].mean.value for finding in FINDINGS]
        assert one.macro.mean.value == pytest.approx(np.mean(values))
    assert pair.macro.difference.low < pair.macro.difference.value < pair.macro.difference.high
    assert 0 < pair.macro.p < 1
    assert board.one_patient_note == board.comparison.one_patient_note
    assert board.one_patient_note.startswith(f"Only one patient has, or lacks, {FINDINGS[2].label}: ")
    less = rank_models(labeled_images(patients=60), models, resamples=20)
    assert less.one_patient_note == less.comparison.one_patient_note == ""


def test_means_of_findings_of_one_patient_each_have_no_interval():
    labeled = one_patient_of(labeled_images(patients=40), 0, 1, 2)
    board = rank_models(labeled, [runs("a", labeled, count=2), runs("b", labeled, count=3, seed=1)])
    assert all(one.macro.mean.exists and math.isnan(one.macro.mean.low) for one in board.standings)
    assert math.isnan(board.comparison.pairs[0].macro.p)
    assert "none either" in board.one_patient_note


def test_a_run_given_twice_is_refused():
    labeled = labeled_images()
    run = model("a/seed-0", labeled)
    with pytest.raises(DataError, match=r"^runs a/seed-0 and a/seed-1 of model a have the same scores; give"):
        ScoredRuns(model="a", runs=(run, replace(run, model="a/seed-1")))
    with pytest.raises(DataError, match=r"^model a needs runs of different names; got a/seed-0, a/seed-0$"):
        ScoredRuns(model="a", runs=(run, run))
    with pytest.raises(DataError, match=r"^model a needs runs of different names; got none$"):
        ScoredRuns(model="a", runs=())
