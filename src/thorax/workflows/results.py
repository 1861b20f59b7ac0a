"""Results of `evaluate`, `compare` and `localize`, their context, and how a notebook shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from thorax.arrays import Probabilities, Targets
from thorax.atomic_io import StrPath, refuse_existing
from thorax.bundle import Bundle, Imported
from thorax.datasets.label_pins import pin_labels
from thorax.datasets.splits import Split
from thorax.errors import DataError
from thorax.evaluation.compare import Comparison
from thorax.evaluation.curves import RunRoc
from thorax.evaluation.evaluate import Context, Evaluation
from thorax.evaluation.inputs.join import (
    chosen_on,
    count_official_test,
    is_whole_part,
)
from thorax.evaluation.inputs.prediction_csv import write_predictions
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.localization.scores import Localization, MapFaithfulness
from thorax.evaluation.side_by_side import ModelDecisions
from thorax.evaluation.thresholds import ThresholdSet
from thorax.findings import Findings
from thorax.image_set import ImageSet
from thorax.packages import versions
from thorax.prediction import ModelIdentity
from thorax.reporting.comparison import ComparisonFiles, write_comparison
from thorax.reporting.figure_files import write_figures
from thorax.reporting.gallery import Gallery
from thorax.reporting.localization import write_localization
from thorax.reporting.plotting import FigureKind
from thorax.reporting.report import ReportFiles, write_report
from thorax.reporting.representations import (
    comparison_columns,
    comparison_html,
    evaluation_columns,
    evaluation_html,
    frame,
    localization_columns,
    localization_html,
)
from thorax.reporting.summary import headline
from thorax.store import Store
from thorax.workflows.bundles import WrittenBundle
from thorax.workflows.hit_rates import hit_rates_of, write_with_hit_rates

if TYPE_CHECKING:
    import pandas as pd


__all__ = [
    "ComparisonResult",
    "EvaluationResult",
    "LocalizationResult",
    "context_of",
    "how_made",
    "labeled_findings",
    "pinned",
]


def context_of(
    cohort: LabeledImages,
    split: Split | None,
    part: str,
    *,
    dataset: str,
    model: ModelIdentity,
    made: tuple[tuple[str, str], ...],
    warnings: tuple[str, ...],
) -> Context:
    """Return the context of results on some images; see `Context`."""
    return Context(
        split=split.name if split else "",
        part=part if split else "",
        split_sha256=split.sha256 if split else "",
        images_sha256=chosen_on(split, part, cohort, dataset=dataset).images_sha256,
        dataset=dataset,
        model=model,
        whole_part=split is not None and is_whole_part(split, part, cohort),
        num_official_test=count_official_test(dataset, cohort.patients),
        versions=versions("thorax", "numpy"),
        made=(*made, ("Date", f"{datetime.now(UTC):%Y-%m-%d}")),
        warnings=warnings,
    )


def pinned(context: Context, cohort: LabeledImages) -> Context:
    """Return the context with what identifies the labels that are measured, and what to know of them."""
    labels = pin_labels(cohort.images, cohort.targets, cohort.findings, dataset=context.dataset)
    return replace(context, labels=labels, warnings=(*context.warnings, *labels.warnings()))


def labeled_findings(bundle: Bundle, store: Store) -> Findings:
    """Return the findings that a bundle predicts and a store labels, in the bundle's order.

    Raises:
        DataError: There is none.
    """
    labeled = tuple(finding for finding in bundle.findings if finding in store.table.findings)
    if not labeled:
        raise DataError(
            f"{store.location} labels {', '.join(map(str, store.table.findings))}, and {bundle.folder} "
            "predicts none of these; give a store that labels some of the bundle's findings"
        )
    return labeled


def how_made(bundle: Bundle, store: Store) -> tuple[tuple[str, str], ...]:
    """Return the provenance of the model and its images, as pairs of name and text."""
    lines = []
    for number, member in enumerate(bundle.manifest.members, start=1):
        name = "Net" if len(bundle.manifest.members) == 1 else f"Net {number}"
        origin = member.provenance
        if isinstance(origin, Imported):
            lines.append((name, f"imported: {origin.source}, file sha256 {origin.file_sha256}"))
            continue
        lines += [
            (name, f"recipe {origin.recipe}, sha256 {origin.recipe_sha256}, seed {origin.seed}"),
            (f"{name} trained on", _trained_on(origin.trained_on)),
            (f"{name} chosen as", f"{origin.selected_by}, epoch {origin.epoch}"),
            *([(f"{name} trained by", _programs(origin.versions))] if origin.versions else []),
        ]
    calibration = bundle.manifest.calibration
    if calibration:
        fitted_on = calibration.fitted_on
        lines.append(("Calibration", f"{calibration}, {fitted_on.part} part of {fitted_on.split}"))
    prepared = store.preparation
    lines.append(("Images", f"{prepared.size} pixels, {prepared.fit}; store {store.fingerprint}"))
    return tuple(lines)


def _programs(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{program} {version}" for program, version in versions.items())


def _trained_on(part: ImageSet) -> str:
    return f"{part.part} part of {part.split}, {part.dataset}, {part.num_images:,} images"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class EvaluationResult:
    """The evaluation of a model on one part of a split.

    Attributes:
        evaluation: All numbers, with their intervals.
        context: The context of the numbers: split, part, model, versions, warnings.
        audit: Problems that the audit found, as pairs of severity and text.
        gallery: Examples of each outcome with the model's maps; None if not requested, or without pixels.
        cohort: The images with their labels.
        probabilities: In [0, 1], one row per image, one column per finding of the cohort.
        validation: The validation images that chose thresholds, and their probabilities; None without them.
        training: The curves of the run that made the model, as SVG elements; empty where its log is missing.
    """

    evaluation: Evaluation
    context: Context
    audit: tuple[tuple[str, str], ...]
    gallery: Gallery | None
    cohort: LabeledImages
    probabilities: Probabilities
    validation: tuple[LabeledImages, Float64[np.ndarray, "row k"]] | None = None
    training: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the audit found an error, so that the numbers are not a result until it is resolved."""
        return any(severity == "error" for severity, _ in self.audit)

    @property
    def findings(self) -> Findings:
        """The findings, in the order of the columns."""
        return self.cohort.findings

    @property
    def images(self) -> tuple[str, ...]:
        """The name of each image, in the order of the rows."""
        return tuple(self.cohort.images)

    @property
    def patients(self) -> tuple[str, ...]:
        """The patient of each image."""
        return tuple(self.cohort.patients)

    @property
    def labels(self) -> Targets:
        """The label of each image (rows) and finding (columns): 1 present, 0 absent, others unknown."""
        return self.cohort.targets

    @property
    def thresholds(self) -> ThresholdSet:
        """The thresholds of the first operating point, at which subgroups and examples are shown."""
        return self.evaluation.primary.points

    @property
    def predictions(self) -> "pd.DataFrame":
        """One row per image, with columns image, patient and the probability of each finding by its name.

        Raises:
            MissingExtra: pandas is not installed.

        Example:
            result.predictions.to_csv("predictions.csv", index=False)
        """
        names = [finding.name for finding in self.findings]
        columns = dict(zip(names, self.probabilities.T, strict=True))
        return frame({"image": self.images, "patient": self.patients, **columns})

    def to_frame(self) -> "pd.DataFrame":
        """Return one row per finding; columns "_low" and "_high" are the ends of intervals.

        Sensitivity and the columns after it are at the first operating point; undefined values are NaN.

        Raises:
            MissingExtra: pandas is not installed.

        Example:
            result.to_frame().sort_values("auc")
        """
        return frame(evaluation_columns(self.evaluation))

    def __repr__(self) -> str:
        return f"EvaluationResult({headline(self.evaluation.ranking, self.context)})"

    def _repr_html_(self) -> str:
        return evaluation_html(self.evaluation, self.context, self.audit)

    def write(
        self, out: StrPath, *, figures: Sequence[FigureKind] = (), overwrite: bool = False
    ) -> ReportFiles:
        """Write `metrics.json`, `report.html`, `report.md`, the ROC curves and the predictions into a folder.

        `roc.png` and `roc.svg` show all ROC curves in one picture. `predictions.csv` has the reported images,
        and `validation.csv`, if there are any, the validation images that chose thresholds; `evaluate` and
        `compare` read both.

        Args:
            out: The folder; created if it does not exist.
            figures: Kinds of files, "png", "svg" or "pdf", in which each figure of the report is also written
                to its folder `figures`.
            overwrite: Whether files of an earlier report there may be replaced.

        Raises:
            DataError: `out` is a file, or not empty and `overwrite` is false.

        Example:
            result.write("report", figures=["pdf"])
        """
        folder = Path(out)
        refuse_existing(folder, overwrite=overwrite, folder=True)
        files = write_report(
            self.evaluation,
            self.context,
            out=folder,
            audit=self.audit,
            gallery=self.gallery,
            training=self.training,
        )
        write_predictions(files.predictions, self.cohort, self.probabilities)
        if self.validation is None:
            files.validation.unlink(missing_ok=True)  # of an earlier report
        else:
            write_predictions(files.validation, *self.validation)
        if figures:
            write_figures(self.evaluation, self.context, out=folder / "figures", kinds=figures)
        return files


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ComparisonResult:
    """A comparison of models on the same images.

    Attributes:
        comparison: The differences, with paired intervals and p values.
        contexts: The context of each model's numbers, by its name.
        decisions: Each model's decisions at its own thresholds, by its name.
        curves: The ROC curve of each run and finding.
    """

    comparison: Comparison
    contexts: Mapping[str, Context]
    decisions: Mapping[str, ModelDecisions]
    curves: tuple[RunRoc, ...] = ()

    def to_frame(self) -> "pd.DataFrame":
        """Return the differences, with one row per pair of models and finding.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return frame(comparison_columns(self.comparison))

    def __repr__(self) -> str:
        first, *others = self.comparison.pairs
        difference = f"mean AUC of {first.model} less {first.baseline}: {first.macro.difference}"
        return f"ComparisonResult({difference}{f'; {len(others)} more pairs' if others else ''})"

    def _repr_html_(self) -> str:
        return comparison_html(self.comparison, self.contexts, self.decisions)

    def write(self, out: StrPath, *, overwrite: bool = False) -> ComparisonFiles:
        """Write `comparison.json`, `.md` and `.html` and `classification.csv` into a folder.

        `roc.png`, `roc.svg` and `roc.pdf` show the ROC curves of all models, with a panel for each finding.

        Args:
            out: The folder; created if it does not exist.
            overwrite: Whether files of an earlier comparison there may be replaced.

        Raises:
            DataError: `out` is a file, or not empty and `overwrite` is false.
        """
        folder = Path(out)
        refuse_existing(folder, overwrite=overwrite, folder=True)
        return write_comparison(
            self.comparison, self.contexts, self.decisions, curves=self.curves, out=folder
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LocalizationResult:
    """How well maps point at boxed findings.

    Attributes:
        localization: The results of each method, beside baselines.
        curves: Deletion and insertion of each method; empty if not requested.
        context: The context of the numbers.
        bundle: The bundle whose maps were measured.
        images: The measured images.
    """

    localization: Localization
    curves: tuple[MapFaithfulness, ...]
    context: Context
    bundle: Bundle
    images: ImageSet

    def to_frame(self) -> "pd.DataFrame":
        """Return the results, with one row per kind of map and finding.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return frame(localization_columns(self.localization))

    def __repr__(self) -> str:
        first = self.localization.methods[0]
        return (
            f"LocalizationResult({self.context.where}, {self.localization.num_pairs:,} boxes: "
            f"pointing {first.mean.pointing} by {first.name})"
        )

    def _repr_html_(self) -> str:
        return localization_html(self.localization, self.curves, self.context)

    def write(self, out: StrPath, *, overwrite: bool = False) -> tuple[Path, Path]:
        """Write `localization.json` and `localization.md` into a folder, and return the paths.

        Args:
            out: The folder; created if it does not exist.
            overwrite: Whether files of an earlier localization there may be replaced.

        Raises:
            DataError: `out` is a file, or not empty and `overwrite` is false.
        """
        folder = Path(out)
        refuse_existing(folder, overwrite=overwrite, folder=True)
        return write_localization(self.localization, self.context, out=folder, curves=self.curves)

    def save(self, out: StrPath, *, overwrite: bool = False) -> WrittenBundle:
        """Write a copy of the bundle that says how often its maps point at boxes; the page shows it.

        Args:
            out: The folder of the new bundle.
            overwrite: Whether a bundle there may be replaced.

        Raises:
            DataError: `out` is a file, or the folder of the bundle itself, or not empty and `overwrite` is
                false.
        """
        rates = hit_rates_of(self.localization, self.images)
        return WrittenBundle(write_with_hit_rates(self.bundle, Path(out), rates, overwrite=overwrite))
