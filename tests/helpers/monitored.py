"""Queues of a node with images that were never received: outcomes as a node keeps them, drawn by chance."""

import json
import sqlite3
from datetime import date, datetime, time, timedelta

import numpy as np

from thorax.bundle import load_bundle
from thorax.distributions import GATE_SCORES, Histogram
from thorax.pacs.node.monitoring import keep_model
from thorax.pacs.node.queue import DATABASE, Queue
from thorax.pacs.node.records import Received

NOON = time(12)
TODAY = date(2024, 1, 1)
"""A Monday, before the day on which the tests run."""


def drawn(histogram, random, count):
    """Return numbers that are distributed as a histogram says."""
    edges = np.array([2 * histogram.edges[0] - histogram.edges[1], *histogram.edges])
    wide = np.diff([*edges, 2 * edges[-1] - edges[-2]])
    bins = random.choice(len(histogram.counts), count, p=np.array(histogram.counts) / histogram.total)
    return edges[bins] + wide[bins] * random.random(count)


def drawn_finding(finding, random, count):
    """Return probabilities of a finding that are distributed, and called, as on validation."""
    histogram, threshold = finding.probabilities, finding.threshold
    if threshold is None or threshold in histogram.edges:
        return np.clip(drawn(histogram, random, count), 0, 1)
    place = int(np.searchsorted(histogram.edges, threshold))
    above = finding.positive.count - sum(histogram.counts[place + 1 :])
    edges = (*histogram.edges[:place], threshold, *histogram.edges[place:])
    counts = list(histogram.counts)
    counts[place : place + 1] = [counts[place] - above, above]
    return np.clip(drawn(Histogram(edges=edges, counts=tuple(counts)), random, count), 0, 1)


def outcomes(reference, count, *, seed=0, held_back=0.0, model=("starter", "a" * 64)):
    """Return outcomes of images like those of validation, of which the gate holds a share back."""
    random = np.random.default_rng(seed)
    probabilities = {
        name: drawn_finding(finding, random, count) for name, finding in reference.findings.items()
    }
    scores = {name: drawn(reference.gate.score(name), random, count) for name in GATE_SCORES}
    for number in range(count):
        outcome = {
            "view": "PA",
            "model": model[1],
            "name": model[0],
            "reasons": [],
            "scores": {name: float(values[number]) for name, values in scores.items()},
        }
        if random.random() < held_back:
            yield {**outcome, "reasons": ["inverted"], "refusal": "it is inverted"}
        else:
            yield outcome | {
                "probabilities": {name: float(values[number]) for name, values in probabilities.items()},
                "positive": [],
                "warnings": 0,
            }


def fill(folder, given, *, ends=TODAY - timedelta(days=1), days=7, first=0):
    """Put outcomes into a queue as if their images had come evenly over days, the last of which is `ends`."""
    listed = list(given)
    queue = Queue(folder)
    for number, outcome in enumerate(listed, start=first):
        name = f"{number:064x}"
        queue.add(Received(sop_uid=f"1.2.{number}", sha256=name, study_uid="1.2", calling="CT", size=1))
        queue.predicted(number + 1, outcome, [], result_bytes=1)
    queue.close()
    with sqlite3.connect(folder / DATABASE) as database:
        for number in range(len(listed)):
            day = ends - timedelta(days=days - 1 - number * days // len(listed))
            when = datetime.combine(day, NOON).timestamp()
            database.execute("UPDATE objects SET received_at = ? WHERE id = ?", (when, first + number + 1))


def keep(folder, bundle):
    """Note in a queue which bundle predicts."""
    queue = Queue(folder)
    keep_model(queue, bundle)
    queue.close()


def starter():
    """Return the starter."""
    return load_bundle("starter")


def as_text(path):
    """Return the content of a JSON file."""
    return json.loads(path.read_text())
