"""Which settings differ between two recipes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from thorax.recipe.load import load_recipe, shipped_recipes
from thorax.recipe.schema import Recipe

__all__ = ["changed_settings", "changes_from_shipped", "describe_changes", "setting_text"]

_SHOWN: Final = 4
"""Number of changed settings that a message names."""

_TEXTS: Final = ("name", "summary", "source", "cost")
"""What a recipe says of itself: nothing is computed from it."""


def changed_settings(before: Recipe, now: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return both values of each setting that differs, by its dotted key; a value that is absent is None."""
    old, new = _by_key(before.model_dump(mode="json")), _by_key(now.model_dump(mode="json"))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return {key: (old.get(key), new.get(key)) for key in keys}


def changes_from_shipped(recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return what differs from the shipped recipe of that name, as `changed_settings` does; {} if none is."""
    if recipe.name not in shipped_recipes():
        return {}
    changes = changed_settings(load_recipe(recipe.name), recipe)
    return {key: values for key, values in changes.items() if key not in _TEXTS}


def describe_changes(changes: Mapping[str, Sequence[Any]]) -> str:
    """Return changes as text, such as "training.epochs was 4, is 25"; the first four of many."""
    texts = [f"{key} was {setting_text(old)}, is {setting_text(new)}" for key, (old, new) in changes.items()]
    more = [f"and {len(texts) - _SHOWN} other settings"] if len(texts) > _SHOWN else []
    return "; ".join([*texts[:_SHOWN], *more])


def setting_text(value: Any) -> str:
    """Return a setting's value as a message shows it."""
    return "none" if value is None else str(value)


def _by_key(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _by_key(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
