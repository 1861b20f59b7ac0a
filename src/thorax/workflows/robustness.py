"""`robustness`: measure what changes of the images do to a bundle's AUC, calibration and decisions."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thorax.arrays import PixelsBatch, Probabilities, Rows
from thorax.atomic_io import StrPath, atomic_write, canonical_json, refuse_existing
from thorax.errors import DataError
from thorax.evaluation.evaluate import Context
from thorax.evaluation.looks import described
from thorax.evaluation.robustness import Robustness, measure_robustness
from thorax.evaluation.thresholds import one_half
from thorax.findings import select_findings
from thorax.imaging.perturbations import Perturbation, perturb, perturbation_kinds, standard_perturbations
from thorax.inference.engines import check_engine, describe_engine, open_predictor
from thorax.inference.predictor import Predictor
from thorax.progress import CountCallback, ProgressCallback, stage_progress
from thorax.recipe.literals import EngineName
from thorax.reporting.representations import frame
from thorax.reporting.robustness import (
    RobustnessFiles,
    robustness_columns,
    robustness_html,
    robustness_title,
    write_robustness,
)
from thorax.workflows.caveats import noted, with_warnings
from thorax.workflows.predictions import (
    BundleLike,
    PartSelection,
    StoreLike,
    StorePart,
    opened_bundle,
    opened_store,
    predict_part,
    select_part,
)
from thorax.workflows.results import pinned
from thorax.workflows.thresholds import bundle_points

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RobustnessResult", "discard_levels", "robustness"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RobustnessResult:
    """How robust a bundle is.

    Attributes:
        robustness: What each level of each perturbation changes, with intervals.
        context: The context of the numbers.
    """

    robustness: Robustness
    context: Context

    def to_frame(self) -> "pd.DataFrame":
        """Return one row per level and finding, and one per level with finding "mean".

        Raises:
            MissingExtra: pandas is not installed.
        """
        return frame(robustness_columns(self.robustness))

    def __repr__(self) -> str:
        title = robustness_title(self.robustness, self.context)
        return f"RobustnessResult({title}; {len(self.robustness.levels)} levels)"

    def _repr_html_(self) -> str:
        return robustness_html(self.robustness, self.context)

    def write(self, out: StrPath, *, overwrite: bool = False) -> RobustnessFiles:
        """Write `robustness.json`, `.csv`, `.md`, `.html` and `.svg` into a folder.

        Args:
            out: The folder; created if it does not exist.
            overwrite: Whether files of an earlier result there may be replaced.

        Raises:
            DataError: `out` is a file, or not empty and `overwrite` is false.

        Example:
            result.write("robustness-of-run", overwrite=True)
        """
        folder = Path(out)
        refuse_existing(folder, overwrite=overwrite, folder=True)
        return write_robustness(self.robustness, self.context, out=folder)


def robustness(
    bundle: BundleLike,
    store: StoreLike,
    *,
    split: str = "",
    part: str = "test",
    view: str | None = None,
    findings: str | Sequence[str] = (),
    perturbations: Sequence[str] = (),
    max_images: int | None = 2000,
    seed: int = 0,
    device: str = "auto",
    engine: EngineName = "auto",
    resume_in: StrPath | None = None,
    progress: ProgressCallback | None = None,
) -> RobustnessResult:
    """Measure a bundle on perturbed images beside the unchanged ones, at several levels of each perturbation.

    The images are perturbed as the store keeps them, so that no file is read again. Decisions are made at the
    bundle's own thresholds, or at 0.5 if it has none.

    Args:
        bundle: The bundle, its folder, or the run that made it.
        store: A store, or its folder, prepared as the bundle requires.
        split: Name of the split; "" means the one that the bundle was trained on.
        part: "train", "val" or "test".
        view: "PA" or "AP"; None means every view.
        findings: Findings to measure, in this order; empty means all that the bundle predicts.
        perturbations: Kinds, such as "jpeg" and "rotation"; empty means all nine, at 38 levels.
        max_images: Use about this many images, those of a random sample of the patients; None uses all.
        seed: Seed of the sample, of noise and of directions.
        device: "cpu", "cuda" or "auto".
        engine: What computes the bundle's logits.
        resume_in: Folder where finished levels are kept: if interrupted, the same call continues from there.
        progress: Receives the number of predicted images, over all levels.

    Raises:
        LeakError: Some of the patients were used for training or selection.
        DataError: The store, the split or the part is invalid, or `max_images` is not positive.
        BundleError: The bundle is damaged or does not have the engine, or no split is named and it was not
            trained on exactly one.
        RecipeError: There is no such perturbation.

    Example:
        result = thorax.robustness("run", "store", perturbations=["jpeg", "blur"])
    """
    levels = standard_perturbations(perturbation_kinds(perturbations))
    opened, images = opened_bundle(bundle), opened_store(store)
    check_engine(opened, device=device, engine=engine)
    whole = select_part(opened, images, PartSelection(split, part, view))
    wanted = select_findings(findings, whole.cohort.findings)
    chosen = _sample(whole, max_images, seed=seed)
    whole.verify()
    predictor = open_predictor(opened, device=device, engine=engine)
    computed_by = describe_engine(opened, device=device, engine=engine)
    # ---- predict ------------------------------------------------------------------------------------------
    kept = None if resume_in is None else _Kept(Path(resume_in), chosen, predictor, computed_by, seed=seed)
    count = stage_progress(progress, "predicting")
    total = len(chosen.rows) * (len(levels) + 1)
    unchanged = predict_part(predictor, chosen, made=(("Computed by", computed_by),))
    _advance(count, len(chosen.rows), total)
    changed = []
    for number, level in enumerate(levels, start=1):
        probabilities = None if kept is None else kept.load(level)
        if probabilities is None:
            probabilities = _predict(
                predictor, chosen, level, seed=seed, count=count, start=number, total=total
            )
            if kept is not None:
                kept.save(level, probabilities)
        _advance(count, (number + 1) * len(chosen.rows), total)
        changed.append((level, probabilities))
    # ---- measure ------------------------------------------------------------------------------------------
    columns = [opened.findings.index(finding) for finding in wanted]
    reported = unchanged.of_findings(wanted)
    points = bundle_points(predictor.bundle, wanted) or (one_half(wanted),)
    measured = measure_robustness(
        reported.cohort,
        reported.probabilities,
        [(level, probabilities[:, columns]) for level, probabilities in changed],
        points=points[0],
    )
    note = f"A random sample: {len(chosen.rows):,} of the part's {len(whole.rows):,} images (seed {seed})."
    sampled = (note,) if len(chosen.rows) < len(whole.rows) else ()
    command = described(
        "robustness", split=split, part=part, view=view, perturbations=",".join(perturbations), seed=seed
    )
    context = pinned(with_warnings(reported.context, sampled), reported.cohort)
    context = noted(context, reported.reported, command=command, run=opened.run)
    return RobustnessResult(robustness=measured, context=context)


def discard_levels(folder: StrPath) -> None:
    """Remove what `robustness` kept in a folder, and the folder if nothing else is in it."""
    path = Path(folder)
    for file in path.glob("*.level.npy"):
        file.unlink()
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def _sample(part: StorePart, max_images: int | None, *, seed: int) -> StorePart:
    """Return the images of whole patients, in the order of a hash, up to about `max_images`."""
    if max_images is not None and max_images < 1:
        raise DataError(f"`max_images` is {max_images}; give at least 1, or None for all images")
    if max_images is None or len(part.rows) <= max_images:
        return part
    by_patient: dict[str, list[str]] = {}
    for image, patient in zip(part.cohort.images, part.cohort.patients, strict=True):
        by_patient.setdefault(patient, []).append(image)
    chosen: list[str] = []
    for patient in sorted(by_patient, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()):
        if chosen and len(chosen) + len(by_patient[patient]) > max_images:
            break
        chosen += by_patient[patient]
    return part.of_images(chosen)


def _predict(
    predictor: Predictor,
    part: StorePart,
    level: Perturbation,
    *,
    seed: int,
    count: CountCallback | None,
    start: int,
    total: int,
) -> Probabilities:
    """Predict the part's images after a perturbation; they are number `start` of the passes."""
    names = part.store.table.frame["image"].to_numpy()

    def read(rows: Rows) -> PixelsBatch:
        images = [str(name) for name in names[rows]]
        return perturb(part.store.pixels(rows), level, images=images, seed=seed)

    def advance(done: int, _: int) -> None:
        _advance(count, start * len(part.rows) + done, total)

    return predictor.predict_rows(read, part.rows, progress=advance)


def _advance(count: CountCallback | None, done: int, total: int) -> None:
    if count is not None:
        count(done, total)


class _Kept:
    """Probabilities of finished levels, in files whose names say what they depend on."""

    def __init__(
        self, folder: Path, part: StorePart, predictor: Predictor, computed_by: str, *, seed: int
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        depends_on = {
            "bundle": predictor.bundle.sha256,
            "computed_by": computed_by,
            "images": list(part.cohort.images),
            "store": part.store.fingerprint,
            "seed": seed,
        }
        self._folder = folder
        self._key = hashlib.sha256(canonical_json(depends_on)).hexdigest()[:16]
        self._shape = (len(part.rows), len(predictor.bundle.findings))

    def _file(self, level: Perturbation) -> Path:
        return self._folder / f"{level.kind}-{level.level:g}-{self._key}.level.npy"

    def load(self, level: Perturbation) -> Probabilities | None:
        """Return the probabilities of a level; None if they are not there, or damaged."""
        try:
            read = np.load(self._file(level), allow_pickle=False)
        except (OSError, ValueError):
            return None
        return read if read.shape == self._shape and read.dtype == np.float64 else None

    def save(self, level: Perturbation, probabilities: Probabilities) -> None:
        with atomic_write(self._file(level)) as temporary, temporary.open("wb") as file:
            np.save(file, probabilities, allow_pickle=False)
