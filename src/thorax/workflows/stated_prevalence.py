"""The prevalence of findings that a user states for predictive values."""

from collections.abc import Mapping

from thorax.errors import DataError
from thorax.evaluation.prevalence import StatedPrevalence
from thorax.findings import Finding, Findings, finding_or_new

__all__ = ["Prevalence", "among", "stated_prevalence"]

Prevalence = Mapping[str, float] | Mapping[Finding, float]
"""Prevalence in [0, 1], by finding or its name."""


def stated_prevalence(prevalence: Prevalence | None) -> dict[Finding, StatedPrevalence]:
    """Return prevalences by finding, with their origin.

    Raises:
        DataError: One is not in [0, 1].
    """
    stated = {}
    for finding, value in (prevalence or {}).items():
        if not 0 <= value <= 1:
            raise DataError(f"`prevalence` of {finding} is {value}; give a share between 0 and 1")
        name = finding if isinstance(finding, Finding) else finding_or_new(finding)
        stated[name] = StatedPrevalence(value, "stated by the user")
    return stated


def among(
    stated: Mapping[Finding, StatedPrevalence], findings: Findings
) -> Mapping[Finding, StatedPrevalence]:
    """Return the stated prevalences, all of which must be of evaluated findings."""
    for finding in stated:
        if finding not in findings:
            known = ", ".join(map(str, findings))
            raise DataError(f"`prevalence` has {finding}, which is not evaluated; choose from {known}")
    return stated
