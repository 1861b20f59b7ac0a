"""What the input gate of a bundle says of the images of a store, as they are prepared."""

from collections.abc import Sequence

from thorax.bundle import Bundle
from thorax.evaluation.held_back import HeldBack, measure_held_back
from thorax.inference.gate import Gate, check_pixels, open_gate
from thorax.progress import ProgressCallback, stage_progress
from thorax.workflows.predictions import PartPredictions, StorePart

__all__ = ["held_back_of"]

_TOGETHER = 64
"""Images that are read from the store at once."""


def held_back_of(
    bundle: Bundle,
    part: StorePart,
    predicted: PartPredictions,
    *,
    resamples: int,
    seed: int,
    progress: ProgressCallback | None = None,
) -> HeldBack:
    """Say what the gate would hold back of a part, and how the model ranks the rest.

    The gate sees the prepared images, which are gray: colors and headers of the files are not known here.

    Args:
        bundle: The bundle, with its gate.
        part: The images.
        predicted: The bundle's probabilities for them.
        resamples: Resamples of the patients.
        seed: Their seed.
        progress: Called while images are checked.
    """
    gate = open_gate(bundle)
    return measure_held_back(
        predicted.cohort,
        predicted.probabilities,
        _reasons(gate, part, progress),
        is_fitted=gate.is_fitted,
        resamples=resamples,
        seed=seed,
    )


def _reasons(gate: Gate, part: StorePart, progress: ProgressCallback | None) -> list[Sequence[str]]:
    done = stage_progress(progress, "checking with the gate")
    reasons: list[Sequence[str]] = []
    for start in range(0, len(part.rows), _TOGETHER):
        for pixels in part.store.pixels(part.rows[start : start + _TOGETHER]):
            answer = check_pixels(gate, pixels)
            reasons.append([reason.code for reason in answer.reasons if reason.level == "refuse"])
        if done is not None:
            done(min(start + _TOGETHER, len(part.rows)), len(part.rows))
    return reasons
