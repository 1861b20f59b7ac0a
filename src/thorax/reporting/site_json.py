"""`site.json`: calibration at a site, for programs."""

import math
from typing import Any, Final

from thorax.evaluation.calibration.site import FindingAtSite, SiteMeasurement
from thorax.evaluation.evaluate import Context
from thorax.evaluation.statistics.intervals import LEVEL, Interval
from thorax.reporting.metrics import labels_json
from thorax.reporting.summary import AuditLines, audit_json

__all__ = ["SITE_FORMAT", "finite", "site_json"]

SITE_FORMAT: Final = "thorax-site/1"
"""The layout of `site.json`; the number increases when the meaning of a key changes."""


def site_json(
    name: str, measurement: SiteMeasurement, context: Context, audit: AuditLines | None
) -> dict[str, Any]:
    """Return the content of `site.json`; undefined and infinite values are None."""
    return {
        "format": SITE_FORMAT,
        "site": name,
        "split": {
            "name": context.split or None,
            "part": context.part or None,
            "sha256": context.split_sha256 or None,
            "whole_part": context.whole_part,
        },
        "images_sha256": context.images_sha256,
        "labels": labels_json(context.labels),
        "dataset": context.dataset,
        "num_images": measurement.num_images,
        "num_patients": measurement.num_patients,
        "num_nih_official_test": context.num_official_test,
        "audit": None if audit is None else audit_json(audit),
        "model": {
            "name": context.model.name,
            "bundle_sha256": context.model.bundle_sha256,
            "calibrated": context.model.calibrated,
        },
        "intervals": {"unit": "patient", "level": LEVEL},
        "adjust": measurement.rule,
        "mean_log_loss_change": _interval(measurement.mean_log_loss_change),
        "findings": {one.finding.name: _finding_json(one) for one in measurement.findings},
        "curve": {
            "missing": measurement.no_curve or None,
            "repetitions": measurement.repetitions,
            "seed": measurement.seed,
            "patients_needed": measurement.patients_needed,
            "points": [
                {
                    "adjust": point.rule,
                    "num_patients": point.num_patients,
                    "log_loss_change": _interval(point.change),
                    "share_better": point.share_better,
                }
                for point in measurement.curve
            ],
        },
        "made": dict(context.made),
        "warnings": list(context.warnings),
        "versions": dict(context.versions),
        "history": context.history and context.history.as_json(),
    }


def finite(number: float) -> float | None:
    """Return a number; None for what JSON cannot hold."""
    return number if math.isfinite(number) else None


def _finding_json(one: FindingAtSite) -> dict[str, Any]:
    return {
        "num_known": one.num_known,
        "num_positive": one.num_positive,
        "positive_patients": one.positive_patients,
        "negative_patients": one.negative_patients,
        "expected": one.expected,
        "observed_expected": _interval(one.observed_expected),
        "in_the_large": _interval(one.in_the_large),
        "slope": _interval(one.slope),
        "not_said": list(one.not_said),
        "adjustment": {
            "kind": one.adjustment.kind,
            "intercept": one.adjustment.intercept,
            "slope": one.adjustment.slope,
            "reason": one.adjustment.reason,
        },
        "log_loss_before": finite(one.log_loss_before),
        "log_loss_change": _interval(one.log_loss_change),
    }


def _interval(interval: Interval) -> dict[str, float | None]:
    ends = (interval.value, interval.low, interval.high)
    return {name: finite(end) for name, end in zip(("value", "low", "high"), ends, strict=True)}
