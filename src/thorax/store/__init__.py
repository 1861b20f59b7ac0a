"""The store: prepared pixels in memory-mapped shards beside one table."""

from typing import TYPE_CHECKING

from thorax.packages import lazy_names

if TYPE_CHECKING:
    from thorax.store.build import StoreSummary, build_store
    from thorax.store.store import Store, open_store

__all__ = ["Store", "StoreSummary", "build_store", "open_store"]

# A worker process imports this package too, and would carry pandas and pyarrow (65 MB and 0.2 s each) only to
# decode images.
__getattr__ = lazy_names(
    __name__,
    {
        "Store": "thorax.store.store",
        "StoreSummary": "thorax.store.build",
        "build_store": "thorax.store.build",
        "open_store": "thorax.store.store",
    },
)
