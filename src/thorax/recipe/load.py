"""Load and check recipes, by name or from TOML files, with overrides; write them as TOML."""

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from thorax.atomic_io import canonical_json, parse_toml, read_toml_text, write_text
from thorax.errors import DataError, RecipeError
from thorax.recipe.hints import choices, hint_for_key, kind_names
from thorax.recipe.literals import Fit
from thorax.recipe.schema import Preparation, Recipe, Section, TestTime
from thorax.run_files import RECIPE
from thorax.wording import did_you_mean

__all__ = [
    "Settings",
    "changed_recipe",
    "load_preparation",
    "load_recipe",
    "load_test_time",
    "recipe_as_toml",
    "recipe_sha256",
    "shipped_recipes",
    "write_recipe",
]


def shipped_recipes() -> dict[str, str]:
    """Return the TOML text of each recipe that comes with Thorax, by name."""
    library = files("thorax.recipe") / "library"
    texts = {
        entry.name.removesuffix(".toml"): entry for entry in library.iterdir() if entry.name.endswith(".toml")
    }
    return {name: texts[name].read_text(encoding="utf-8") for name in sorted(texts)}


Settings = Sequence[str] | Mapping[str, Any]
"""Settings of a recipe to change: ["optim.lr=3e-4"], or {"optim.lr": 3e-4}."""


def load_recipe(name: str, overrides: Settings = ()) -> Recipe:
    """Load a recipe.

    Args:
        name: The name of a shipped recipe, or the path of a TOML file.
        overrides: Settings such as "optim.lr=3e-4", each a dotted key and a TOML value; a bare word is text,
            also in a list. Or a dictionary of values by dotted key. A warm-up that does not fit into fewer
            epochs keeps its share of them, unless the schedule is set too.

    Raises:
        RecipeError: There is no such recipe, the file is not TOML, a key is unknown (the message suggests the
            nearest one), or a value is invalid.
        DataError: A finding is not in the vocabulary, or is named twice.
    """
    if isinstance(overrides, str):
        raise RecipeError(
            f"the settings are the text {overrides!r}; give a list of texts, here [{overrides!r}]"
        )
    text, where = _recipe_text(name)
    try:
        values = parse_toml(text)
    except ValueError as error:
        raise RecipeError(f"{where} is not TOML: {error}; correct it there") from None
    own_epochs = _number_at(values, "training", "epochs")
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            _set(values, key, value, override=f"{key}={value!r}")
    else:
        for override in overrides:
            _override(values, override)
    keys = [override.partition("=")[0].strip() for override in overrides]
    if "training.epochs" in keys and not any(key.startswith("schedule") for key in keys):
        _shorten_warmup(values, own_epochs)
    try:
        recipe = Recipe.model_validate(values)
        recipe.data.finding_tuple()
    except ValidationError as error:
        raise RecipeError(f"{where}: {_explain(error)}") from None
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return recipe


def changed_recipe(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some settings changed, after the checks of `load_recipe`.

    Args:
        recipe: The recipe to start from.
        settings: Values by dotted key, such as {"optim.lr": 3e-4}. A table replaces a whole section.

    Raises:
        RecipeError: A key is unknown, a value is invalid, or values do not go together.
    """
    values = recipe.model_dump(mode="json")
    for key, value in settings.items():
        _set(values, key, value, override=f"{key}={value!r}")
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(_explain(error)) from None


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write every setting of a recipe as TOML, atomically; `load_recipe` reads back an equal recipe."""
    write_text(path, recipe_as_toml(recipe))


def recipe_as_toml(recipe: Recipe) -> str:
    """Return every setting of a recipe as TOML."""
    return tomli_w.dumps(_without_none(recipe.model_dump(mode="json")))


def recipe_sha256(recipe: Recipe) -> str:
    """Return the SHA-256 of a recipe's values, independent of the file's formatting."""
    values = recipe.model_dump(mode="json")
    if not recipe.training.sync_batch_norm:
        del values["training"]["sync_batch_norm"]  # runs that began without the setting remain the same
    return hashlib.sha256(canonical_json(values)).hexdigest()


def _recipe_text(name: str) -> tuple[str, str]:
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name], f"recipe {name}"
    path = Path(name)
    if path.suffix != ".toml" and not path.is_file():
        raise RecipeError(f"there is no recipe {name!r}; {_recipe_hint(path, name, shipped)}")
    try:
        return read_toml_text(path), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read as a recipe ({error}); give a TOML file") from error


def _recipe_hint(path: Path, name: str, shipped: Mapping[str, str]) -> str:
    """Return what to do about a name that is neither a shipped recipe nor a file."""
    if (path / RECIPE).is_file():
        return f"it is a run: give its recipe, {path / RECIPE}"
    near = difflib.get_close_matches(name, shipped, n=3)
    if near:
        return f"did you mean {', '.join(near)}? A file name must end in .toml"
    return f"give a file whose name ends in .toml, or one of {', '.join(shipped)}"


def _number_at(values: Mapping[str, Any], section: str, key: str) -> float | None:
    table = values.get(section)
    value = table.get(key) if isinstance(table, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _shorten_warmup(values: dict[str, Any], own_epochs: float | None) -> None:
    """Shorten a warm-up that is not below the epochs, so that it keeps its share of them."""
    epochs, warmup = _number_at(values, "training", "epochs"), _number_at(values, "schedule", "warmup_epochs")
    if epochs and warmup and own_epochs and own_epochs > warmup >= epochs > 0:
        values["schedule"]["warmup_epochs"] = round(warmup * epochs / own_epochs, 3)


def _override(values: dict[str, Any], override: str) -> None:
    """Set the dotted key of a text such as "optim.lr=3e-4"."""
    key, equals, text = override.partition("=")
    if not (equals and key.strip()):
        raise RecipeError(
            f"the setting {override!r} is not of the form section.key=value, for example optim.lr=3e-4"
        )
    try:
        value = parse_toml(f"value = {text}")["value"]
    except ValueError:
        value = _unquoted(text.strip())
    _set(values, key.strip(), value, override=override)


def _unquoted(text: str) -> str | list[str]:
    """Return a text, or the list of texts that [Mass, Nodule] means without quotation marks."""
    if not (text.startswith("[") and text.endswith("]")):
        return text
    return [name.strip().strip("\"'") for name in text[1:-1].split(",") if name.strip()]


def _set(values: dict[str, Any], key: str, value: Any, *, override: str) -> None:
    """Set one dotted key; changing the kind of optimizer or schedule drops the settings of the old one."""
    *sections, last = key.split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise RecipeError(
                f"the setting {override!r} is invalid: {section} is a value and has no keys; "
                f"set {section} itself"
            )
    if last == "kind" and table.get("kind", value) != value:
        table.clear()
    if value == "none" and _may_be_none(sections, last):
        table[last] = None
        return
    table[last] = value


def _may_be_none(sections: list[str], last: str) -> bool:
    """Return whether "none" switches a setting off, rather than being its text."""
    owners: list[type[Section]] = [Recipe]
    for section in sections:
        owners = [inner for owner in owners for inner in choices(owner, section)]
    fields = (owner.model_fields.get(last) for owner in owners)
    return any(field is not None and field.default is None for field in fields)


def _explain(error: ValidationError, *, owner: type[Section] = Recipe) -> str:
    texts: dict[str, list[str]] = {}
    for problem in error.errors():
        setting, message = _explain_problem(problem, owner)
        texts.setdefault(setting, []).append(message)
    return "; ".join(f"{setting}{'; '.join(messages)}" for setting, messages in texts.items())


def _explain_problem(problem: ErrorDetails, owner: type[Section]) -> tuple[str, str]:
    """Translate one of pydantic's error messages: "optim.lr = -1: ", and what is wrong with that."""
    kinds = [str(name) for name in problem["loc"] if name in kind_names()]
    # Of a union, pydantic also names the alternative: "literal['NIH14','NIH15']", "tuple[str, ...]".
    names = [str(name) for name in problem["loc"] if name not in kinds]
    key = ".".join(name for name in names if "[" not in name)
    if problem["type"] == "extra_forbidden":
        return "", f"there is no setting {key}{hint_for_key(key, kind=''.join(kinds[-1:]), owner=owner)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "union_tag_invalid":
        tag, kinds = problem["ctx"]["tag"], re.findall(r"'([^']*)'", problem["ctx"]["expected_tags"])
        return f"{key}.kind = {tag!r}: ", f"there are {', '.join(kinds)}{did_you_mean(tag, kinds)}"
    if problem["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        meant = did_you_mean(str(problem["input"]), known)
        message = f"there are {', '.join(known)}{meant}" if len(known) > 1 else message
    if problem["type"] == "tuple_type":
        message = "or give a list, such as ['Mass', 'Nodule']" if "findings" in key else "give a list"
    if problem["type"] == "missing":
        return "", f"{key} is missing; set it"
    return (f"{key} = {problem['input']!r}: " if key else ""), message


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drop values that are None: TOML has no null, and absence means the same."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }


def load_preparation(recipe: str | None, *, size: int | None, fit: Fit | None) -> Preparation:
    """Return a recipe's preparation, or the default one, with `size` and `fit` replaced if they are given.

    Raises:
        RecipeError: There is no such recipe, it cannot be trained at this size or fit, or a store cannot have
            this size.
    """
    required = load_recipe(recipe).store if recipe else Preparation()
    changes = {key: value for key, value in (("size", size), ("fit", fit)) if value is not None}
    try:
        preparation = Preparation.model_validate(required.model_dump() | changes)
    except ValidationError as error:
        raise RecipeError(_explain(error)) from None
    if recipe and (preparation.size < required.size or preparation.fit != required.fit):
        raise RecipeError(
            f"recipe {recipe} needs images of at least {required.size} pixels (fit {required.fit}), not of "
            f"{preparation.size} (fit {preparation.fit}); leave out `size` and `fit`, or leave out `recipe` "
            "and train with the settings store.size and store.fit"
        )
    return preparation


def load_test_time(current: TestTime, overrides: Sequence[str]) -> TestTime:
    """Return settings of test-time augmentation with overrides such as "flip=true".

    Raises:
        RecipeError: There is no such setting, or its value is invalid.
    """
    values = current.model_dump()
    for override in overrides:
        _override(values, override)
    try:
        return TestTime.model_validate(values)
    except ValidationError as error:
        known = ", ".join(TestTime.model_fields)
        raise RecipeError(f"test time: {_explain(error, owner=TestTime)}; its settings are {known}") from None
