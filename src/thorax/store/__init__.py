"""Stores: prepared pixels in memory-mapped shards, with one table."""

from typing import TYPE_CHECKING

from thorax.packages import lazy_names

if TYPE_CHECKING:
    from thorax.store.build import StoreSummary, build_store
    from thorax.store.store import Store, open_store

__all__ = ["Store", "StoreSummary", "build_store", "open_store"]

# Lazy, because worker processes import this package too: to decode images they need neither pandas nor
# pyarrow (65 MB and 0.2 s each).
__getattr__ = lazy_names(
    __name__,
    {
        "Store": "thorax.store.store",
        "StoreSummary": "thorax.store.build",
        "build_store": "thorax.store.build",
        "open_store": "thorax.store.store",
    },
)
