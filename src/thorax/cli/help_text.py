"""What `--help` and wrong usage print: text in the terminal's width, without boxes or broken words."""

import inspect
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from typer.core import TyperCommand, TyperGroup

from thorax.cli.examples import EXAMPLES
from thorax.cli.exit_codes import EXIT_CODES
from thorax.cli.output import styled
from thorax.quoting import quoted

__all__ = ["Verb", "Verbs", "annotations_of", "choices_of", "first_sentence", "value_type"]

_WIDEST: Final = 120
"""Columns of the longest line: longer ones are hard to read."""

_NARROWEST: Final = 40

_LEFT: Final = 30
"""Columns that an option and its value may take beside the text; a longer one has a line of its own."""

_SHOWN_CHOICES: Final = 20
"""Characters that choices may have to be shown as the value; more are listed in the text."""

_UNBROKEN: Final = "\N{NO-BREAK SPACE}"
"""A space at which no line ends; it is printed as a usual one."""

_WORDS: Final[Mapping[type, str]] = {Path: "PATH", int: "N", float: "NUMBER", str: "TEXT"}

_VALUES: Final[Mapping[str, str]] = {
    "device": "DEVICE", "finding": "NAME", "findings": "NAMES", "name": "NAME", "part": "PART",
    "recipe": "RECIPE", "rule": "RULE", "settings": "KEY=VALUE", "site": "NAME", "split": "SPLIT",
    "method": "METHOD", "model": "MODEL", "track": "mlflow:URI", "prevalence": "NAME=SHARE",
    "bundle": "BUNDLE", "out": "PATH", "store": "STORE", "backbone": "NAME", "source": "SOURCE",
}  # fmt: skip
"""What to call the values of some parameters, by the parameter's name."""


class Verb(TyperCommand):
    """A command whose help and usage errors are plain text."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; a usage error says what was probably meant."""
        return _read(self, lambda: super(Verb, self).parse_args(ctx, args))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002  (typer passes it)
        """Return the arguments, what is required, and "[OPTIONS]"."""
        infos = _infos(self)
        required = [one for one in self.params if one.required and one.opts[0].startswith("-")]
        options = [f"{one.opts[0]} {_value(one, infos.get(one.name))}".strip() for one in required]
        return [*(_usage(argument) for argument in _arguments(self)), *options, "[OPTIONS]"]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help into the formatter."""
        formatter.write(_help(self, ctx, ()))


class Verbs(TyperGroup):
    """A group of commands, listed under headings."""

    headings: Mapping[str, Sequence[str]] = {}
    """The commands under each heading; without headings, all are under one."""

    implied: str = ""
    """The command that is meant where none of them is named; "": one must be named."""

    implied_words: Sequence[str] = ()
    """What may follow it and looks like a mistyped command; so do files, which exist."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; a usage error says what was probably meant."""
        if self.implied and args and args[0] not in {*self.commands, "-h", "--help"}:
            near = get_close_matches(args[0], self.commands, n=1)
            if not near or args[0] in self.implied_words or Path(args[0]).exists():
                args = [self.implied, *args]
        return _read(self, lambda: super(Verbs, self).parse_args(ctx, args))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002  (typer passes it)
        """Return what follows the group's name."""
        return ["COMMAND", "[OPTIONS]"]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help into the formatter."""
        formatter.write(_help(self, ctx, _listed(self)))


def _listed(group: Verbs) -> Iterator[str]:
    headings = group.headings or {"Commands": list(group.commands)}
    width = max(map(len, group.commands))
    for heading, names in headings.items():
        yield _title(heading)
        for name in names:
            if name in group.commands:
                yield _beside(name, first_sentence(group.commands[name].help), width=width)
        yield ""


def first_sentence(text: str | None) -> str:
    """Return the first sentence, up to its first semicolon."""
    sentence = re.split(r"[.;] ", " ".join((text or "").partition("\n\n")[0].split()))[0]
    return f"{sentence.rstrip('.')}."


def _help(command: Any, ctx: Any, listed: Iterable[str]) -> str:
    words = ctx.command_path.split()
    name = " ".join(words[words.index("thorax") + 1 :] if "thorax" in words else words[1:])
    usage = " ".join((ctx.command_path, *command.collect_usage_pieces(ctx)))
    lines = [*_wrapped(f"Usage: {usage}", hanging=7), ""]
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines += [*_wrapped(" ".join(paragraph.split())), ""]
    lines += listed
    parameters = list(_described(command, _arguments(command)))
    if parameters:
        lines += [_title("Arguments"), *_columns(parameters), ""]
    options = [one for one in command.get_params(ctx) if one.opts[0].startswith("-")]
    lines += [_title("Options"), *_columns(list(_described(command, options))), ""]
    lines += _examples(name)
    if not name:
        codes = [(f"{code}", text) for code, text in EXIT_CODES.items()]
        lines += [_title("Exit codes"), *_columns(codes), ""]
    return "\n".join(lines[:-1]) + "\n"


def _examples(name: str) -> Iterator[str]:
    if EXAMPLES.get(name):
        yield _title("Examples")
        for text, command in EXAMPLES[name]:
            yield styled(f"  # {text}", "2")
            yield f"  {command}"
        yield ""


def _arguments(command: Any) -> list[Any]:
    return [one for one in command.params if not one.opts[0].startswith("-")]


def _described(command: Any, parameters: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield what a user types for each parameter, and what it means."""
    infos = _infos(command)
    for one in parameters:
        if getattr(one, "hidden", False):
            continue
        info = infos.get(one.name)
        if not one.opts[0].startswith("-"):
            left = _usage(one).strip("[]")
        else:
            names = ", ".join(sorted(one.opts, key=len))
            names += f", {one.secondary_opts[0]}" if one.secondary_opts else ""
            left = f"{names} {_value(one, info)}".rstrip()
        yield left, " ".join(filter(None, (_text(one), *_remarks(one, info))))


def _text(parameter: Any) -> str:
    return "Show this and exit." if "--help" in parameter.opts else str(parameter.help or "")


def _usage(argument: Any) -> str:
    """Return an argument as in the usage: "IMAGE", "[BUNDLE]" or "PATHS..."."""
    metavar = _VALUES.get(argument.name, argument.name.upper().rstrip("_"))
    name = metavar if argument.nargs == 1 else f"{argument.name.upper()}..."
    return name if argument.required else f"[{name}]"


def _infos(command: Any) -> dict[str, tuple[Any, Any]]:
    """Return the type and typer's description of each parameter of the function behind a command."""
    if command.callback is None:
        return {}
    parameters = inspect.signature(command.callback).parameters.values()
    return {one.name: get_args(one.annotation)[:2] for one in parameters if get_args(one.annotation)}


def annotations_of(command: Any) -> dict[str, Any]:
    """Return the annotated type of each parameter of the function behind a command."""
    return {name: annotation for name, (annotation, _) in _infos(command).items()}


def value_type(annotation: Any) -> Any:
    """Return the type of one value: of `list[Path] | None`, that is `Path`."""
    while get_origin(annotation) in {list, Union, UnionType}:
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    return annotation


def choices_of(annotation: Any) -> tuple[str, ...]:
    """Return the words that a parameter of this type can be, or nothing if it can be anything."""
    kind = value_type(annotation)
    return tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()


def _value(parameter: Any, info: tuple[Any, Any] | None) -> str:
    """Return what stands for an option's value: PATH, N, onnx|openvino; nothing for a flag."""
    if info is None or getattr(parameter, "is_flag", False):
        return ""
    annotation, described = info
    listed = "|".join(choices_of(annotation))
    if listed:
        return listed if len(listed) <= _SHOWN_CHOICES else parameter.opts[0].lstrip("-").upper()
    return str(described.metavar or _VALUES.get(parameter.name) or _WORDS.get(value_type(annotation), "TEXT"))


def _remarks(parameter: Any, info: tuple[Any, Any] | None) -> Iterator[str]:
    """Yield what the text does not say: the choices, the range, the default, and whether it is required."""
    if info is None:
        return
    annotation, described = info
    listed = choices_of(annotation)
    if listed and len("|".join(listed)) > _SHOWN_CHOICES:
        yield f"One of {', '.join(listed)}."
    low, high = getattr(described, "min", None), getattr(described, "max", None)
    notes = []
    if low is not None and high is not None:
        notes.append(f"{low:g} to {high:g}")
    elif low:
        notes.append(f"at least {low:g}")
    default = parameter.default
    if parameter.required and parameter.opts[0].startswith("-"):
        notes.append("required")
    elif parameter.required:
        pass
    elif isinstance(default, int | float | str) and not isinstance(default, bool) and default != "":
        notes.append(f"default: {default}")
    elif getattr(parameter, "secondary_opts", ()):
        notes.append(f"default: {(parameter.opts if default else parameter.secondary_opts)[0]}")
    if notes:
        yield f"[{', '.join(notes)}]".replace(" ", _UNBROKEN)


def _columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(left) for left, _ in rows if len(left) <= _LEFT), default=_LEFT)
    return [_beside(left, text, width=width) for left, text in rows]


def _beside(left: str, text: str, *, width: int) -> str:
    """Return a text to the right of a name, or below it if the name is longer than the column."""
    indent = width + 4
    lines = _wrapped(text, indent=indent)
    shown = styled(left, "1")
    if len(left) > width or not lines:
        return "\n".join((f"  {shown}", *lines))
    return "\n".join((f"  {shown}{lines[0][2 + len(left) :]}", *lines[1:]))


def _wrapped(text: str, *, indent: int = 0, hanging: int = 0) -> list[str]:
    width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))
    lines = textwrap.wrap(
        text, width, initial_indent=" " * indent, subsequent_indent=" " * (indent + hanging),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(_UNBROKEN, " ") for line in lines]


def _title(text: str) -> str:
    return styled(f"{text}:", "1")


def _read(command: Any, parse: Callable[[], list[str]]) -> list[str]:
    """Parse; a usage error says what was probably meant."""
    try:
        return parse()
    except Exception as error:
        if hasattr(error, "message"):
            _say_what_was_meant(command, error)
        raise


def _say_what_was_meant(command: Any, error: Any) -> None:
    """Reword a usage error: arguments as in the usage, and the nearest option or choice."""
    option = getattr(error, "option_name", "")
    if hasattr(error, "possibilities") and option:
        known = [name for one in command.params for name in (*one.opts, *one.secondary_opts)]
        longer = [name.removeprefix("--") for name in known if name.startswith("--")]
        near = get_close_matches(option.lstrip("-"), longer, n=1)
        error.possibilities = None
        error.message = f"there is no option {option}{f'; did you mean --{near[0]}?' if near else ''}"
    parameter = getattr(error, "param", None)
    if parameter is None:
        return
    if not parameter.opts[0].startswith("-"):
        error.param_hint = f"'{_usage(parameter)}'"
    given = re.fullmatch(r"Input should be (.*?)(?:, unable to parse .*)?", error.message)
    problems: list[Any] = getattr(error.__cause__, "errors", list)()
    if given and problems:
        wanted = _IN_WORDS.get(given[1], given[1])
        error.message = f"{quoted(problems[0]['input'])} should be {wanted}"
    wrong = re.fullmatch(r"Value error, (?:'(.*)' is not one of .*|.*)", error.message)
    if wrong:
        annotation, _ = _infos(command)[parameter.name]
        hint = _nearest(wrong[1], choices_of(annotation)) if wrong[1] else ""
        error.message = f"{wrong[0].removeprefix('Value error, ').rstrip('.')}{hint}"


_IN_WORDS: Final = {"a valid integer": "a whole number", "a valid number": "a number"}
"""What Pydantic calls them, and what people do."""


def _nearest(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
