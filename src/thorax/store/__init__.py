"""The store: prepared pixels in memory-mapped shards beside one table."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thorax.store.build import StoreSummary, build_store
    from thorax.store.store import Store, open_store

__all__ = ["Store", "StoreSummary", "build_store", "open_store"]

_MODULES = {
    "Store": "thorax.store.store",
    "StoreSummary": "thorax.store.build",
    "build_store": "thorax.store.build",
    "open_store": "thorax.store.store",
}


def __getattr__(name: str) -> Any:
    # Found on first use: a worker process imports this package too, and would carry pandas and
    # pyarrow (65 MB and 0.2 s each) only to decode images.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
