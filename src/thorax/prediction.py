"""Predictions of a model for one radiograph."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from thorax.errors import DataError
from thorax.findings import Finding, Findings, find_finding
from thorax.notebook import notes, page, probability_bar, shortened, table
from thorax.packages import missing_extras_named
from thorax.quoting import visible
from thorax.wording import percent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Decision", "FindingPrediction", "ModelIdentity", "Prediction"]

_SHOWN: Final = 3
"""Number of findings in the `repr`; a notebook shows all."""


Decision = Literal["yes", "no", "not decided"]
"""The answer to whether a radiograph has a finding."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Identity of a model: enough to find the run that trained it.

    Attributes:
        name: The recipe's name.
        bundle_sha256: SHA-256 of the bundle's manifest.
        calibrated: Whether the probabilities are calibrated, with a calibration fitted to this pipeline.
        statement: What it says of itself wherever it speaks, such as what it is not for; "" for most models.
    """

    name: str
    bundle_sha256: str
    calibrated: bool
    statement: str = ""


@dataclass(frozen=True, slots=True)
class FindingPrediction:
    """The prediction of one finding for one radiograph.

    Attributes:
        finding: The finding.
        probability: Probability in [0, 1].
        threshold: The operating point's threshold; None if the bundle has none for this finding.
        prevalence: The share of training images with the finding, where the bundle states it. The probability
            holds for images among which the finding is as frequent.
        undecided: Lowest and highest probability at which nothing is decided; None if the model has no band
            for the finding. If they are equal, every probability is decided.
    """

    finding: Finding
    probability: float
    threshold: float | None
    prevalence: float | None = None
    undecided: tuple[float, float] | None = None

    @property
    def positive(self) -> bool | None:
        """Whether the probability reaches the threshold, also where nothing is decided; None without one."""
        return None if self.threshold is None else self.probability >= self.threshold

    @property
    def decision(self) -> Decision | None:
        """The answer of the threshold, or "not decided" where the band does not allow one.

        None without a threshold. A finding without a band is always decided.
        """
        if self.positive is None:
            return None
        low, high = self.undecided or (0.0, 0.0)
        if low < high and low <= self.probability <= high:
            return "not decided"
        return "yes" if self.positive else "no"

    @property
    def undecided_text(self) -> str:
        """Where nothing is decided, formatted for people."""
        if self.undecided is None:
            return "no band"
        low, high = self.undecided
        return f"{percent(low)} to {percent(high)}" if low < high else "never"

    def as_texts(self) -> tuple[str, str, str, str]:
        """Return label, probability, threshold and decision, formatted for people."""
        return (
            self.finding.label,
            percent(self.probability),
            "n/a" if self.threshold is None else percent(self.threshold),
            self.decision or "n/a",
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON; `undecided` and the prevalence only if they are known."""
        values: dict[str, Any] = {
            "probability": self.probability,
            "threshold": self.threshold,
            "positive": self.positive,
            "decision": self.decision,
        }
        if self.undecided is not None:
            values["undecided"] = list(self.undecided)
        return values if self.prevalence is None else values | {"prevalence": self.prevalence}


@dataclass(frozen=True, slots=True, repr=False)
class Prediction:
    """The predictions of all findings for one radiograph.

    `prediction["Effusion"]` is one of them; index by name, by another spelling, or by `Finding`.

    Attributes:
        source: Path or name of the radiograph, as given.
        findings: One entry per finding, in the model's order.
        operating_point: Name of the rule that chose the thresholds; "" without thresholds.
        model: The model.
        warnings: What a reader must know, for example that the view is lateral.
        promise: What the bands in which nothing is decided mean, and for which patients it holds, as
            sentences; "" if the model has no bands.
    """

    source: str
    findings: tuple[FindingPrediction, ...]
    operating_point: str
    model: ModelIdentity
    warnings: tuple[str, ...] = ()
    promise: str = ""

    def __getitem__(self, finding: str | Finding) -> FindingPrediction:
        """Return one finding.

        Args:
            finding: Its name, its label, a public data set's spelling, or the `Finding` itself.

        Raises:
            DataError: The model does not predict it; the message lists the closest names.

        Example:
            prediction = model.predict("chest.png")
            prediction["Effusion"].probability
            prediction["pleural thickening"].positive
        """
        wanted = find_finding(finding) or finding if isinstance(finding, str) else finding
        for predicted in self.findings:
            if wanted in {predicted.finding, predicted.finding.name, predicted.finding.label}:
                return predicted
        names = [predicted.finding.name for predicted in self.findings]
        near = difflib.get_close_matches(str(finding), names, n=3)
        advice = f"did you mean {', '.join(near)}?" if near else f"it predicts {', '.join(names)}"
        raise DataError(f"the model {self.model.name} does not predict {str(finding)!r}; {advice}")

    def only(self, findings: Findings) -> "Prediction":
        """Return the prediction of some of its findings, in their order."""
        predicted = {entry.finding: entry for entry in self.findings}
        return replace(self, findings=tuple(predicted[finding] for finding in findings))

    def __iter__(self) -> Iterator[FindingPrediction]:
        return iter(self.findings)

    def __contains__(self, finding: object) -> bool:
        """Return whether the model predicts a finding, by any of its names; or whether one of these is it."""
        if isinstance(finding, FindingPrediction):
            return finding in self.findings
        try:
            return isinstance(finding, str | Finding) and self[finding] is not None
        except DataError:
            return False

    def __len__(self) -> int:
        return len(self.findings)

    def ranked(self) -> list[FindingPrediction]:
        """Return the findings, most probable first."""
        return sorted(self.findings, key=lambda predicted: -predicted.probability)

    @property
    def states_prevalence(self) -> bool:
        """Whether any finding has the prevalence at which its probability holds."""
        return any(predicted.prevalence is not None for predicted in self.findings)

    def as_table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return the header and one row per finding, most probable first, formatted for people.

        Where the model has bands, or states prevalences, they are the last columns.
        """
        header: tuple[str, ...] = ("Finding", "Probability", "Threshold", "Decision")
        rows: list[tuple[str, ...]] = [predicted.as_texts() for predicted in self.ranked()]
        if self.promise:
            header = (*header, "Not decided")
            bands = [predicted.undecided_text for predicted in self.ranked()]
            rows = [(*row, band) for row, band in zip(rows, bands, strict=True)]
        if self.states_prevalence:
            header = (*header, "Prevalence")
            stated = [predicted.prevalence for predicted in self.ranked()]
            shares = ["n/a" if share is None else percent(share) for share in stated]
            rows = [(*row, share) for row, share in zip(rows, shares, strict=True)]
        return header, rows

    def as_line(self) -> str:
        """Return what is positive and what is not decided, most probable first, and the warnings, in a line.

        Without a positive finding, and for a model without thresholds, it has the most probable one.
        """
        ranked = self.ranked()

        def named(entries: list[FindingPrediction]) -> str:
            return ", ".join(f"{entry.finding.label} {percent(entry.probability)}" for entry in entries)

        positive = named([entry for entry in ranked if entry.decision == "yes"])
        undecided = named([entry for entry in ranked if entry.decision == "not decided"])
        if not any(entry.threshold is not None for entry in ranked):
            first = f"no thresholds; most probable {named(ranked[:1])}"
        else:
            first = positive or ("" if undecided else f"none positive; most probable {named(ranked[:1])}")
        parts = [first, f"not decided: {undecided}" if undecided else ""]
        parts += [f"warning: {warning}" for warning in self.warnings]
        return visible("; ".join(filter(None, parts)))

    def to_frame(self) -> "pd.DataFrame":
        """Return a table with one row per finding, in the model's order.

        Returns:
            Columns source, finding (its name), probability, threshold (NaN if there is none), positive (None
            without a threshold) and decision (missing without one).

        Raises:
            MissingExtra: pandas is not installed.

        Example:
            table = prediction.to_frame()
        """
        with missing_extras_named("a table of a prediction"):
            import pandas as pd  # noqa: PLC0415  (0.4 s, and missing from the base installation)
        columns = {
            "source": [self.source for _ in self.findings],
            "finding": [predicted.finding.name for predicted in self.findings],
            "probability": [predicted.probability for predicted in self.findings],
            "threshold": [predicted.threshold for predicted in self.findings],
            "positive": [predicted.positive for predicted in self.findings],
            "decision": [predicted.decision for predicted in self.findings],
        }
        return pd.DataFrame(columns).astype({"threshold": float})

    def __repr__(self) -> str:
        first = [
            f"{predicted.finding.label} {percent(predicted.probability)}"
            + {"yes": " (positive)", "not decided": " (not decided)"}.get(predicted.decision or "", "")
            for predicted in self.ranked()[:_SHOWN]
        ]
        others = [f"{len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        stated = f"; {self.model.statement}" if self.model.statement else ""
        return f"Prediction({shortened(self.source)!r}: {', '.join([*first, *others])}{stated})"

    @property
    def missing_thresholds(self) -> str:
        """Why the thresholds of some findings are n/a; empty if none of them is."""
        if self.operating_point and any(entry.threshold is None for entry in self.findings):
            return "n/a: no threshold could be chosen on validation, which usually has too few positives."
        return ""

    def _repr_html_(self) -> str:
        header, texts = self.as_table()
        rows = []
        for predicted, (label, probability, *others) in zip(self.ranked(), texts, strict=True):
            bar = probability_bar(predicted.probability, predicted.threshold)
            rows.append((label, probability, bar, *others))
        columns = [name.capitalize() for name in header]
        calibrated = "calibrated" if self.model.calibrated else "not calibrated"
        chosen = f", thresholds by {self.operating_point}" if self.operating_point else ", no thresholds"
        return page(
            self.source,
            table((*columns[:2], "", *columns[2:]), rows),
            notes(
                [
                    *([f"This is a {self.model.statement}."] if self.model.statement else []),
                    f"Model {self.model.name}, {calibrated}{chosen}.",
                    self.missing_thresholds,
                    *([self.promise] if self.promise else []),
                    *(f"Note: {text}." for text in self.warnings),
                ]
            ),
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON, keyed by finding name.

        The model's statement, the prevalences, and the bands with their promise are there only if it has
        them.
        """
        return {
            "source": self.source,
            "findings": {predicted.finding.name: predicted.as_json() for predicted in self.findings},
            "operating_point": self.operating_point,
            "model": {
                "name": self.model.name,
                "bundle_sha256": self.model.bundle_sha256,
                "calibrated": self.model.calibrated,
                **({"statement": self.model.statement} if self.model.statement else {}),
            },
            "warnings": list(self.warnings),
            **({"promise": self.promise} if self.promise else {}),
        }
