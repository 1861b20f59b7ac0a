"""The rows of rows.toml: what a source project says, and how Thorax shows that it does the same.

A row's command runs in the folder that `Table.setup` fills. Whatever a row is compared with is in its
`source` (what the project states, with the line of its README) or is computed by another library.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

FILE = Path(__file__).with_name("rows.toml")

State = Literal["works", "differs", "cannot be shown here", "not yet"]
Kind = Literal["computed", "compared", "text"]
STATES: tuple[State, ...] = get_args(State)
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that a source project is, has or does.

    Attributes:
        project: Key of the project.
        id: Unique name.
        item: What it is.
        words: The line of the project's README, or its words.
        state: Whether Thorax does it.
        because: Why it differs or cannot be shown; a remark on what works.
        kind: computed: something runs, and its outcome is checked. compared: a setting of Thorax equals
            the source's. text: a file is there, with a text.
        recipe: The recipe that the row is about.
        type: What a reader types, where the check runs it in its own way: a service, a download.
        run: Command lines, run one after the other.
        exit: Exit code of the last one.
        prints: Patterns that its output matches.
        writes: Files that it writes.
        check: Function of `checks` that looks at the outcome, as module.name.
        source: The source's values.
    """

    project: str
    id: str
    item: str
    words: str = ""
    state: State = "works"
    because: str = ""
    kind: Kind = "computed"
    recipe: str = ""
    type: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    exit: int = 0
    prints: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    check: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown_by(self) -> tuple[str, ...]:
        """What a reader types to see it."""
        return self.type or self.run or (f"make source-projects ROW={self.id}",)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of a project.

    Attributes:
        type: What one types.
        writes: Files that it writes.
        prints: Patterns that its output matches.
    """

    type: str
    writes: tuple[str, ...] = ()
    prints: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Project:
    """A source project, and the commands by which its author would do the same with Thorax.

    Attributes:
        key: Key of its rows.
        name: Its name.
        link: Its repository.
        about: What it is.
        steps: At most four commands.
        recipes: The recipes that the commands train, with the settings that make each small for the suite.
    """

    key: str
    name: str
    link: str
    about: str
    steps: tuple[Step, ...]
    recipes: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Everything in rows.toml."""

    projects: tuple[Project, ...]
    rows: tuple[Row, ...]
    setup: tuple[str, ...]
    variables: Mapping[str, str]

    def expand(self, command: str) -> str:
        """Replace $NAME by the variable."""
        for _ in range(3):
            command = re.sub(r"\$([A-Z]+)", lambda match: self.variables[match[1]], command)
        return command


@cache
def read_table() -> Table:
    """Read rows.toml."""
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    projects = [_project(key, values) for key, values in content["project"].items()]
    rows = [
        Row(project=key, **{name: _frozen(value) for name, value in values.items()})
        for key, listed in content["rows"].items()
        for values in listed
    ]
    return Table(
        projects=tuple(projects),
        rows=tuple(rows),
        setup=tuple(content["setup"]["run"]),
        variables=content["setup"]["variables"],
    )


def _project(key: str, values: dict[str, Any]) -> Project:
    listed = values.pop("steps")
    steps = tuple(Step(**{name: _frozen(value) for name, value in step.items()}) for step in listed)
    return Project(key=key, steps=steps, **values)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
