"""Making the shards of a store over a cluster: each is one unit, and any worker can make it, again."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from thorax.cluster import Cluster, Lost, Post, run_units
from thorax.errors import DataError
from thorax.progress import CountCallback, Progress, stage_progress
from thorax.store.manifest import PLAN, shard_name
from thorax.store.shards import ShardJob, make_shards

__all__ = ["ShardUnit", "make_shard", "make_shards_elsewhere"]


@dataclass(frozen=True, slots=True)
class ShardUnit:
    """One shard, for a worker.

    Attributes:
        job: The store, with the files of this shard.
        number: The shard.
        workers: Processes that decode.
    """

    job: ShardJob
    number: int
    workers: int

    @property
    def num_rows(self) -> int:
        """Rows of the shard."""
        return len(self.job.plan.rows_of(self.number))


def make_shard(unit: ShardUnit, post: Post) -> None:
    """Make a shard, and tell how many of its rows are done.

    Raises:
        DataError: A file has changed since it was listed, or the disk failed.
    """
    count, others = stage_progress(post.tell, "preparing"), unit.job.plan.num_rows - unit.num_rows
    make_shards(
        unit.job,
        [unit.number],
        workers=unit.workers,
        progress=None if count is None else lambda done, _total: count(done - others, unit.num_rows),
    )


def make_shards_elsewhere(
    job: ShardJob, todo: list[int], cluster: Cluster, *, progress: CountCallback | None
) -> None:
    """Make some shards over a cluster.

    What stops it, such as Ctrl-C, leaves the drafts to the next call, on whatever machine.

    Args:
        job: What they have in common.
        todo: Their numbers.
        cluster: The cluster.
        progress: Receives the number of finished rows.

    Raises:
        DataError: A file has changed since it was listed, a node does not see the source or the store, the
            disk failed, or a shard ended its worker each time.
        ServiceError: There is no such cluster, or it has no room.
    """
    num_rows = job.plan.num_rows
    done = dict.fromkeys(todo, 0)
    earlier = num_rows - sum(len(job.plan.rows_of(number)) for number in todo)

    def tell(unit: ShardUnit, rows: int) -> None:
        done[unit.number] = rows
        if progress is not None:
            progress(earlier + sum(done.values()), num_rows)

    def heard(unit: ShardUnit, message: Progress) -> None:
        if message.done < unit.num_rows:  # it ends when its shard is on the disk
            tell(unit, message.done)

    units = (ShardUnit(job.of_shard(number), number, cluster.cores) for number in todo)
    sees: list[Path] = [job.root, job.out / PLAN]
    with closing(run_units(cluster, make_shard, units, sees=sees, heard=heard)) as results:
        for unit, result in results:
            if isinstance(result, Lost):
                raise DataError(
                    f"{shard_name(unit.number)} of {job.out} cannot be made: {result.reason}; run the same "
                    "command again, which resumes, with more memory for each unit, or on one machine"
                )
            tell(unit, unit.num_rows)
