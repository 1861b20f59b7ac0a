"""What a node counts, in Prometheus's text format: numbers alone, nothing about an image."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import thorax
from thorax.pacs.node.queue import Queue

__all__ = ["MEDIA_TYPE", "Counters", "metrics_text", "quoted", "with_head"]

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_STATES: Final = ("received", "predicted", "sent", "skipped", "failed")


class Counters:
    """What happened since the node was started; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers = Counter[str]()
        self._outcomes = Counter[str]()
        self._sent = Counter[tuple[str, str]]()
        self._seconds: dict[str, float] = {}
        self._steps = Counter[str]()

    def answer(self, event: str, seconds: float = 0.0) -> None:
        """Count an answer to a peer, and the time that storing its object took."""
        with self._lock:
            self._answers[event] += 1
            self._add("store", seconds)

    def outcome(self, outcome: str) -> None:
        """Count what became of an object."""
        with self._lock:
            self._outcomes[outcome] += 1

    def delivery(self, destination: str, outcome: str) -> None:
        """Count what a destination did with the results of an object."""
        with self._lock:
            self._sent[destination, outcome] += 1

    def step(self, step: str, seconds: float) -> None:
        """Add the time that a step of one object took."""
        with self._lock:
            self._add(step, seconds)

    def _add(self, step: str, seconds: float) -> None:
        if seconds:
            self._seconds[step] = self._seconds.get(step, 0.0) + seconds
            self._steps[step] += 1

    def lines(self) -> Iterator[str]:
        """Yield the counters, in the order of their names."""
        with self._lock:
            answers, outcomes, sent = dict(self._answers), dict(self._outcomes), dict(self._sent)
            seconds, steps = dict(self._seconds), dict(self._steps)
        yield from _head("thorax_node_answers_total", "counter", "Answers to peers, by what they said.")
        for event, count in sorted(answers.items()):
            yield f'thorax_node_answers_total{{answer="{event}"}} {count}'
        yield from _head("thorax_node_deliveries_total", "counter", "Results by destination and outcome.")
        for (destination, outcome), count in sorted(sent.items()):
            labels = f'destination="{quoted(destination)}",outcome="{outcome}"'
            yield f"thorax_node_deliveries_total{{{labels}}} {count}"
        yield from _head("thorax_node_outcomes_total", "counter", "Objects by what became of them.")
        for outcome, count in sorted(outcomes.items()):
            yield f'thorax_node_outcomes_total{{outcome="{outcome}"}} {count}'
        yield from _head("thorax_node_step_seconds", "summary", "Seconds of each step of an object.")
        for step, count in sorted(steps.items()):
            yield f'thorax_node_step_seconds_sum{{step="{step}"}} {seconds[step]:.6f}'
            yield f'thorax_node_step_seconds_count{{step="{step}"}} {count}'


def metrics_text(
    counters: Counters,
    queue: Queue,
    *,
    associations: int,
    model: str,
    sha256: str,
    monitoring: Iterable[str] = (),
) -> str:
    """Return everything that is known of a node.

    Args:
        counters: What it counted.
        queue: Its queue.
        associations: How many associations there are.
        model: Name of the model.
        sha256: SHA-256 of the bundle.
        monitoring: Lines about what the images are like.
    """
    lines = [*counters.lines(), *_queue_lines(queue), *monitoring]
    lines += [
        *_head("thorax_node_associations", "gauge", "Associations that are open."),
        f"thorax_node_associations {associations}",
        *_head("thorax_info", "gauge", "Version of Thorax."),
        f'thorax_info{{version="{thorax.__version__}"}} 1',
        *_head("thorax_model_info", "gauge", "The model that predicts."),
        f'thorax_model_info{{model="{quoted(model)}",sha256="{sha256}"}} 1',
    ]
    return "".join(f"{line}\n" for line in lines)


def _queue_lines(queue: Queue) -> Iterator[str]:
    counts = queue.counts()
    yield from _head("thorax_node_objects", "gauge", "Objects in the queue by state.")
    for state in _STATES:
        yield f'thorax_node_objects{{state="{state}"}} {counts[state]}'
    yield from _head("thorax_node_results", "gauge", "Results of objects by destination and state.")
    for (destination, state), count in sorted(queue.delivery_counts().items()):
        yield f'thorax_node_results{{destination="{quoted(destination)}",state="{state}"}} {count}'
    yield from _head("thorax_node_oldest_seconds", "gauge", "Seconds for which the oldest object waits.")
    yield f"thorax_node_oldest_seconds {queue.oldest_waiting():.0f}"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def with_head(name: str, kind: str, text: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines of a metric after what it is; nothing if there are none."""
    listed = list(lines)
    if listed:
        yield from _head(name, kind, text)
        yield from listed


def quoted(text: str) -> str:
    """Return a text as the value of a label."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
