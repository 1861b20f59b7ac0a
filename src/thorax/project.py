"""A project: `thorax.toml` in the working folder, with its paths and the defaults of its commands."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import parse_toml, read_toml_text
from thorax.errors import RecipeError

__all__ = ["PATHS", "PROJECT_FILE", "Project", "read_project"]

PROJECT_FILE: Final = "thorax.toml"

PATHS: Final = ("source", "store", "runs", "reports", "key")
"""The keys of `[paths]`: a data set, the store made from it, the folders of runs and of reports, and the
public key that bundles must be signed with."""

_WITH_STORE: Final = (
    "audit",
    "calibrate",
    "compare",
    "evaluate",
    "export",
    "localize",
    "robustness",
    "site",
    "train",
    "tune",
)
"""Commands whose option `store` is the project's; `ensemble` calibrates only where a store is named."""

_INSTEAD_OF_STORE: Final = ("labels", "predictions")
"""Options of `evaluate` and `compare` that a store does not go with."""


@dataclass(frozen=True, slots=True)
class Project:
    """The content of a `thorax.toml`.

    Attributes:
        file: The file.
        paths: Paths by their key in `PATHS`, relative to the working folder.
        commands: For each command that has a section, its defaults by the names of its options.
    """

    file: Path
    paths: Mapping[str, str]
    commands: Mapping[str, Mapping[str, Any]]

    def defaults(self, command: str, *, options: Collection[str], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults of a command by the names of its options; what it was given is left out.

        The command's own section comes before `[paths]`.

        Args:
            command: Its name, such as "train".
            options: The names of all its options and arguments.
            given: Those of them that the user gave, with their values.

        Raises:
            RecipeError: The command's section names an option that it does not have.
        """
        own = self.commands.get(command, {})
        for key in own:
            if key not in options:
                raise RecipeError(f"{self.file} has no use for {key} in [{command}]; {_near(key, options)}")
        known = {**own, **given}
        places = {name: path for name, path in self._places(command, known) if name in options}
        return {name: value for name, value in {**places, **own}.items() if name not in given}

    def _places(self, command: str, known: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the options of a command that take one of the project's paths."""
        paths = self.paths
        places: list[tuple[str, str | None]] = []
        instead = command in {"compare", "evaluate", "site"} and any(
            known.get(name) for name in _INSTEAD_OF_STORE
        )
        if command in _WITH_STORE and not instead:
            places += [("store", paths.get("store"))]
        places += [("require_signature", paths.get("key"))]
        match command:
            case "verify":
                places += [("key", paths.get("key"))]
            case "prepare":
                places += [("source", paths.get("source")), ("out", paths.get("store"))]
            case "runs":
                places += [("folder", paths.get("runs"))]
            case "sheet":
                places += [("source", paths.get("store"))]
            case "train":
                places += [("out", self._below("runs", known.get("recipe")))]
            case "evaluate":
                places += [("out", self._below("reports", known.get("bundle")))]
            case "compare":
                places += [("out", self._below("reports", "comparison"))]
        return [(option, path) for option, path in places if path is not None]

    def _below(self, folder: str, name: Any) -> str | None:
        """Return the path of a result in one of the project's folders, named after what it is made from."""
        if folder not in self.paths or not name:
            return None
        return str(Path(self.paths[folder]) / Path(str(name)).name.removesuffix(".toml"))


def read_project(folder: Path, *, commands: Collection[str]) -> Project | None:
    """Read the `thorax.toml` in a folder; None if there is none.

    Args:
        folder: The working folder.
        commands: The names of all commands, each of which may have a section.

    Raises:
        RecipeError: The file is not TOML, or has a section or key that nothing uses; the message names the
            nearest one.
    """
    file = folder / PROJECT_FILE
    if not file.is_file():
        return None
    try:
        values = parse_toml(read_toml_text(file))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{file} cannot be read as TOML ({error}); correct it there") from error
    for name, section in values.items():
        if name != "paths" and name not in commands:
            raise RecipeError(f"{file} has a section {name}; {_near(name, ['paths', *commands])}")
        if not isinstance(section, dict):
            raise RecipeError(f"{file}: {name} = {section!r} is a value; write a section, [{name}]")
    paths = values.pop("paths", {})
    for key, path in paths.items():
        if key not in PATHS:
            raise RecipeError(f"{file} has no use for {key} in [paths]; {_near(key, PATHS)}")
        if not isinstance(path, str) or not path:
            raise RecipeError(f"{file}: {key} = {path!r} in [paths] is not a path; write it in quotes")
    return Project(file, paths, values)


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"it can have {', '.join(known)}"
