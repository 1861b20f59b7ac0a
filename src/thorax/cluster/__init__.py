"""Units of work over a Ray cluster: shards, batches of files, trials and training runs.

A unit writes files of its own on a file system that all nodes share, and doing it again gives the same bytes.
So a unit whose worker or node is lost is done again by another, and nothing needs to be undone.
"""

from thorax.cluster.run import run_units
from thorax.cluster.settings import GIB, LINGERING, Cluster, Lost, Post
from thorax.cluster.worker import refuse_unseen

__all__ = ["GIB", "LINGERING", "Cluster", "Lost", "Post", "refuse_unseen", "run_units"]
