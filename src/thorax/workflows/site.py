"""`site`: whether a model's probabilities hold at another site, and what adjusts them there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from thorax.arrays import Probabilities
from thorax.atomic_io import StrPath, refuse_existing
from thorax.bundle import Bundle, new_bundle_folder, refuse_seen_images, refuse_seen_patients
from thorax.bundle.image_prints import image_prints
from thorax.bundle.sites import patients_of_site, site_calibration, write_with_site
from thorax.errors import DataError, RecipeError
from thorax.evaluation.calibration.adjust import AdjustmentRule
from thorax.evaluation.calibration.site import SiteMeasurement, measure_site
from thorax.evaluation.evaluate import Context
from thorax.evaluation.inputs.join import chosen_on, labeled_images
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.looks import described
from thorax.findings import select_findings
from thorax.image_set import ImageSet
from thorax.inference.engines import check_engine, describe_engine, open_predictor
from thorax.progress import ProgressCallback, stage_progress
from thorax.recipe.literals import EngineName
from thorax.reporting.representations import frame
from thorax.reporting.site import SiteFiles, site_columns, site_html, site_title, write_site
from thorax.store import Store
from thorax.workflows.audit import audit_bundle, audit_file
from thorax.workflows.bundles import WrittenBundle
from thorax.workflows.caveats import noted, unknown_training
from thorax.workflows.prediction_files import has_predictions, read_part
from thorax.workflows.predictions import (
    BundleLike,
    PartPredictions,
    PartSelection,
    StoreLike,
    labels_of,
    opened_bundle,
    opened_data,
    opened_store,
    predict_part,
    select_part,
)
from thorax.workflows.results import context_of, how_made, labeled_findings, pinned

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SiteResult", "site"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SiteResult:
    """A model's probabilities at a site.

    Attributes:
        name: Name of the site.
        measurement: Calibration of each finding, its adjustment, and how many patients that takes.
        context: The context of the numbers.
        audit: Problems that the audit found, as pairs of severity and text; None if no split was named for a
            bundle, so that there was nothing to audit.
        cohort: The site's images with their labels.
        bundle: The bundle; None for a CSV of probabilities.
    """

    name: str
    measurement: SiteMeasurement
    context: Context
    audit: tuple[tuple[str, str], ...] | None
    cohort: LabeledImages
    bundle: Bundle | None

    @property
    def failed(self) -> bool:
        """Whether the audit found an error, so that the numbers are not a result until it is resolved."""
        return any(severity == "error" for severity, _ in self.audit or ())

    def to_frame(self) -> "pd.DataFrame":
        """Return one row per finding; columns "_low" and "_high" are the ends of intervals.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return frame(site_columns(self.measurement))

    def __repr__(self) -> str:
        return f"SiteResult({site_title(self.name, self.measurement, self.context)})"

    def _repr_html_(self) -> str:
        return site_html(self.name, self.measurement, self.context, self.audit)

    def write(self, out: StrPath, *, overwrite: bool = False) -> SiteFiles:
        """Write `site.json`, `.csv`, `.md`, `.html` and, if there is a curve, `.svg` into a folder.

        Args:
            out: The folder; created if it does not exist.
            overwrite: Whether files of an earlier result there may be replaced.

        Raises:
            DataError: `out` is a file, or not empty and `overwrite` is false.
        """
        folder = Path(out)
        refuse_existing(folder, overwrite=overwrite, folder=True)
        return write_site(self.name, self.measurement, self.context, out=folder, audit=self.audit)

    def save(self, out: StrPath, *, overwrite: bool = False) -> WrittenBundle:
        """Write a copy of the bundle that also has this site's calibration, for `load(..., site=...)`.

        Decisions stay as they were: thresholds move with the probabilities. The site's patients are
        remembered, and the copy refuses to be evaluated on them.

        Args:
            out: Folder of the copy.
            overwrite: Whether an existing bundle there may be replaced.

        Raises:
            DataError: The model is a CSV, no finding is adjusted, only some findings were measured, or `out`
                holds something else.
        """
        if self.bundle is None:
            raise DataError(
                "the model is a CSV of probabilities; only a bundle can keep a site's calibration"
            )
        adjustments = {one.finding.name: one.adjustment for one in self.measurement.findings}
        fitted = {name: one for name, one in adjustments.items() if one.kind != "none"}
        if not fitted or self.measurement.rule == "none":
            raise DataError(
                f"nothing is adjusted at {self.name}, so there is nothing to keep; the report has the reason "
                "of each finding"
            )
        folder = Path(out)
        absent = dict.fromkeys(self.bundle.manifest.findings, "not measured at this site")
        kept = absent | {name: one.reason for name, one in adjustments.items()}
        calibration = site_calibration(
            self.bundle,
            self.name,
            self.measurement.rule,
            adjusted={name: (one.intercept, one.slope) for name, one in fitted.items()},
            kept={name: reason for name, reason in kept.items() if name not in fitted},
            fitted_on=chosen_on(None, "", self.cohort, dataset=self.context.dataset),
        )
        with new_bundle_folder(folder, overwrite=overwrite, sources=[self.bundle]):
            written = write_with_site(
                self.bundle, folder, calibration, dataset=self.context.dataset, patients=self.cohort.patients
            )
        return WrittenBundle(written)


def site(
    model: BundleLike,
    data: StoreLike,
    *,
    name: str,
    split: str = "",
    part: str = "test",
    view: str | None = None,
    findings: str | Sequence[str] = (),
    adjust: AdjustmentRule = "auto",
    repetitions: int = 20,
    seed: int = 0,
    logits: bool = False,
    device: str = "auto",
    engine: EngineName = "auto",
    progress: ProgressCallback | None = None,
) -> SiteResult:
    """Measure calibration at a site, choose what adjusts it there, and try how many patients that takes.

    Args:
        model: A run, a bundle or a `Model`; or a CSV of any model's probabilities.
        data: A store of the site's images, prepared as the bundle requires; for a CSV, any store or a label
            file in NIH's layout.
        name: Name of the site, up to 100 characters.
        split: Name of a split, to use one of its parts; "" uses all images.
        part: "train", "val" or "test", if a split is named.
        view: "PA" or "AP"; None means every view.
        findings: Findings to measure, in this order; empty means all.
        adjust: "intercept", "slope" or "all" (both) for every finding; "auto", what the data of each finding
            support; or "none".
        repetitions: Random draws of patients at each point of the curve; 0 leaves the curve out.
        seed: Seed of the draws.
        logits: Whether a CSV contains logits.
        device: "cpu", "cuda" or "auto"; for a bundle.
        engine: What computes the bundle's logits.
        progress: Receives the number of predicted images, then the points of the curve.

    Raises:
        LeakError: Some of the patients or images were used to make the bundle.
        DataError: The data, the split or the part is invalid, or there are no such images.
        RecipeError: There is no such adjustment, or the name is empty or too long.
        BundleError: The bundle is damaged or does not have the engine.

    Example:
        result = thorax.site("run", "store", name="ward 7", split="folder-official", repetitions=5)
    """
    if adjust not in get_args(AdjustmentRule):
        raise RecipeError(
            f"there is no adjustment {adjust!r}; there are {', '.join(get_args(AdjustmentRule))}"
        )
    if not 0 < len(name) <= 100:  # noqa: PLR2004  (as in the bundle's format)
        raise RecipeError(f"`name` has {len(name)} characters; give the site a name of 1 to 100")
    if repetitions < 0:
        raise RecipeError(f"`repetitions` is {repetitions}; give 0 or more")
    selection = PartSelection(split, part, view)
    if isinstance(model, Bundle) or not has_predictions(Path(model)):
        bundle = opened_bundle(model)
        predicted = _predicted(
            bundle,
            opened_store(data),
            name,
            selection,
            findings=findings,
            device=device,
            engine=engine,
            progress=progress,
        )
    else:
        bundle, predicted = None, _read(Path(model), opened_data(data), selection, logits=logits)
    wanted = select_findings(findings, predicted.cohort.findings)
    cohort = predicted.cohort.of_findings(wanted)
    columns = [predicted.cohort.findings.index(finding) for finding in wanted]
    measurement = measure_site(
        cohort,
        predicted.probabilities[:, columns],
        rule=adjust,
        repetitions=repetitions,
        seed=seed,
        progress=stage_progress(progress, "drawing patients", unit="points"),
    )
    command = described(
        "site",
        name=name,
        split=split,
        part=part if split else "",
        view=view,
        findings=",".join(finding.name for finding in wanted) if findings else "",
        adjust=adjust,
        repetitions=repetitions,
        seed=seed,
    )
    run = None if bundle is None else bundle.run
    context = noted(pinned(predicted.context, cohort), predicted.reported, command=command, run=run)
    return SiteResult(
        name=name,
        measurement=measurement,
        context=context,
        audit=predicted.audit,
        cohort=predicted.cohort,
        bundle=bundle,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _AtSite:
    """What a model says of a site's images, and what an audit found."""

    cohort: LabeledImages
    probabilities: Probabilities
    context: Context
    reported: ImageSet
    audit: tuple[tuple[str, str], ...] | None

    @classmethod
    def of_part(cls, predicted: PartPredictions, audit: tuple[tuple[str, str], ...]) -> "_AtSite":
        return cls(
            cohort=predicted.cohort,
            probabilities=predicted.probabilities,
            context=predicted.context,
            reported=predicted.reported,
            audit=audit,
        )


def _read(file: Path, data: Store | Path, selection: PartSelection, *, logits: bool) -> _AtSite:
    """Read and audit a file of predictions."""
    read = read_part(file, labels_of(data), selection, logits=logits)
    problems = audit_file(read.rows, data, read.reported, part=selection.part, logits=logits)
    return _AtSite.of_part(read.reported, problems)


def _predicted(
    bundle: Bundle,
    store: Store,
    name: str,
    selection: PartSelection,
    *,
    findings: str | Sequence[str],
    device: str,
    engine: EngineName,
    progress: ProgressCallback | None,
) -> _AtSite:
    """Predict and audit a part of a store, or predict all of it, if the bundle may be measured on it."""
    check_engine(bundle, device=device, engine=engine)
    select_findings(findings, labeled_findings(bundle, store))
    if selection.split:
        chosen = select_part(bundle, store, selection)
        chosen.verify()
        predictor = open_predictor(bundle, device=device, engine=engine)
        computed_by = describe_engine(bundle, device=device, engine=engine)
        predicted = predict_part(predictor, chosen, made=(("Computed by", computed_by),), progress=progress)
        return _AtSite.of_part(predicted, audit_bundle(chosen))
    bundle.refuse_other_preparation(store.location, store.preparation)
    frame_ = store.table.frame
    views = frame_["view"].to_numpy()
    rows = np.flatnonzero(views == selection.view) if selection.view else np.arange(len(frame_))
    if not len(rows):
        raise DataError(f"no image of {store.location} has view {selection.view}; leave out `view`")
    cohort = labeled_images(store.table.take(rows), labeled_findings(bundle, store))
    store.verify()
    predictor = open_predictor(bundle, device=device, engine=engine)
    computed_by = describe_engine(bundle, device=device, engine=engine)
    _refuse_seen(bundle, store, cohort, rows=rows, name=name)
    count = stage_progress(progress, "predicting")
    probabilities = predictor.predict_rows(store.pixels, rows, progress=count)
    columns = [bundle.findings.index(finding) for finding in cohort.findings]
    context = context_of(
        cohort,
        None,
        "",
        dataset=store.dataset,
        model=predictor.identity,
        made=(*how_made(bundle, store), ("Computed by", computed_by)),
        warnings=tuple(
            note
            for note in (
                *bundle.manifest.stated_in_full,
                f"Only images of view {selection.view}." if selection.view else "",
                *unknown_training(bundle, store),
            )
            if note
        ),
    )
    return _AtSite(
        cohort=cohort,
        probabilities=probabilities[:, columns],
        context=context,
        reported=chosen_on(None, "", cohort, dataset=store.dataset),
        audit=None,
    )


def _refuse_seen(bundle: Bundle, store: Store, cohort: LabeledImages, *, rows: np.ndarray, name: str) -> None:
    """Refuse patients and images that the bundle saw, but for an earlier calibration for the same site."""
    others = [part for part in bundle.patients if part != patients_of_site(name)]
    refuse_seen_patients(bundle, store.dataset, cohort.patients, by=others)
    refuse_seen_images(bundle, cohort.images, image_prints(store.pixels, rows))
