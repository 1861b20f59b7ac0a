"""What a node's queue says of the images of a model, for monitoring."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from thorax.bundle import Bundle
from thorax.distributions import GATE_SCORES, ValidationDistribution
from thorax.errors import DataError
from thorax.evaluation.monitoring.weekly import Observations
from thorax.inference.gate import PICTURE_REASONS
from thorax.pacs.node.operating import opened_queue
from thorax.pacs.node.queue import Queue

__all__ = ["MonitoredImages", "keep_model", "monitored_images"]

_MOST_IMAGES: Final = 200_000
"""The last images that are read: more than a year of 500 a day."""


@dataclass(frozen=True, slots=True, eq=False)
class MonitoredImages:
    """The images of one model in a queue.

    Attributes:
        model: Name of the model.
        sha256: SHA-256 of its bundle.
        reference: Validation, as the bundle describes it.
        observations: The images, the oldest first.
        of_later_days: Images of the model that came after today, by a clock that was wrong; left out.
        of_others: Images of other models, by name and hash.
        daily: Objects of any model that came on each day until today, by day and state.
    """

    model: str
    sha256: str
    reference: ValidationDistribution
    observations: Observations
    of_later_days: int
    of_others: Mapping[tuple[str, str], int]
    daily: Mapping[str, Counter[str]]


def keep_model(queue: Queue, bundle: Bundle) -> None:
    """Keep in a queue what monitoring needs of the model that predicts from now on."""
    distribution = bundle.manifest.distribution
    described = distribution.model_dump_json() if distribution else ""
    queue.keep_model(bundle.sha256, bundle.manifest.name, described)


def monitored_images(
    folder: Path, *, today: date, bundle: Bundle | None = None, most: int = _MOST_IMAGES
) -> MonitoredImages:
    """Return the images that one model has predicted for the node of a queue; the node may run meanwhile.

    Args:
        folder: The folder of the queue.
        today: Today; images of later days are counted and left out.
        bundle: The model; None: the one that predicted last.
        most: The last images, of any model, that are read.

    Raises:
        DataError: There is no queue, it has no image of the model, or validation is not known for that.
        ServiceError: The queue cannot be opened.
    """
    with opened_queue(folder) as queue:
        return _read(queue, today, bundle, most)


def _read(queue: Queue, today: date, bundle: Bundle | None, most: int) -> MonitoredImages:
    folder = queue.folder
    kept = [(when, json.loads(text)) for when, text in queue.outcomes(most)]
    # Older versions did not keep what the gate said.
    kept = [(when, outcome) for when, outcome in kept if "name" in outcome]
    if not kept:
        raise DataError(
            f"{folder} has no image that the node has predicted or held back, so there is nothing to "
            "monitor; send it some"
        )
    counts = Counter(map(_model_of, (outcome for _, outcome in kept)))
    chosen = _chosen(folder, _model_of(kept[-1][1]), counts, bundle)
    reference = _reference(queue, chosen)
    of_model = [(_day_of(when), outcome) for when, outcome in kept if _model_of(outcome) == chosen]
    # A clock that was set between two images puts the later one before the other.
    until_today = sorted((each for each in of_model if each[0] <= today), key=itemgetter(0))
    if not until_today:
        raise DataError(
            f"all images that {chosen[0]} ({chosen[1][:12]}) predicted for {folder} came after {today}, "
            "which is today by the clock of this machine; set the clock"
        )
    del counts[chosen]
    return MonitoredImages(
        model=chosen[0],
        sha256=chosen[1],
        reference=reference,
        observations=_observations(until_today, tuple(reference.findings)),
        of_later_days=len(of_model) - len(until_today),
        of_others=counts,
        daily={day: of for day, of in queue.daily_counts().items() if day <= today.isoformat()},
    )


def _day_of(when: float) -> date:
    return datetime.fromtimestamp(when).date()  # noqa: DTZ006  (the days of this machine)


def _model_of(outcome: Mapping[str, Any]) -> tuple[str, str]:
    return outcome["name"], outcome["model"]


def _chosen(
    folder: Path, last: tuple[str, str], counts: Counter[tuple[str, str]], bundle: Bundle | None
) -> tuple[str, str]:
    """Return name and hash of the model to monitor."""
    if bundle is None:
        return last
    wanted = (bundle.manifest.name, bundle.sha256)
    if wanted not in counts:
        there = "; ".join(f"{name} ({sha256[:12]})" for name, sha256 in counts)
        raise DataError(
            f"{folder} has no image that {wanted[0]} ({wanted[1][:12]}) predicted, but of {there}; give that "
            "bundle, or leave `bundle` out to monitor the model that predicted last"
        )
    return wanted


def _reference(queue: Queue, model: tuple[str, str]) -> ValidationDistribution:
    described = queue.models().get((model[1], model[0]), "")
    if not described:
        raise DataError(
            f"the bundle {model[0]} ({model[1][:12]}) that predicted for {queue.folder} does not keep how "
            "its validation images were predicted, so there is nothing to compare with; add that with thorax "
            "gate BUNDLE --store STORE, and start the node with the result"
        )
    try:
        return ValidationDistribution.model_validate_json(described)
    except ValidationError as error:
        raise DataError(
            f"{queue.folder} describes validation of {model[0]} in a way that this version of Thorax does "
            f"not know ({error.errors()[0]['msg']}); start the node once with this version"
        ) from error


def _observations(kept: Sequence[tuple[date, Mapping[str, Any]]], names: tuple[str, ...]) -> Observations:
    outcomes = [outcome for _, outcome in kept]
    refused = [bool(outcome.get("refusal")) for outcome in outcomes]
    probabilities = [outcome.get("probabilities", {}) for outcome in outcomes]
    return Observations(
        days=np.array([day.toordinal() for day, _ in kept]),
        probabilities=np.array([[of.get(name, np.nan) for name in names] for of in probabilities], float),
        names=names,
        held_back=np.array(refused),
        warned=np.array(
            [
                not held and bool(PICTURE_REASONS.intersection(outcome["reasons"]))
                for held, outcome in zip(refused, outcomes, strict=True)
            ]
        ),
        scores=np.array(
            [[outcome["scores"].get(name, np.nan) for name in GATE_SCORES] for outcome in outcomes], float
        ),
    )
