"""Writes docs/source-projects.md from tests/source_projects/rows.toml.

    python tools/source_projects.py [--check]

With --check nothing is written; the exit code is 1 where the file is not what would be written.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.source_projects.rows import KINDS, STATES, Project, Row, read_table  # noqa: E402

FILE = ROOT / "docs" / "source-projects.md"

INTRODUCTION = """\
# Source projects

Thorax began with five public projects. This page shows, for each of the {count} things that they have or do,
whether Thorax does it, and a command that demonstrates it. `make source-projects` runs all rows, in six
minutes on two cores that other work shared; `make source-projects ROW=chexnet-adam` runs the rows that have
this in their names. `make test-all`, and with it continuous integration, runs them too.

- A *computed* row runs something and checks the outcome: files, logs, or numbers beside those of PyTorch,
  torchvision, scikit-learn or pytorch-grad-cam.
- A *compared* row compares a setting of Thorax with the source's own value, which is in
  [one file](../tests/source_projects/rows.toml) with the line of the source's README (L12 and so on).
- A *text* row only looks at a file.

**No row says how well a model reads radiographs.** Everything runs on phantoms of 64 pixels, and most
networks are cut down to a few layers.
"""


def page() -> str:
    """The whole page."""
    table = read_table()
    parts = [
        INTRODUCTION.format(count=len(table.rows)),
        counts(table.rows, table.projects),
        "## The folder of the rows\n\nThe commands of the rows run in a folder that these commands fill:\n",
        "```sh\n" + "\n".join(table.setup) + "\n```\n",
        "The variables stand for settings that make a run small:\n",
        "```sh\n" + "\n".join(f'{name}="{value}"' for name, value in table.variables.items()) + "\n```\n",
    ]
    for project in table.projects:
        parts += [section(project), rows_of([row for row in table.rows if row.project == project.key])]
    return "\n".join(parts)


def counts(rows: tuple[Row, ...], projects: tuple[Project, ...]) -> str:
    """How many rows each project has in each state, and of each kind."""
    named = {project.key: project.name for project in projects}
    shown = [state for state in STATES if any(row.state == state for row in rows)]
    header = ["project", *shown, *KINDS, "rows"]
    lines = []
    for key in [*named, ""]:
        own = [row for row in rows if key in {row.project, ""}]
        states, kinds = Counter(row.state for row in own), Counter(row.kind for row in own)
        numbers = [*(states[state] for state in shown), *(kinds[kind] for kind in KINDS), len(own)]
        lines.append([named.get(key, "all"), *map(str, numbers)])
    return markdown_table(header, lines)


def section(project: Project) -> str:
    """A project and its commands."""
    name = project.link.removeprefix("https://")
    commands = "\n".join(step.type for step in project.steps)
    return f"## {project.name}\n\n[{name}]({project.link}). {project.about}\n\n```sh\n{commands}\n```\n"


def rows_of(rows: list[Row]) -> str:
    """The table of one project."""
    lines = [
        [
            f"`{row.id}`",
            f"{row.item} ({row.words})" if row.words else row.item,
            verdict(row),
            row.kind,
            shown_by(row),
        ]
        for row in rows
    ]
    return markdown_table(["row", "the source", "Thorax", "kind", "shown by"], lines)


def verdict(row: Row) -> str:
    """The state, and the reason."""
    words = {
        "works": "works",
        "differs": "differs, on purpose",
        "cannot be shown here": "cannot be shown here",
        "not yet": "not there yet",
    }[row.state]
    if not row.because:
        return words
    return f"{words}: {row.because}" if row.state == "works" else f"{words}, because {row.because}"


def shown_by(row: Row) -> str:
    """The commands, as code."""
    if row.state == "not yet":
        return "-"
    return "<br>".join(f"`{command}`" for command in row.shown_by)


def markdown_table(header: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown."""
    escaped = [
        [cell.replace("|", "\\|") for cell in line] for line in [header, ["---"] * len(header), *lines]
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped) + "\n"


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where the file is another")
    text = page()
    if parser.parse_args().check:
        raise SystemExit(int(FILE.read_text(encoding="utf-8") != text))
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
