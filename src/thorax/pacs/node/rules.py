"""Which images a node predicts, and what becomes of those that the input gate holds back: rules in TOML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal, cast

from pydicom.dataset import Dataset

from thorax.atomic_io import parse_toml, read_toml_text
from thorax.errors import RecipeError
from thorax.imaging.dicom.header import texts_of, view_position

__all__ = ["Header", "Rule", "Rules", "header_of", "load_rules"]

Action = Literal["predict", "skip"]
HeldBack = Literal["report", "nothing"]

_ACTIONS: Final = ("predict", "skip")
_HELD_BACK: Final = ("report", "nothing")

_DESCRIPTIONS: Final = ("SeriesDescription", "StudyDescription", "ProtocolName")


@dataclass(frozen=True, slots=True)
class Header:
    """What rules look at, in upper case; "" for what an image does not state.

    Attributes:
        modality: Modality, such as "DX".
        view: "PA", "AP", "LL" for every lateral view, or "".
        body_part: Body Part Examined, such as "CHEST".
        descriptions: Series Description, Study Description and Protocol Name.
    """

    modality: str
    view: str
    body_part: str
    descriptions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: it holds for images of which every stated list has a pattern that fits.

    Patterns are those of file names: `*` stands for anything, "" for what is not stated.

    Attributes:
        action: What becomes of the images.
        modality: Patterns for the modality; empty: any.
        view: Patterns for the view.
        body_part: Patterns for the body part.
        description: Patterns, one of which must fit a description; "" fits if none is stated.
    """

    action: Action
    modality: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    description: tuple[str, ...] = ()

    def holds_for(self, header: Header) -> bool:
        """Return whether the rule holds for an image."""
        return (
            _fits(self.modality, (header.modality,))
            and _fits(self.view, (header.view,))
            and _fits(self.body_part, (header.body_part,))
            and _fits(self.description, tuple(filter(None, header.descriptions)) or ("",))
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a node.

    Attributes:
        rules: The first one that holds for an image decides.
        otherwise: What becomes of images for which none holds.
        held_back: Whether an image that the input gate holds back gets a report that says so, or nothing.
    """

    rules: tuple[Rule, ...] = ()
    otherwise: Action = "predict"
    held_back: HeldBack = "report"

    def action_for(self, header: Header) -> Action:
        """Return what becomes of an image."""
        return "skip" if self.reason_to_skip(header) else "predict"

    def reason_to_skip(self, header: Header) -> str:
        """Return what of the rules leaves an image out; "" if it is predicted."""
        for number, rule in enumerate(self.rules, start=1):
            if rule.holds_for(header):
                return f"rule {number} leaves it out" if rule.action == "skip" else ""
        return 'no rule holds for it, and otherwise is "skip"' if self.otherwise == "skip" else ""


def _fits(patterns: Sequence[str], values: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(value, pattern) for pattern in patterns for value in values)


def header_of(dataset: Dataset) -> Header:
    """Return what rules look at of the header of an image."""

    def first(keyword: str) -> str:
        return (texts_of(dataset, keyword) or [""])[0]

    return Header(
        first("Modality"),
        view_position(dataset, "the image").value,
        first("BodyPartExamined"),
        tuple(first(keyword) for keyword in _DESCRIPTIONS),
    )


def load_rules(path: Path | None) -> Rules:
    """Read rules; None: those by which every radiograph is predicted.

    Raises:
        RecipeError: The file cannot be read, is not TOML, or has an unknown key or value.
    """
    if path is None:
        return Rules()
    try:
        table = parse_toml(read_toml_text(path))
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read as rules ({error.strerror}); set `rules` to a TOML file"
        ) from error
    except ValueError as error:
        raise RecipeError(f"{path} is not TOML: {error}; correct it there") from error
    where = str(path)
    _refuse_unknown(table, ("rule", "otherwise", "held_back"), where)
    listed = table.get("rule", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise RecipeError(f"{where}: rule is {listed!r}, and each rule is a table; begin it with [[rule]]")
    return Rules(
        tuple(_rule(one, f"{where}, rule {number}") for number, one in enumerate(listed, start=1)),
        cast("Action", _choice(table, "otherwise", _ACTIONS, "predict", where)),
        cast("HeldBack", _choice(table, "held_back", _HELD_BACK, "report", where)),
    )


def _rule(table: Mapping[str, Any], where: str) -> Rule:
    names = [field.name for field in fields(Rule)]
    _refuse_unknown(table, names, where)
    if "action" not in table:
        raise RecipeError(f'{where} has no action; add action = "predict" or action = "skip"')
    action = cast("Action", _choice(table, "action", _ACTIONS, "", where))
    return Rule(action, *(_patterns(table, name, where) for name in names[1:]))


def _patterns(table: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    value = table.get(name, [])
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise RecipeError(f'{where}: {name} is {value!r}; give a list of texts, such as ["DX", "CR"]')
    return tuple(pattern.upper() for pattern in patterns)


def _choice(table: Mapping[str, Any], name: str, choices: Sequence[str], default: str, where: str) -> str:
    value = table.get(name, default)
    if value not in choices:
        raise RecipeError(f"{where}: {name} is {value!r}; set it to {' or '.join(choices)}")
    return str(value)


def _refuse_unknown(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise RecipeError(f"{where}: there is no key {unknown[0]!r}; the keys are {', '.join(known)}")
