"""Models that were trained with the same seeds and measured on the same images, from the best mean AUC down.

The interval of a model holds the patients and the seeds: other patients of the same kind, and other trainings
of the same recipe. Its variance is the sum of both parts, each estimated on its own (`statistics.seeds`), and
not that of a bootstrap over both: with three or five seeds, resampling these gives too small a variance, by
(R - 1) / R, and quantiles of a normal distribution where Student's are two or three times as far out.
`bench/seed_intervals.py` counts how often each of them holds the true mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thorax.errors import DataError
from thorax.evaluation.compare import Comparison, compare_measured
from thorax.evaluation.discrimination import too_few_patients
from thorax.evaluation.labeled_images import LabeledImages, ScoredRuns
from thorax.evaluation.measured_runs import MeasuredRuns, RunsAuc, measure_runs
from thorax.findings import NO_FINDING, Finding, Findings

__all__ = ["Leaderboard", "Standing", "rank_models"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A model on a leaderboard.

    Attributes:
        model: Its name.
        runs: The names of its runs.
        macro: The unweighted mean AUC over the findings of the leaderboard.
        findings: The AUC of each labeled finding that the model predicts.
    """

    model: str
    runs: tuple[str, ...]
    macro: RunsAuc
    findings: Mapping[Finding, RunsAuc]

    @property
    def best_run_excess(self) -> float:
        """How much the best run lies above the mean of all: what reporting the best seed would add."""
        return max(self.macro.aucs) - self.macro.mean.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Models by falling mean AUC; those without one are last.

    Attributes:
        standings: The models.
        comparison: The paired differences of all pairs, or from a baseline; None for one model.
        findings: The findings of the means: without No Finding, those that are defined on these images.
        num_images: The number of images.
        num_patients: The number of patients.
        too_few_patients: That there are too few patients to say anything, as a sentence; otherwise "".
        one_patient_note: Which findings rest on one patient, and what that means, in sentences; otherwise "".
    """

    standings: tuple[Standing, ...]
    comparison: Comparison | None
    findings: Findings
    num_images: int
    num_patients: int
    too_few_patients: str
    one_patient_note: str


def rank_models(
    labeled: LabeledImages,
    models: Sequence[ScoredRuns],
    *,
    baseline: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Leaderboard:
    """Rank models by their mean AUC, and compare them.

    Args:
        labeled: The images; each run must have scored exactly these.
        models: At least one, under different names, which predict the same findings but for No Finding.
        baseline: The model with which the others are compared; None compares all pairs.
        resamples: The number of resamples of the patients.
        seed: The seed of the resamples.

    Raises:
        DataError: Two models predict different findings, so that their means do not compare; or a run has
            scored other images.
    """
    predicted = {model.model: frozenset(model.findings) - {NO_FINDING} for model in models}
    first = next(iter(predicted))
    for name, findings in predicted.items():
        if findings != predicted[first]:
            raise DataError(
                f"{first} predicts {len(predicted[first])} findings and {name} {len(findings)}, or others; "
                "their means do not compare, so list them separately"
            )
    measured = measure_runs(labeled, models, resamples=resamples, seed=seed)
    common = measured.common_findings(list(predicted), labeled.findings)
    standings = [_standing(labeled, model, measured, common) for model in models]
    comparison = None
    if len(models) > 1:
        comparison = compare_measured(labeled, models, measured, baseline=baseline)
    return Leaderboard(
        standings=tuple(sorted(standings, key=_by_falling_auc)),
        comparison=comparison,
        findings=common,
        num_images=len(labeled.images),
        num_patients=measured.num_patients,
        too_few_patients=too_few_patients(labeled.patients_of_findings()),
        one_patient_note=measured.one_patient_note(common),
    )


def _standing(
    labeled: LabeledImages, model: ScoredRuns, measured: MeasuredRuns, common: Findings
) -> Standing:
    return Standing(
        model=model.model,
        runs=tuple(run.model for run in model.runs),
        macro=measured.of_model(model.model, common),
        findings={
            finding: measured.of_model(
                model.model, [finding] if measured.is_defined(model.model, finding) else []
            )
            for finding in labeled.findings
            if finding in model.findings
        },
    )


def _by_falling_auc(standing: Standing) -> tuple[bool, float, str]:
    value = standing.macro.mean.value
    return math.isnan(value), 0.0 if math.isnan(value) else -value, standing.model
