"""The leaderboards of a study, measured from the predictions that its evaluations wrote."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from thorax.evaluation.common_images import common_images
from thorax.evaluation.compare import Difference
from thorax.evaluation.evaluate import Context
from thorax.evaluation.inputs.metrics_json import read_metrics
from thorax.evaluation.labeled_images import ScoredImages, ScoredRuns
from thorax.evaluation.leaderboard import Leaderboard, Standing, rank_models
from thorax.evaluation.looks import LOOKS, Look, read_looks, state_looks
from thorax.evaluation.published_results import ComparableResults, comparable_results, covers_nih14
from thorax.evaluation.statistics.intervals import Interval
from thorax.findings import NO_FINDING, Findings
from thorax.reporting.run_log import RunLog, read_log
from thorax.run_files import LOG
from thorax.store import open_store
from thorax.studies.cells import Cell
from thorax.studies.costs import Cost, images_per_second, read_cost
from thorax.workflows.prediction_files import read_part
from thorax.workflows.predictions import PartPredictions, PartSelection, labels_of

__all__ = ["Board", "Entry", "Gap", "LookCount", "measure_boards"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far a model lies from another.

    Attributes:
        difference: Its mean AUC less the other's, with the paired interval of patients and seeds.
        p: Two-sided p value of no difference.
        p_adjusted: The same after Holm's correction over all pairs of the board.
    """

    difference: Interval
    p: float
    p_adjusted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model on a board.

    Attributes:
        standing: Its AUCs.
        cells: Its evaluated cells, in the order of the runs.
        excesses: How much choosing the checkpoint on the test part would have added in each run; None where
            it was not recorded.
        gap: Its distance from the reference of the board; None for the reference itself.
        images_per_second: Of training, as the mean over the runs; None if it is not known.
        cost: Of all its cells together, training and evaluation.
    """

    standing: Standing
    cells: tuple[Cell, ...]
    excesses: tuple[float | None, ...]
    gap: Gap | None
    images_per_second: float | None
    cost: Cost

    @property
    def checkpoint_excess(self) -> float | None:
        """What choosing checkpoints on the test part would have added on average; None if not recorded."""
        known = [excess for excess in self.excesses if excess is not None]
        return mean(known) if known else None

    @property
    def both_excess(self) -> float | None:
        """What reporting the best checkpoint of the best seed would have added to the mean AUC."""
        macro = self.standing.macro
        best = [
            auc + excess
            for auc, excess in zip(macro.aucs, self.excesses, strict=True)
            if excess is not None and not math.isnan(auc)
        ]
        return max(best) - macro.mean.value if len(best) == len(macro.aucs) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LookCount:
    """How often the test part of a board was measured, as far as this machine knows.

    Attributes:
        own: By evaluations of this study.
        test_curve_epochs: Epochs of this study's trainings that measured it too.
        others: By anything else.
        other_models: How many models these were of.
    """

    own: int
    test_curve_epochs: int
    others: int
    other_models: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The models of one data set, split and list of findings.

    Attributes:
        data: The name of the data set in the study.
        split: The name of the split in the study.
        context: The context of the numbers; of the first model.
        leaderboard: The ranking and all differences.
        entries: The models by falling mean AUC.
        reference: The model that gaps are from: the study's baseline, or else the first.
        published: Published results of the same split; none unless the whole part and the 14 findings of NIH
            were measured.
        looks: How often the part was looked at.
        lacking: Seeds that are missing because their cells failed, by model.
        warnings: What a reader must know, in sentences.
    """

    data: str
    split: str
    context: Context
    leaderboard: Leaderboard
    entries: tuple[Entry, ...]
    reference: str
    published: ComparableResults
    looks: LookCount
    lacking: Mapping[str, tuple[int, ...]]
    warnings: tuple[str, ...]


def measure_boards(
    cells: Sequence[Cell], *, failed: Collection[str] = (), baseline: str = "", resamples: int = 1000
) -> tuple[Board, ...]:
    """Measure the boards of all cells that are evaluated.

    Recipes with other findings have a board for each list of findings: that of the models which predict all
    of these, and perhaps more, since means over other findings do not compare.

    Args:
        cells: All cells of a study.
        failed: The names of those that do not count, whatever is in their folders.
        baseline: The model that the others are compared with; "" compares all pairs.
        resamples: Resamples of the patients.
    """
    boards = []
    for data, split in dict.fromkeys((cell.data, cell.split) for cell in cells):
        here = [cell for cell in cells if (cell.data, cell.split) == (data, split)]
        evaluated = [
            (cell, _predictions(cell)) for cell in here if cell.is_evaluated and cell.name not in failed
        ]
        lists = {
            frozenset(predicted.cohort.findings): predicted.cohort.findings for _, predicted in evaluated
        }
        for ranked in sorted(lists.values(), key=len, reverse=True):
            group = [
                (cell, predicted.of_findings(ranked))
                for cell, predicted in evaluated
                if set(ranked) <= set(predicted.cohort.findings)
            ]
            boards.append(_board(here, group, baseline=baseline, resamples=resamples))
    return tuple(boards)


def _ranked(findings: Findings) -> Findings:
    return tuple(finding for finding in findings if finding != NO_FINDING)


def _predictions(cell: Cell) -> PartPredictions:
    read = read_part(cell.report, _labels(cell.store), PartSelection(split=cell.split, part="test"))
    return read.reported.of_findings(_ranked(read.reported.cohort.findings))


@cache
def _labels(store: Path) -> Any:
    return labels_of(open_store(store))


def _board(
    here: Sequence[Cell],
    group: Sequence[tuple[Cell, PartPredictions]],
    *,
    baseline: str,
    resamples: int,
) -> Board:
    shared = common_images({cell.name: predicted.cohort.images for cell, predicted in group})
    models: dict[str, list[tuple[Cell, PartPredictions]]] = {}
    for cell, predicted in group:
        models.setdefault(cell.model, []).append((cell, predicted.of_images(shared.images)))
    first = next(iter(models.values()))[0][1]
    leaderboard = rank_models(
        first.cohort,
        [
            ScoredRuns(model=model, runs=tuple(_scored(cell, predicted) for cell, predicted in runs))
            for model, runs in models.items()
        ],
        baseline=baseline if baseline in models else None,
        resamples=resamples,
    )
    reference = baseline if baseline in models else leaderboard.standings[0].model
    cells = {model: tuple(cell for cell, _ in runs) for model, runs in models.items()}
    context = first.context
    return Board(
        data=here[0].data,
        split=here[0].split,
        context=context,
        leaderboard=leaderboard,
        entries=tuple(
            _entry(standing, cells[standing.model], leaderboard, reference)
            for standing in leaderboard.standings
        ),
        reference=reference,
        published=_published(context, leaderboard.findings),
        looks=_looks([cell for cell, _ in group], context),
        lacking=_lacking(here, cells),
        warnings=_warnings(leaderboard, shared.warning if shared.is_partial else "", group),
    )


def _scored(cell: Cell, predicted: PartPredictions) -> ScoredImages:
    return ScoredImages(
        model=f"seed-{cell.seed}",
        images=predicted.cohort.images,
        scores=predicted.probabilities,
        findings=predicted.cohort.findings,
    )


def _entry(standing: Standing, cells: tuple[Cell, ...], leaderboard: Leaderboard, reference: str) -> Entry:
    rates = [rate for cell in cells if (rate := images_per_second(cell.run / LOG)) is not None]
    return Entry(
        standing=standing,
        cells=cells,
        excesses=tuple(_checkpoint_excess(cell) for cell in cells),
        gap=None if standing.model == reference else _gap(leaderboard, standing.model, reference),
        images_per_second=mean(rates) if rates else None,
        cost=_sum(read_cost(cell.costs) for cell in cells),
    )


def _sum(costs: Iterable[Cost]) -> Cost:
    first, *others = costs
    for cost in others:
        first += cost
    return first


def _checkpoint_excess(cell: Cell) -> float | None:
    """Return what choosing the checkpoint by its test AUC would have added, as the run's log says."""
    premium = (RunLog(read_log(cell.run / LOG)).end or {}).get("premium")
    return premium and float(premium["best_macro_auc"]) - float(premium["macro_auc"])


def _gap(leaderboard: Leaderboard, model: str, reference: str) -> Gap | None:
    """Return the difference of a pair, whichever way round it was compared."""
    pairs = () if leaderboard.comparison is None else leaderboard.comparison.pairs
    for pair in pairs:
        if (pair.baseline, pair.model) == (reference, model):
            return _as_gap(pair.macro, pair.macro.difference)
        if (pair.baseline, pair.model) == (model, reference):
            ends = pair.macro.difference
            return _as_gap(pair.macro, Interval(-ends.value, -ends.high, -ends.low))
    return None


def _as_gap(macro: Difference, difference: Interval) -> Gap:
    return Gap(difference=difference, p=macro.p, p_adjusted=macro.p_adjusted)


def _published(context: Context, findings: Findings) -> ComparableResults:
    split = context.split if context.whole_part and covers_nih14(findings) else ""
    return comparable_results(split, dataset=context.dataset, part=context.part)


def _looks(cells: Sequence[Cell], context: Context) -> LookCount:
    """Count the looks that are noted beside the runs and in the user's state folder."""
    models = {str(read_metrics(cell.report)["model"]["bundle_sha256"]) for cell in cells}
    state = state_looks()
    files = [*(cell.run / LOOKS for cell in cells), *([] if state is None else [state])]
    noted = {look.id: look for file in files for look in read_looks(file) if _is_at(look, context)}
    others = [look for look in noted.values() if look.model_sha256 not in models]
    curves = [sum(event.get("event") == "test-curve" for event in read_log(cell.run / LOG)) for cell in cells]
    return LookCount(
        own=len(noted) - len(others),
        test_curve_epochs=sum(curves),
        others=len(others),
        other_models=len({look.model_sha256 for look in others}),
    )


def _is_at(look: Look, context: Context) -> bool:
    same_part = (look.split_sha256, look.part) == (context.split_sha256, context.part)
    return same_part or look.images_sha256 == context.images_sha256


def _lacking(here: Sequence[Cell], cells: Mapping[str, Sequence[Cell]]) -> dict[str, tuple[int, ...]]:
    """Return the seeds that a model of the board should have and does not."""
    seeds = {
        model: tuple(cell.seed for cell in here if cell.model == model and cell not in evaluated)
        for model, evaluated in cells.items()
    }
    return {model: missing for model, missing in seeds.items() if missing}


def _warnings(
    leaderboard: Leaderboard, partial: str, group: Sequence[tuple[Cell, PartPredictions]]
) -> tuple[str, ...]:
    single = [standing.model for standing in leaderboard.standings if len(standing.runs) == 1]
    notes = dict.fromkeys(note for _, predicted in group for note in predicted.context.warnings)
    undefined = [one.model for one in leaderboard.standings if math.isnan(one.macro.mean.value)]
    return tuple(
        filter(
            None,
            (
                leaderboard.too_few_patients,
                partial,
                leaderboard.one_patient_note,
                f"The interval of {', '.join(single)} holds the patients alone, because only one seed was "
                "trained."
                if single
                else "",
                f"{', '.join(undefined)} has no mean AUC: no finding has both classes." if undefined else "",
                *notes,
            ),
        )
    )
