"""Search spaces: which settings of a recipe a study varies, and within which bounds.

A space is a TOML file with the sections of a recipe. In the place of a value there is a range, such as
`lr = { low = 1e-4, high = 1e-2, log = true }`, or a list of choices, such as
`pool = { choices = ["lse", "attention"] }`. A choice may be a whole section:
`loss = { choices = [{ kind = "bce" }, { kind = "focal", gamma = 2.0 }] }`.
"""

import difflib
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import canonical_json, parse_toml, read_toml_text
from thorax.errors import RecipeError
from thorax.recipe.load import changed_recipe
from thorax.recipe.schema import Recipe

__all__ = ["Choice", "Dimension", "FloatRange", "IntRange", "SearchSpace", "load_space", "shipped_spaces"]

_REFUSED: Final = {
    "name": "it describes the recipe",
    "summary": "it describes the recipe",
    "source": "it describes the recipe",
    "cost": "it describes the recipe",
    "store": "a study uses one store",
    "data.split": "trials must be compared on the same images",
    "data.views": "trials must be compared on the same images",
    "data.sample": "trials must be compared on the same images",
    "data.findings": "trials must be compared on the same findings",
    "selection.metric": "trials must be compared by the same metric",
    "training.seed": "the best of several seeds is the luckiest one, not the best setting",
}
"""Settings that a study cannot vary, with the reason; a section stands for all its settings."""

_RANGE_KEYS: Final = frozenset({"low", "high", "log"})


@dataclass(frozen=True, slots=True)
class FloatRange:
    """A setting with any value between two bounds, which are included.

    Attributes:
        key: Its dotted key in the recipe.
        low: Lower bound.
        high: Upper bound.
        log: Whether equal ratios, rather than equal differences, are equally likely.
    """

    key: str
    low: float
    high: float
    log: bool = False

    def contains(self, value: Any) -> bool:
        """Return whether a recipe's value lies in the range."""
        return isinstance(value, float | int) and self.low <= value <= self.high

    def as_text(self) -> str:
        """Return the range for people."""
        return f"{self.low:.4g} to {self.high:.4g}{', log' if self.log else ''}"


@dataclass(frozen=True, slots=True)
class IntRange:
    """A setting with any whole value between two bounds, which are included; see `FloatRange`."""

    key: str
    low: int
    high: int
    log: bool = False

    def contains(self, value: Any) -> bool:
        """Return whether a recipe's value lies in the range."""
        return isinstance(value, int) and self.low <= value <= self.high

    def as_text(self) -> str:
        """Return the range for people."""
        return f"{self.low} to {self.high}{', log' if self.log else ''}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting with one of several values.

    Attributes:
        key: Its dotted key in the recipe; may be that of a section.
        values: The values, at least two; a section's are tables.
    """

    key: str
    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """A text for each value: a word as it is, everything else as JSON."""
        return tuple(_label(value) for value in self.values)

    def as_text(self) -> str:
        """Return the choices for people."""
        return ", ".join(self.labels)


Dimension = FloatRange | IntRange | Choice
"""One setting of a space."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A checked search space.

    Attributes:
        name: Name of the recipe that it is shipped for, or its file.
        dimensions: The settings, in the order of the file.
    """

    name: str
    dimensions: tuple[Dimension, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of the settings and their bounds, independent of the file's formatting."""
        return hashlib.sha256(canonical_json(self.as_json())).hexdigest()

    def as_json(self) -> list[dict[str, Any]]:
        """Return the settings and their bounds as JSON values."""
        return [asdict(dimension) for dimension in self.dimensions]

    def own_values(self, recipe: Recipe) -> dict[str, Any] | None:
        """Return the recipe's own settings as parameters of a trial; None if one is outside the space."""
        own: dict[str, Any] = {}
        for dimension in self.dimensions:
            if isinstance(dimension, Choice):
                same = [
                    label
                    for label, value in zip(dimension.labels, dimension.values, strict=True)
                    if changed_recipe(recipe, {dimension.key: value}) == recipe
                ]
                if not same:
                    return None
                own[dimension.key] = same[0]
            else:
                value = _value_at(recipe, dimension.key)
                if not dimension.contains(value):
                    return None
                own[dimension.key] = value
        return own

    def settings(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the recipe's settings of a trial.

        Args:
            parameters: By key: a number, or the label of a choice.
        """
        return {
            dimension.key: dimension.values[dimension.labels.index(parameters[dimension.key])]
            if isinstance(dimension, Choice)
            else parameters[dimension.key]
            for dimension in self.dimensions
        }


def shipped_spaces() -> dict[str, str]:
    """Return the TOML text of each space that comes with Thorax, by the name of its recipe."""
    library = files("thorax.tuning") / "spaces"
    texts = {
        entry.name.removesuffix(".toml"): entry for entry in library.iterdir() if entry.name.endswith(".toml")
    }
    return {name: texts[name].read_text(encoding="utf-8") for name in sorted(texts)}


def load_space(recipe: Recipe, path: Path | None = None, *, fixed: Sequence[str] = ()) -> SearchSpace:
    """Read a search space and check each bound against the recipe.

    Args:
        recipe: The recipe that trials vary.
        path: A TOML file; None takes the space that is shipped for the recipe of this name.
        fixed: Keys that the user has set, which the space must not vary.

    Raises:
        RecipeError: There is no such space, it is not TOML, a key is unknown, a range is empty, or the recipe
            does not accept a bound or choice.
    """
    text, where = _space_text(recipe, path)
    try:
        table = parse_toml(text)
    except ValueError as error:
        raise RecipeError(f"{where} is not TOML: {error}; correct it there") from error
    dimensions = []
    for key, leaf in _leaves(table, where):
        _refuse_key(key, where, fixed)
        dimensions.append(
            _choice(key, leaf, where) if "choices" in leaf else _range(recipe, key, leaf, where)
        )
        _try_ends(recipe, dimensions[-1], where)
    if not dimensions:
        raise RecipeError(
            f"{where} does not vary any setting; add one, for example "
            "[optim] lr = { low = 1e-4, high = 1e-2, log = true }"
        )
    return SearchSpace(recipe.name if path is None else path.name, tuple(dimensions))


def _space_text(recipe: Recipe, path: Path | None) -> tuple[str, str]:
    if path is None:
        shipped = shipped_spaces()
        if recipe.name in shipped:
            return shipped[recipe.name], f"space {recipe.name}"
        raise RecipeError(
            f"no search space is shipped for recipe {recipe.name!r} (there is one for "
            f"{', '.join(shipped)}); give a TOML file of your own as `space`"
        )
    try:
        return read_toml_text(path), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read as a search space ({error}); give a TOML file") from error


def _leaves(table: Mapping[str, Any], where: str, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dotted key and the table of each range or choice."""
    for name, value in table.items():
        key = f"{prefix}{name}"
        if not isinstance(value, dict):
            raise RecipeError(
                f"{where}: {key} = {value!r} is a single value, so there is nothing to search; give "
                "{ low = ..., high = ... } or { choices = [...] }, or set it with `settings`"
            )
        if _RANGE_KEYS & value.keys() or "choices" in value:
            yield key, value
        else:
            yield from _leaves(value, where, f"{key}.")


def _refuse_key(key: str, where: str, fixed: Sequence[str]) -> None:
    owners = {".".join(key.split(".")[:count]) for count in range(1, key.count(".") + 2)}
    refused = sorted(owners & _REFUSED.keys())
    if refused:
        raise RecipeError(
            f"{where}: {key} cannot be searched, because {_REFUSED[refused[0]]}; remove it there"
        )
    clash = sorted(name for name in fixed if name in owners or name.startswith(f"{key}."))
    if clash:
        raise RecipeError(
            f"{where}: {key} is to be searched, but `settings` also sets {clash[0]}; leave out one of them"
        )


def _choice(key: str, leaf: Mapping[str, Any], where: str) -> Choice:
    _refuse_unknown(key, leaf, {"choices"}, where)
    values = leaf["choices"]
    labels = [_label(value) for value in values] if isinstance(values, list) else []
    if len(labels) < 2 or len(set(labels)) < len(labels):  # noqa: PLR2004  (one value is not a choice)
        raise RecipeError(
            f"{where}: the choices of {key} are {values!r}; give a list of at least two different values"
        )
    return Choice(key, tuple(values))


def _range(recipe: Recipe, key: str, leaf: Mapping[str, Any], where: str) -> FloatRange | IntRange:
    _refuse_unknown(key, leaf, _RANGE_KEYS, where)
    bounds = {name: leaf.get(name) for name in ("low", "high")}
    for name, bound in bounds.items():
        number = bound if isinstance(bound, int | float) and not isinstance(bound, bool) else math.nan
        if not abs(number) <= sys.float_info.max:  # NaN, infinity, or a whole number beyond floats
            raise RecipeError(f"{where}: {name} of {key} is {bound!r:.60}; give a number")
    low, high, log = leaf["low"], leaf["high"], leaf.get("log", False)
    if not isinstance(log, bool):
        raise RecipeError(f"{where}: log of {key} is {log!r}; give true or false")
    if low >= high:
        raise RecipeError(
            f"{where}: the range of {key} is empty, from {low} to {high}; make low smaller than high"
        )
    if log and low <= 0:
        raise RecipeError(
            f"{where}: {key} is logarithmic from {low}, but a logarithm needs values above 0; raise low, or "
            "leave out log"
        )
    accepted = _value_at(_changed(recipe, key, low, where), key)
    if isinstance(accepted, float):
        return FloatRange(key, float(low), float(high), log)
    if isinstance(accepted, bool) or not isinstance(accepted, int):
        raise RecipeError(f"{where}: {key} is not a number, so it has no range; give {{ choices = [...] }}")
    if isinstance(low, float) or isinstance(high, float):
        raise RecipeError(
            f"{where}: {key} takes whole numbers, but its range is {low} to {high}; give bounds without a "
            "decimal point"
        )
    return IntRange(key, low, high, log)


def _refuse_unknown(key: str, leaf: Mapping[str, Any], known: set[str] | frozenset[str], where: str) -> None:
    for name in leaf:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(_RANGE_KEYS | {"choices"}), n=1)
            hint = f"did you mean {near[0]}? " if near and near[0] in known else ""
            raise RecipeError(
                f"{where}: {key} has an unknown entry {name!r}; {hint}it may have {', '.join(sorted(known))}"
            )


def _try_ends(recipe: Recipe, dimension: Dimension, where: str) -> None:
    """Refuse a bound or choice that the recipe does not accept while its other settings are unchanged."""
    ends = dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)
    for value in ends:
        _changed(recipe, dimension.key, value, where)


def _changed(recipe: Recipe, key: str, value: Any, where: str) -> Recipe:
    try:
        return changed_recipe(recipe, {key: value})
    except RecipeError as error:
        raise RecipeError(f"{where}, {key}: {error}; correct the space there") from error


def _value_at(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
