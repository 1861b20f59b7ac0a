"""The models that a service has, by name."""

from collections import Counter
from collections.abc import Iterator, Sequence

from thorax.errors import ServiceError
from thorax.service.refusals import Refused
from thorax.workflows.model import Model

__all__ = ["ServedModels"]


class ServedModels:
    """One or several models; the first answers where none is named.

    Args:
        models: The models, whose bundles differ. If names are equal, the start of the bundle's hash is added.

    Raises:
        ServiceError: There is none, or one bundle twice.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        if not models:
            raise ServiceError("there is no model to serve; name at least one bundle")
        hashes = Counter(model.bundle.sha256 for model in models)
        if len(hashes) < len(models):
            (name, *_) = [model.name for model in models if hashes[model.bundle.sha256] > 1]
            raise ServiceError(f"the bundle of {name} is named twice; name each bundle once")
        names = Counter(model.name for model in models)
        self._by_name = {
            model.name if names[model.name] == 1 else f"{model.name}-{model.bundle.sha256[:8]}": model
            for model in models
        }

    def __iter__(self) -> Iterator[tuple[str, Model]]:
        return iter(self._by_name.items())

    def choose(self, name: str) -> tuple[str, Model]:
        """Return a model with its name; "" means the first one.

        Raises:
            Refused: There is no such model.
        """
        chosen = name or next(iter(self._by_name))
        if chosen not in self._by_name:
            listed = ", ".join(self._by_name)
            raise Refused(
                404, "NoSuchModel", f"there is no model {chosen[:100]!r} here; choose from {listed}"
            )
        return chosen, self._by_name[chosen]
