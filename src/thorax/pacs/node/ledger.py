"""What all parts of a node write into: its queue, its log, and its counters."""

from dataclasses import dataclass

from thorax.pacs.node.log import NodeLog
from thorax.pacs.node.metrics import Counters
from thorax.pacs.node.queue import Queue

__all__ = ["Ledger"]


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """What all parts of a node write into; threads share it.

    Attributes:
        queue: What was received, and what became of it.
        log: What happened, for people and programs.
        counters: How often.
    """

    queue: Queue
    log: NodeLog
    counters: Counters
