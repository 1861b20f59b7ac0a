"""A recipe's settings, as `thorax recipes show` prints them, beside the source's."""

import tomllib
from typing import Any

from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.findings import NIH15, find_finding, parse_findings


def setting(recipe: dict[str, Any], key: str) -> Any:
    """Look up a dotted key."""
    value: Any = recipe
    for name in key.split("."):
        value = value[name]
    return value


def shown(row: Row, workshop: Workshop) -> dict[str, Any]:
    """Return the recipe that the row's command prints."""
    (line,) = row.run or (f"thorax recipes show {row.recipe}",)
    return tomllib.loads(workshop.run(line))


def values(row: Row, workshop: Workshop) -> None:
    """Every setting that the source states is the recipe's."""
    recipe = shown(row, workshop)
    assert {key: setting(recipe, key) for key in row.source} == dict(row.source)


def values_in_all(row: Row, workshop: Workshop) -> None:
    """Every setting that the source states is that of all the recipes that the commands show."""
    for line in row.run:
        recipe = tomllib.loads(workshop.run(line))
        assert {key: setting(recipe, key) for key in row.source} == dict(row.source), line


def names(row: Row, workshop: Workshop) -> None:
    """The findings are those that the source names, in its order."""
    findings = parse_findings(_listed(shown(row, workshop)["data"]["findings"]))
    assert findings == tuple(find_finding(name) for name in row.source["names"])


def classes(row: Row, workshop: Workshop) -> None:
    """There are as many classes as the source has, No Finding among them."""
    findings = parse_findings(_listed(shown(row, workshop)["data"]["findings"]))
    assert len(findings) == len(set(findings)) == row.source["classes"]
    assert find_finding(row.source["one_of_them"]) in findings
    assert set(findings) == set(NIH15)


def _listed(findings: Any) -> Any:
    return findings if isinstance(findings, str) else tuple(findings)
