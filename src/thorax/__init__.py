"""Thorax trains, evaluates and runs classifiers of chest radiographs."""

from thorax.lazy import lazy_names

TYPE_CHECKING = False  # as in `typing`, which takes 20 ms to import
if TYPE_CHECKING:
    from thorax.workflows.model import Model, load

__version__ = "0.1.0"

__all__ = ["Model", "__version__", "load"]

# `import thorax` takes milliseconds; a function's packages are imported when it is first used.
__getattr__ = lazy_names(
    __name__,
    {
        "Model": "thorax.workflows.model",
        "load": "thorax.workflows.model",
    },
    name_extras=True,
)


def __dir__() -> list[str]:
    """Return every name, also those that are not imported yet, so that a prompt completes them."""
    return sorted({*globals(), *__all__})
