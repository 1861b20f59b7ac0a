"""`site.json`: calibration at a site, for programs."""

from typing import Any, Final

from thorax.evaluation.calibration.site import FindingAtSite, SiteMeasurement
from thorax.evaluation.evaluate import Context
from thorax.evaluation.statistics.intervals import LEVEL
from thorax.reporting.metrics import labels_json
from thorax.reporting.summary import (
    AuditLines,
    audit_json,
    interval_json,
    model_json,
    number_json,
    split_json,
)

__all__ = ["SITE_FORMAT", "site_json"]

SITE_FORMAT: Final = "thorax-site/1"
"""The layout of `site.json`; the number increases when the meaning of a key changes."""


def site_json(
    name: str, measurement: SiteMeasurement, context: Context, audit: AuditLines | None
) -> dict[str, Any]:
    """Return the content of `site.json`; undefined and infinite values are None."""
    return {
        "format": SITE_FORMAT,
        "site": name,
        "split": split_json(context),
        "images_sha256": context.images_sha256,
        "labels": labels_json(context.labels),
        "dataset": context.dataset,
        "num_images": measurement.num_images,
        "num_patients": measurement.num_patients,
        "num_nih_official_test": context.num_official_test,
        "audit": None if audit is None else audit_json(audit),
        "model": model_json(context),
        "intervals": {"unit": "patient", "level": LEVEL},
        "adjust": measurement.rule,
        "mean_log_loss_change": interval_json(measurement.mean_log_loss_change),
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
                    "log_loss_change": interval_json(point.change),
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


def _finding_json(one: FindingAtSite) -> dict[str, Any]:
    return {
        "num_known": one.num_known,
        "num_positive": one.num_positive,
        "positive_patients": one.positive_patients,
        "negative_patients": one.negative_patients,
        "expected": one.expected,
        "observed_expected": interval_json(one.observed_expected),
        "in_the_large": interval_json(one.in_the_large),
        "slope": interval_json(one.slope),
        "not_said": list(one.not_said),
        "adjustment": {
            "kind": one.adjustment.kind,
            "intercept": one.adjustment.intercept,
            "slope": one.adjustment.slope,
            "reason": one.adjustment.reason,
        },
        "log_loss_before": number_json(one.log_loss_before),
        "log_loss_change": interval_json(one.log_loss_change),
    }
