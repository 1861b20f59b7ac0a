"""What a study is: recipes, seeds, data with their splits, and settings, as TOML."""

import difflib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final

import tomli_w
from pydantic import Field, ValidationError, model_validator

from thorax.atomic_io import parse_toml, read_toml_text
from thorax.errors import RecipeError
from thorax.recipe.load import load_recipe
from thorax.recipe.schema import Recipe, Section

__all__ = [
    "DataSet",
    "StudyDefinition",
    "definition_as_toml",
    "flat_settings",
    "load_study",
    "parse_study",
    "shipped_studies",
    "with_absolute_paths",
]

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=60)]
"""A name that is also that of a folder."""

_OWN: Final = {
    "data.split": "the study gives every run its split; list it in `splits` of the data set",
    "training.seed": "the study gives every run its seed; list it in `seeds`",
}
"""Settings that no study changes, and why."""


class DataSet(Section):
    """Images that every recipe is trained on.

    Either phantoms, which the study draws itself, or stores that exist: in the study's file or given as
    `stores`. Several stores differ in their preparation; each recipe takes the smallest that it can use.
    """

    splits: tuple[str, ...] = Field(min_length=1)
    """Names of splits, each of which gets a leaderboard of its own."""
    phantoms: int | None = Field(None, ge=20, le=100_000)
    """Number of patients whose synthetic radiographs are drawn."""
    stores: tuple[str, ...] = ()
    """Folders of stores, relative to the study's file."""

    @model_validator(mode="after")
    def _one_source(self) -> "DataSet":
        if self.phantoms is not None and self.stores:
            raise ValueError("phantoms and stores do not go together; leave out one of them")
        _refuse_repeats("splits", self.splits)
        return self


class StudyDefinition(Section):
    """A study: which recipes are trained, with which seeds, on what, and how they are compared."""

    name: Name
    """The NAME of `thorax study NAME`."""
    summary: str
    """One line for the list of studies."""
    cost: str = ""
    """Time that it takes, and the machine on which it was measured."""
    recipes: tuple[str, ...] = Field(min_length=1)
    """Names of shipped recipes, or TOML files relative to the study's file."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(min_length=1)
    """Seeds of training; every recipe is trained with each of them."""
    data: dict[Name, DataSet] = Field(min_length=1)
    """The data sets by name."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of every run."""
    settings_of: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Further settings of one recipe, by the recipe's name."""
    variants: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    """Further settings, crossed with every recipe; without any, each recipe has one variant."""
    baseline: str = ""
    """The model with which the others are compared, such as "chexnet+flips"; "" compares all pairs."""
    test_curve: bool = False
    """Whether training also measures each epoch on the test part, to report what choosing the checkpoint
    there would have added. It is only logged, and noted as looks."""
    resamples: int = Field(1000, ge=1)
    """Bootstrap resamples of the patients in each evaluation and comparison."""

    @model_validator(mode="after")
    def _consistent(self) -> "StudyDefinition":
        _refuse_repeats("recipes", self.recipes)
        _refuse_repeats("seeds", self.seeds)
        for where, settings in self.all_settings():
            for key in flat_settings(settings):
                if key in _OWN:
                    raise ValueError(f"{where} has {key}, and {_OWN[key]}")
        unknown = sorted(set(self.settings_of) - set(self.recipes))
        if unknown:
            raise ValueError(
                f"settings_of has {unknown[0]}, which is not one of the recipes {', '.join(self.recipes)}"
            )
        return self

    def all_settings(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield each table of settings, with its name in the file."""
        yield "settings", self.settings
        for recipe, settings in self.settings_of.items():
            yield f"settings_of.{recipe}", settings
        for variant, settings in self.variants.items():
            yield f"variants.{variant}", settings

    def models(self) -> dict[str, Recipe]:
        """Return the recipe of each model, yet without its split and seed, by the model's name.

        A recipe without variants is called by its name, and a variant "RECIPE+VARIANT".

        Raises:
            RecipeError: A recipe does not exist, does not accept a setting, or two have one name.
        """
        models: dict[str, Recipe] = {}
        for recipe in self.recipes:
            for variant, settings in self.variants.items() or (("", {}),):
                changed = (
                    flat_settings(self.settings)
                    | flat_settings(self.settings_of.get(recipe, {}))
                    | flat_settings(settings)
                )
                loaded = _loaded(recipe, changed, variant)
                name = f"{loaded.name}+{variant}" if variant else loaded.name
                if name in models:
                    raise RecipeError(
                        f"two recipes of study {self.name} are called {loaded.name}; rename one of them"
                    )
                models[name] = loaded
        if self.baseline and self.baseline not in models:
            raise RecipeError(
                f"study {self.name} has the baseline {self.baseline!r}, and its models are "
                f"{', '.join(models)}; set `baseline` to one of them"
            )
        return models


def _refuse_repeats(what: str, values: tuple[Any, ...]) -> None:
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{what} lists {repeated[0]} twice; list it once")


def _loaded(recipe: str, settings: Mapping[str, Any], variant: str) -> Recipe:
    try:
        return load_recipe(recipe, settings)
    except RecipeError as error:
        if not settings:
            raise
        where = f"{recipe}, variant {variant}" if variant else recipe
        raise RecipeError(f"recipe {where}, with the settings of the study: {error}") from error


def flat_settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted key: {"optim": {"lr": 1}} and {"optim.lr": 1} are the same.

    The arguments of a backbone, which are not settings of their own, remain a table.
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and not key.endswith("arguments"):
            flat |= {f"{key}.{inner}": content for inner, content in flat_settings(value).items()}
        else:
            flat[key] = value
    return flat


def shipped_studies() -> dict[str, str]:
    """Return the TOML text of each study that comes with Thorax, by name."""
    library = files("thorax.studies") / "library"
    texts = {
        entry.name.removesuffix(".toml"): entry for entry in library.iterdir() if entry.name.endswith(".toml")
    }
    return {name: texts[name].read_text(encoding="utf-8") for name in sorted(texts)}


def load_study(name: str) -> StudyDefinition:
    """Read a shipped study or a TOML file; its paths become absolute.

    Raises:
        RecipeError: There is no such study, it is not TOML, or a value is wrong.
    """
    shipped = shipped_studies()
    if name in shipped:
        return parse_study(shipped[name], where=f"study {name}", folder=None)
    path = Path(name)
    if path.suffix != ".toml" and not path.is_file():
        near = difflib.get_close_matches(name, shipped, n=2)
        hint = (
            f"did you mean {', '.join(near)}? A file name must end in .toml"
            if near
            else f"give a file whose name ends in .toml, or one of {', '.join(shipped)}"
        )
        raise RecipeError(f"there is no study {name!r}; {hint}")
    try:
        text = read_toml_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read as a study ({error}); give a TOML file") from error
    return parse_study(text, where=str(path), folder=path.resolve().parent)


def parse_study(text: str, *, where: str, folder: Path | None) -> StudyDefinition:
    """Parse the TOML of a study.

    Args:
        text: The TOML.
        where: What it is called in messages.
        folder: What its paths are relative to; None leaves them as they are.

    Raises:
        RecipeError: It is not TOML, or a value is wrong.
    """
    try:
        values = parse_toml(text)
    except ValueError as error:
        raise RecipeError(f"{where} is not TOML: {error}; correct it there") from error
    try:
        study = StudyDefinition.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_explain(error)}; correct it there") from None
    return study if folder is None else with_absolute_paths(study, folder)


def definition_as_toml(study: StudyDefinition) -> str:
    """Return a study as TOML, which `parse_study` reads back as an equal one."""
    values = study.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(values)


def with_absolute_paths(study: StudyDefinition, folder: Path) -> StudyDefinition:
    """Return a study with its recipes, stores and lists relative to a folder made absolute."""

    def recipe(name: str) -> str:
        return str((folder / name).resolve()) if name.endswith(".toml") else name

    def split(name: str) -> str:
        kind, file, path = name.partition("file:")
        return f"file:{(folder / path).resolve()}" if file and not kind else name

    data = {
        name: one.model_copy(
            update={
                "stores": tuple(str((folder / store).resolve()) for store in one.stores),
                "splits": tuple(map(split, one.splits)),
            }
        )
        for name, one in study.data.items()
    }
    return study.model_copy(
        update={
            "recipes": tuple(map(recipe, study.recipes)),
            "settings_of": {recipe(name): settings for name, settings in study.settings_of.items()},
            "data": data,
        }
    )


def _explain(error: ValidationError) -> str:
    """Return pydantic's problems as "seeds: Input should be a valid tuple"."""
    texts = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, StudyDefinition.model_fields, n=1)
            texts.append(f"there is no entry {key}{f'; did you mean {near[0]}?' if near else ''}")
        elif problem["type"] == "missing":
            texts.append(f"{key} is missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            texts.append(f"{key}: {message}" if key else message)
    return "; ".join(texts)
