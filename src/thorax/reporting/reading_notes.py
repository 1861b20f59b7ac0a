"""Notes beside the tables of evaluations and comparisons: rules, each "n/a", and warnings."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final

from thorax.evaluation.evaluate import Context, Evaluation
from thorax.findings import Finding
from thorax.reporting.held_back import held_back_headline
from thorax.reporting.summary import AuditLines, audit_headline

__all__ = ["reading_notes", "shared_notes"]

_RULES: Final = {
    "f1-optimal": "the thresholds with the highest F1",
    "youden": "the thresholds with the highest sum of sensitivity and specificity",
    "one-half": "0.5 for every finding",
}


def reading_notes(evaluation: Evaluation, audit: AuditLines) -> Iterator[str]:
    """Yield sentences without their periods: how to read the summary's tables, and what the audit found."""
    if evaluation.ranking.too_few_patients:  # only the ranking is shown
        yield from _about_all(evaluation, audit)
        return
    points = evaluation.primary.points
    if meaning := _rule_meaning(points.rule):
        yield f"{points.rule}: {meaning}"
    yield "All negative: the accuracy of calling nothing positive"
    ranked = evaluation.ranking.findings
    one_class = [result.finding for result in ranked if not result.auc.exists]
    if one_class:
        yield f"AUC n/a: {_listed(one_class)}, all positive or all negative; the mean leaves it out"
    few = [result.finding for result in ranked if result.auc.exists and math.isnan(result.auc.low)]
    if few:
        yield f"interval n/a: {_listed(few)}, with too few patients for one"
    without = [
        finding
        for finding, threshold in zip(points.findings, points.thresholds, strict=True)
        if threshold is None
    ]
    if without:
        yield f"threshold n/a: {_listed(without)}, for which none could be chosen"
    yield from _about_all(evaluation, audit)


def _about_all(evaluation: Evaluation, audit: AuditLines) -> Iterator[str]:
    """Yield what concerns every number: what the input gate would hold back, and the audit."""
    if gate := held_back_headline(evaluation):
        yield gate
    yield audit_headline(audit)


def _rule_meaning(rule: str) -> str:
    """Return what a rule for thresholds means, or "" for a user's own."""
    match = re.fullmatch(r"(sensitivity|specificity)-([\d.]+)", rule)
    if match is None:
        return _RULES.get(rule, "")
    kind, share = match.groups()
    other = "specificity" if kind == "sensitivity" else "sensitivity"
    return f"the thresholds with the highest {other} among those with a {kind} of at least {share} %"


def _listed(findings: list[Finding]) -> str:
    return ", ".join(finding.label for finding in findings)


def shared_notes(contexts: Mapping[str, Context]) -> list[str]:
    """Return the warnings of several models, each once, with the models' names unless it is of all."""
    models: dict[str, list[str]] = {}
    for name, context in contexts.items():
        for warning in context.notes:
            models.setdefault(warning, []).append(name)
    return [
        text if len(names) == len(contexts) else f"{', '.join(names)}: {text}"
        for text, names in models.items()
    ]
