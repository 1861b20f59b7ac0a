"""What the Tab key offers: commands, options and their values; and the scripts of the shells.

A shell's script runs `thorax` with the words typed so far and the variable `_THORAX_COMPLETE`, and gets one
reply per line. Only the typed command is imported, and no library that computes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from thorax.cli.help_text import annotations_of, choices_of, first_sentence, value_type
from thorax.cli.main import VERBS, command_line
from thorax.findings import VOCABULARY
from thorax.recipe.literals import MAP_METHODS, PERTURBATION_NAMES, SPLIT_NAMES

__all__ = ["FILES", "SCRIPTS", "VARIABLE", "replies"]

VARIABLE: Final = "_THORAX_COMPLETE"
"""Names the shell that asks."""

FILES: Final = ":files"
"""The reply that means: the names of files, too."""

Offer = tuple[str, str]
"""What a word may become, and what it means."""

_PARTS: Final = ("train", "val", "test")
_DEVICES: Final = ("auto", "cpu", "cuda")
_RULES: Final = ("f1-optimal", "youden", "one-half", "sensitivity-90", "specificity-95")
_SOURCES: Final = ("nih", "nih-sample", "nih-kaggle")
_FINDINGS: Final = tuple(finding.name for finding in VOCABULARY)

_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "device": _DEVICES, "devices": _DEVICES, "finding": _FINDINGS, "findings": _FINDINGS, "gated": _FINDINGS,
    "method": MAP_METHODS, "part": _PARTS, "perturbations": PERTURBATION_NAMES, "rule": _RULES,
    "split": SPLIT_NAMES,
}  # fmt: skip
"""The values of parameters whose type is text, by the parameter's name."""

_WITH_FILES: Final = ("model", "recipe", "stores", "study")
_WITH_COMMAS: Final = ("findings", "perturbations")

_BASH: Final = r"""# Completion for bash: eval "$(thorax completion bash)"
_thorax() {
    local IFS=$'\n' reply file program="${COMP_WORDS[0]/#\~/$HOME}"
    COMPREPLY=()
    for reply in $(_THORAX_COMPLETE=bash "$program" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null); do
        if [[ $reply == :files ]]; then
            compopt -o filenames 2>/dev/null
            while read -r file; do  # not as words, in which [1] or * would become other files
                COMPREPLY+=("$file")
            done < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]#=}")
        else
            COMPREPLY+=("$reply")
        fi
    done
}
complete -F _thorax thorax
"""

_ZSH: Final = r"""#compdef thorax
# Completion for zsh: eval "$(thorax completion zsh)"
_thorax() {
    local -a offers
    local reply
    for reply in "${(@f)$(_THORAX_COMPLETE=zsh ${~words[1]} "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $reply == :files ]]; then
            _files
        elif [[ -n $reply ]]; then
            offers+=("$reply")
        fi
    done
    (( $#offers )) && _describe thorax offers
}
if [[ $funcstack[1] == _thorax ]]; then
    _thorax "$@"
else
    compdef _thorax thorax
fi
"""

_FISH: Final = r"""# Completion for fish: thorax completion fish | source
function __thorax_complete
    set -l words (commandline -opc) (commandline -ct)
    for reply in (_THORAX_COMPLETE=fish command $words[1] $words[2..-1] 2>/dev/null)
        if test "$reply" = :files
            set -l parts (string match -r -- '^(--[^=]+=)(.*)$' (commandline -ct))
            if set -q parts[2]
                __fish_complete_path "$parts[3]" | string replace -r -- '^' $parts[2]
            else
                __fish_complete_path (commandline -ct)
            end
        else
            echo $reply
        end
    end
end
complete -c thorax -f -a '(__thorax_complete)'
"""

SCRIPTS: Final[Mapping[str, str]] = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def replies(words: Sequence[str], *, shell: str) -> Iterator[str]:
    """Yield the lines that a shell's script reads.

    Args:
        words: What follows `thorax` on the command line; the last is not complete, and may be empty.
        shell: "bash", "zsh" or "fish".
    """
    *before, last = words or [""]
    before = [word for word in before if word != "="]  # bash makes three words of --split=nih
    begun = "" if last == "=" else last
    option, equals, value = begun.partition("=")
    prefix = f"{option}=" if equals and option.startswith("--") else ""
    if prefix:
        before, begun = [*before, option], value
    for offer, text in _offers(before, begun):
        if offer == FILES:
            yield FILES
        elif offer.casefold().startswith(begun.casefold()):
            yield _line(f"{prefix}{offer}", text, shell)


def _line(offer: str, text: str, shell: str) -> str:
    if shell == "zsh":
        shown = re.sub(r"([\\:])", r"\\\1", offer)
        return f"{shown}:{text}" if text else shown
    if shell == "fish":
        return f"{offer}\t{text}" if text else offer
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", offer)


def _offers(before: Sequence[str], begun: str) -> Iterator[Offer]:
    """Yield what may follow these words, whether it begins with `begun` or not."""
    verb, rest = (before[0], list(before[1:])) if before else ("", [])
    if not verb or (verb == "help" and not rest):
        group = command_line(name for name in VERBS if name.startswith(begun))
        yield from _commands(group)
        yield from _options(group, before, begun)
    if verb not in VERBS:
        return
    command = command_line([verb]).commands[verb]
    while rest and rest[0] in getattr(command, "commands", ()):
        command, rest = command.commands[rest[0]], rest[1:]
    if rest and (implied := getattr(command, "implied", "")):
        command = command.commands[implied]
    parameter = _awaited(command, rest)
    if hasattr(command, "commands"):
        yield from _commands(command)
    if parameter is None or not parameter.opts[0].startswith("-"):
        yield from _options(command, rest, begun)
    if parameter is not None and not (begun.startswith("-") and not parameter.opts[0].startswith("-")):
        yield from _values(command, parameter, begun)


def _commands(group: Any) -> Iterator[Offer]:
    for name, command in group.commands.items():
        yield name, first_sentence(command.help)


def _options(command: Any, given: Sequence[str], begun: str) -> Iterator[Offer]:
    """Yield the options that are not given yet, once a hyphen was typed."""
    if not begun.startswith("-"):
        return
    for one in command.params:
        again = getattr(one, "multiple", False) or set(given).isdisjoint((*one.opts, *one.secondary_opts))
        if one.opts[0].startswith("-") and again:
            for name in (*one.opts, *one.secondary_opts):
                yield name, first_sentence(one.help)
    yield "--help", "Show the help and exit."


def _awaited(command: Any, words: Sequence[str]) -> Any:
    """Return the parameter that the next word is a value of; None if it can only be an option."""
    takers = {
        name: one
        for one in command.params
        if not getattr(one, "is_flag", False)
        for name in one.opts
        if name.startswith("-")
    }
    arguments = [one for one in command.params if not one.opts[0].startswith("-")]
    num_arguments, awaited = 0, None
    for word in words:
        if awaited is not None:
            awaited = None
        elif word.startswith("-"):
            awaited = takers.get(word)  # with its value in the same word, it awaits nothing
        else:
            num_arguments += 1
    if awaited is not None:
        return awaited
    if num_arguments < len(arguments):
        return arguments[num_arguments]
    return arguments[-1] if arguments and arguments[-1].nargs == -1 else None


def _values(command: Any, parameter: Any, begun: str) -> Iterator[Offer]:
    """Yield the values of a parameter; in a list with commas, those that it lacks."""
    annotation = annotations_of(command).get(parameter.name, str)
    named = choices_of(annotation) or _VALUES.get(parameter.name, ())
    if parameter.name == "recipe":
        library = files("thorax.recipe") / "library"
        named = tuple(sorted(file.name.removesuffix(".toml") for file in library.iterdir()))
    if parameter.name == "study":
        library = files("thorax.studies") / "library"
        named = tuple(sorted(file.name.removesuffix(".toml") for file in library.iterdir()))
    if parameter.name == "source" and value_type(annotation) is str:
        named = _SOURCES
    there = begun.rpartition(",")[0] if parameter.name in _WITH_COMMAS else ""
    for name in named:
        if name not in there.split(","):
            yield (f"{there},{name}" if there else name), ""
    if value_type(annotation) is Path or parameter.name in _WITH_FILES:
        yield FILES, ""
