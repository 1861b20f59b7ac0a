"""`metrics.json`: every number of an evaluation, for programs. `docs/metrics.md` defines each key."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from thorax.calibration import Platt, Temperature
from thorax.datasets.label_pins import LabelPins
from thorax.evaluation.calibration.fit import Recalibration
from thorax.evaluation.calibration.measure import CalibrationError, FindingCalibrationError
from thorax.evaluation.classification import Average, Classification, FindingClassification, Measure, Rate
from thorax.evaluation.decision_curves import cost_ratio
from thorax.evaluation.discrimination import Discrimination, FindingDiscrimination
from thorax.evaluation.evaluate import (
    AtOperatingPoint,
    Context,
    Evaluation,
    RadiologistEvaluation,
)
from thorax.evaluation.inputs.metrics_json import METRICS_FORMAT
from thorax.evaluation.prevalence import LabelShift, PredictiveValues, StatedPrevalence
from thorax.evaluation.published_results import PublishedF1, PublishedResult
from thorax.evaluation.statistics.intervals import LEVEL
from thorax.evaluation.statistics.ranking import PARTIAL_RATE
from thorax.evaluation.subgroups import Subgroup, SubgroupFinding
from thorax.findings import Finding
from thorax.image_set import ImageSet
from thorax.reporting.abstention import abstention_json
from thorax.reporting.held_back import held_back_json
from thorax.reporting.net_benefit import net_benefit_json
from thorax.reporting.summary import (
    AuditLines,
    audit_json,
    interval_json,
    measure_json,
    model_json,
    number_json,
    split_json,
)

__all__ = ["labels_json", "metrics"]


def metrics(evaluation: Evaluation, context: Context, *, audit: AuditLines | None = None) -> dict[str, Any]:
    """Return the content of `metrics.json`; undefined values are None, as is an audit that was not made.

    The same evaluation gives the same content but for `history`, which changes with every look.
    """
    ranking = evaluation.ranking
    return {
        "format": METRICS_FORMAT,
        "split": {"where": context.where} | split_json(context),
        "images_sha256": context.images_sha256,
        "labels": labels_json(context.labels),
        "dataset": context.dataset,
        "num_images": ranking.num_images,
        "num_patients": ranking.num_patients,
        "num_nih_official_test": context.num_official_test,
        "test_tuned": evaluation.test_tuned,
        "audit": None if audit is None else audit_json(audit),
        "input_gate": held_back_json(evaluation),
        "model": model_json(context),
        "intervals": {
            "method": "bias-corrected percentile bootstrap, widened for few patients",
            "method_of_aucs": "score and logit interval with DeLong's variance and Student's quantile",
            "method_of_average_precision": "logit interval by infinitesimal jackknife, Student's quantile",
            "method_of_shares": "Wilson, for the number of independent images",
            "unit": "patient",
            "level": LEVEL,
            "resamples": ranking.resamples,
            "seed": ranking.seed,
        },
        "findings": {result.finding.name: _ranked(result) for result in ranking.findings},
        "macro": _macro(ranking),
        "micro": {
            "auc": interval_json(ranking.micro_auc),
            "partial_auc": interval_json(ranking.micro_partial_auc),
            "average_precision": interval_json(ranking.micro_average_precision),
        },
        "operating_points": [_at_point(point) for point in evaluation.points],
        "calibration": {
            "findings": {
                finding.finding.name: _calibration(finding, shift)
                for finding, shift in zip(evaluation.calibration.findings, evaluation.shift, strict=True)
            },
            "macro": _macro_calibration(evaluation.calibration),
            "prevalence_in_training": _stated(evaluation.trained),
            "recalibrated": [_recalibrated(how, error) for how, error in evaluation.recalibrated],
            "not_recalibrated": evaluation.not_recalibrated or None,
        },
        "decision_curves": net_benefit_json(evaluation.decision_curves),
        "abstention": abstention_json(evaluation),
        "subgroups": [_subgroup(group) for group in evaluation.subgroups],
        "radiologists": evaluation.radiologists and _radiologists(evaluation.radiologists),
        "published": {
            "split_kind": evaluation.published.split,
            "results": [_published(result) for result in evaluation.published.results],
            "pneumonia_f1": [_published_f1(result) for result in evaluation.published_f1],
        },
        "made": dict(context.made),
        "warnings": list(context.warnings),
        "versions": dict(context.versions),
        "history": context.history and context.history.as_json(),
    }


def labels_json(labels: LabelPins | None) -> dict[str, Any] | None:
    """Return what identifies the labels; None where they are not known."""
    if labels is None:
        return None
    published = labels.published
    return {
        "sha256": labels.sha256,
        "num_cells": labels.num_cells,
        "num_unknown": labels.num_unknown,
        "findings": dict(labels.findings),
        "published": published
        and {
            "stated": str(published),
            "version": published.version,
            "num_images": published.num_images,
            "num_cells": published.num_cells,
            "num_differing": published.num_differing,
            "differing": dict(published.differing),
            "examples": list(published.examples),
        },
    }


def _ranked(result: FindingDiscrimination) -> dict[str, Any]:
    return {
        "num_known": result.num_known,
        "num_positive": result.num_positive,
        "auc": interval_json(result.auc),
        "auc_bootstrap": interval_json(result.auc_bootstrap),
        "partial_auc": interval_json(result.partial_auc),
        "average_precision": interval_json(result.average_precision),
        "average_precision_bootstrap": interval_json(result.average_precision_bootstrap),
        "undefined_resamples": result.undefined_resamples,
    }


def _macro(ranking: Discrimination) -> dict[str, Any]:
    return {
        "auc": interval_json(ranking.macro_auc),
        "auc_bootstrap": interval_json(ranking.macro_auc_bootstrap),
        "partial_auc": interval_json(ranking.macro_partial_auc),
        "partial_auc_up_to": PARTIAL_RATE,
        "average_precision": interval_json(ranking.macro_average_precision),
        "average_precision_bootstrap": interval_json(ranking.macro_average_precision_bootstrap),
        "num_findings": ranking.num_findings,
        "incomplete_resamples": ranking.incomplete_resamples,
    }


def _at_point(point: AtOperatingPoint) -> dict[str, Any]:
    points = point.points
    return {
        "name": points.name,
        "rule": points.rule,
        "origin": points.origin,
        "chosen_on": points.chosen_on and _images(points.chosen_on),
        "test_tuned": points.test_tuned,
        **_classification(point.classification),
        "thresholds": {
            finding.name: threshold
            for finding, threshold in zip(points.findings, points.thresholds, strict=True)
        },
        "cost_ratios": {
            finding.name: None if threshold is None else number_json(cost_ratio(threshold))
            for finding, threshold in zip(points.findings, points.thresholds, strict=True)
        },
        "predictive_values": {
            finding.name: values and _predictive(values)
            for finding, values in zip(points.findings, point.predictive_values, strict=True)
        },
    }


def _classification(measured: Classification) -> dict[str, Any]:
    return {
        "findings": {finding.finding.name: _decisions(finding) for finding in measured.findings},
        "averages": _averages(measured.averages),
        "zero_averages": _averages(measured.zero_averages),
        "support": measured.support,
        "exact_match": measure_json(measured.exact_match),
        "hamming_loss": measure_json(measured.hamming_loss),
    }


def _averages(averages: Mapping[Average, Mapping[Rate, Measure]]) -> dict[str, Any]:
    return {
        average: {rate: measure_json(measure) for rate, measure in rates.items()}
        for average, rates in averages.items()
    }


def _decisions(result: FindingClassification) -> dict[str, Any]:
    return {
        "confusion": asdict(result.confusion),
        **{rate: measure_json(measure) for rate, measure in result.rates.items()},
    }


def _predictive(values: PredictiveValues) -> dict[str, Any]:
    return {
        "prevalence": values.prevalence,
        "ppv": interval_json(values.ppv),
        "npv": interval_json(values.npv),
        "undefined_resamples": values.undefined_resamples,
    }


def _calibration(finding: FindingCalibrationError, shift: LabelShift | None) -> dict[str, Any]:
    return {
        "num_known": finding.num_known,
        "share_positive": interval_json(finding.share_positive),
        "mean_probability": interval_json(finding.mean_probability),
        "brier": interval_json(finding.brier),
        "brier_parts": {name: number_json(value) for name, value in asdict(finding.decomposition).items()},
        "ece": interval_json(finding.ece),
        "reliability": _reliability(finding),
        "estimated_prevalence": shift
        and {**interval_json(shift.prevalence), "undefined": shift.undefined or None},
    }


def _reliability(finding: FindingCalibrationError) -> list[dict[str, Any]]:
    return [
        {
            "low": bin_.low,
            "high": bin_.high,
            "num_images": bin_.num_images,
            "num_patients": bin_.num_patients,
            "mean_probability": bin_.mean_probability,
            "share_positive": interval_json(bin_.share_positive),
        }
        for bin_ in finding.curve
    ]


def _macro_calibration(error: CalibrationError) -> dict[str, Any]:
    return {
        "brier": interval_json(error.macro_brier),
        "ece": interval_json(error.macro_ece),
        "num_findings": error.num_findings,
    }


def _recalibrated(how: Recalibration, error: CalibrationError) -> dict[str, Any]:
    calibration = how.calibration
    return {
        "name": how.name,
        "kind": calibration.kind if calibration else "none",
        "fitted_on": calibration and _images(calibration.fitted_on),
        "test_tuned": how.test_tuned,
        "temperature": calibration.temperature if isinstance(calibration, Temperature) else None,
        "platt": _platt(calibration) if isinstance(calibration, Platt) else None,
        "findings": {
            finding.finding.name: {
                "brier": interval_json(finding.brier),
                "ece": interval_json(finding.ece),
                "reliability": _reliability(finding),
            }
            for finding in error.findings
        },
        "macro": _macro_calibration(error),
    }


def _platt(calibration: Platt) -> dict[str, Any]:
    return {
        name: {
            "slope": slope,
            "intercept": calibration.intercepts[name],
            "kept": calibration.kept.get(name, ""),
        }
        for name, slope in calibration.slopes.items()
    }


def _images(images: ImageSet) -> dict[str, Any]:
    """Return an image set without its data set, which `metrics.json` names once."""
    return images.model_dump(exclude={"dataset"})


def _stated(prevalence: Mapping[Finding, StatedPrevalence]) -> dict[str, Any]:
    return {finding.name: asdict(stated) for finding, stated in prevalence.items()}


def _subgroup(group: Subgroup) -> dict[str, Any]:
    return {
        "axis": group.axis,
        "group": group.name,
        "num_images": group.num_images,
        "num_patients": group.num_patients,
        "macro_auc": interval_json(group.macro_auc),
        "macro_auc_gap": interval_json(group.macro_auc_gap),
        "num_findings": group.num_findings,
        "gaps": {"correction": "Bonferroni", **asdict(group.gaps)},
        "findings": {finding.finding.name: _subgroup_finding(finding) for finding in group.findings},
    }


def _subgroup_finding(finding: SubgroupFinding) -> dict[str, Any]:
    intervals = ("auc", "auc_gap", "sensitivity", "sensitivity_gap")
    return {
        "num_known": finding.num_known,
        "num_positive": finding.num_positive,
        "num_positive_patients": finding.num_positive_patients,
        **{name: interval_json(getattr(finding, name)) for name in intervals},
    }


def _radiologists(radiologists: RadiologistEvaluation) -> dict[str, Any]:
    reference = radiologists.reference
    return {
        "num_images": reference.num_covered,
        "num_not_covered": reference.num_not_covered,
        "operating_point": radiologists.points.name,
        "test_tuned": radiologists.points.test_tuned,
        "scored_by": {
            finding.name: [source.name for source in scored_by]
            for finding, scored_by in zip(reference.findings, reference.scored_by, strict=True)
        },
        "our_mapping": [finding.name for finding in reference.mapped],
        "not_scored": {unscored.finding.name: unscored.reason for unscored in reference.unscored},
        "findings": radiologists.ranking
        and {ranked.finding.name: _ranked(ranked) for ranked in radiologists.ranking.findings},
        "at_operating_point": radiologists.classification
        and {
            decisions.finding.name: _decisions(decisions)
            for decisions in radiologists.classification.findings
        },
    }


def _published(result: PublishedResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "split": result.split,
        "auc": interval_json(result.auc),
        "source": result.source,
        "grade": result.grade,
        "remark": result.remark,
        "findings": {finding.name: auc for finding, auc in result.by_finding.items()},
    }


def _published_f1(result: PublishedF1) -> dict[str, Any]:
    return {
        "reader": result.reader,
        "f1": interval_json(result.f1),
        "num_images": result.num_images,
        "source": result.source,
        "grade": result.grade,
        "differs": list(result.differs),
    }
