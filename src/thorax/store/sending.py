"""A store that is built into object storage: shard by shard, and `store.json` last.

It is made in a folder of this disk, from which each shard goes as soon as it is finished. The plan, the
listing and the records of the shards are there too until the end, so that another machine can continue where
this one stopped.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from thorax.datasets.table import Source
from thorax.errors import DataError
from thorax.objects.cache import work_folder
from thorax.objects.client import delete, list_below, put
from thorax.objects.files import fetch_folder
from thorax.objects.mirror import Mirror
from thorax.objects.place import Place
from thorax.progress import ProgressCallback, stage_progress
from thorax.recipe.schema import Preparation
from thorax.store.build import StoreSummary, build
from thorax.store.manifest import DOUBTS, MANIFEST, PLAN, REJECTED, TABLE, StorePlan, shard_name
from thorax.store.plan import LISTING, Settings
from thorax.store.worker import load_shard_record

__all__ = ["build_at", "refuse_used_place"]


def refuse_used_place(place: Place) -> None:
    """Refuse a place with objects that are not a store's, before any work.

    Raises:
        DataError: It has other objects, or cannot be listed.
    """
    names = {listed.name for listed in list_below(place)}
    foreign = sorted(name for name in names if name != LISTING and not name.endswith(".partial"))
    if foreign and not names & {PLAN, MANIFEST}:
        raise DataError(
            f"{place} is not empty and is not a store (it has {foreign[0]}); give another address"
        )


def build_at(  # noqa: PLR0913  (a source, a place, and how)
    source: Source,
    place: Place,
    preparation: Preparation,
    *,
    split_sha256: Mapping[str, str] = MappingProxyType({}),
    workers: int | None = None,
    progress: ProgressCallback | None = None,
    mirror: Mirror | None = None,
) -> StoreSummary:
    """Build a store like `build_store`, into object storage.

    Args:
        source: The data set.
        place: Where the store will be.
        preparation: See `build_store`.
        split_sha256: See `build_store`.
        workers: See `build_store`.
        progress: See `build_store`.
        mirror: Brings the files of a source that is in object storage itself.

    Raises:
        DataError: See `build_store`; or the storage cannot be written.
    """
    settings = Settings(preparation=preparation, split_sha256=split_sha256)
    with work_folder(place, doing="preparing for") as folder:
        if not any((folder / name).is_file() for name in (PLAN, MANIFEST)):
            fetch_folder(place, folder, wanted=lambda listed: not listed.name.endswith((".npy", ".partial")))
        sent = _SentShards(place, folder)
        summary = build(
            source, folder, settings,
            workers=workers, progress=stage_progress(progress, "preparing"), mirror=mirror, sent=sent,
        )  # fmt: skip
        sent.finish(summary.num_shards)
    return replace(summary, notices=(*source.notices, *summary.notices))


class _SentShards:
    """The shards of a store that are in object storage, and what sends the others.

    Args:
        place: The store.
        folder: The folder in which it is made.
    """

    def __init__(self, place: Place, folder: Path) -> None:
        self._place, self._folder = place, folder
        self._sizes = {listed.name: listed.size for listed in list_below(place)}

    def begin(self) -> None:
        """Write the plan there, so that the store is seen to be unfinished."""
        for name in (LISTING, PLAN):
            if name not in self._sizes:
                put(self._folder / name, self._place / name)

    def has(self, plan: StorePlan, number: int) -> bool:
        """Return whether a shard was sent, and its record is in the folder."""
        if self._sizes.get(shard_name(number)) != plan.shard_bytes(number):
            return False
        try:
            load_shard_record(self._folder, number)
        except DataError:
            return False
        return True

    def send(self, number: int) -> None:
        """Write a finished shard there, then its record, and remove the shard here."""
        shard = self._folder / shard_name(number)
        record = shard.with_suffix(".json")
        put(shard, self._place / shard.name)
        put(record, self._place / record.name)
        shard.unlink()

    def finish(self, num_shards: int) -> None:
        """Write the other files there, `store.json` last, and remove what was needed meanwhile."""
        for name in (TABLE, REJECTED, DOUBTS, MANIFEST):
            if (self._folder / name).is_file():
                put(self._folder / name, self._place / name)
        there = {listed.name for listed in list_below(self._place)}
        records = {Path(shard_name(number)).with_suffix(".json").name for number in range(num_shards)}
        for name in sorted(there & (records | {PLAN, LISTING})):
            delete(self._place / name)
        for file in self._folder.iterdir():
            file.unlink()
