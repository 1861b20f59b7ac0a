"""Defaults from `thorax.toml` for the options that the command line leaves out."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import typer

from thorax.cli.output import say
from thorax.project import PROJECT_FILE, read_project

__all__ = ["project_defaults"]


def project_defaults(app: typer.Typer, arguments: Sequence[str], verbs: Collection[str]) -> dict[str, Any]:
    """Return the defaults that the working folder's `thorax.toml` gives, and say on standard error which.

    Args:
        app: The command line, with at least the verb that the arguments name.
        arguments: The command line's words, from the verb on.
        verbs: All verbs.

    Returns:
        click's `default_map`: the defaults of the verb's parameters, by the verb.
    """
    verb = arguments[0] if arguments else ""
    command = getattr(typer.main.get_command(app), "commands", {}).get(verb)
    if command is None or hasattr(command, "commands") or not {"-h", "--help"}.isdisjoint(arguments):
        return {}
    project = read_project(Path(), commands=verbs)
    if project is None:
        return {}
    context = command.make_context(verb, list(arguments[1:]), resilient_parsing=True)
    parameters = {_written(parameter): parameter for parameter in command.params}
    given = {
        name: context.params[parameter.name]
        for name, parameter in parameters.items()
        if getattr(context.get_parameter_source(parameter.name), "name", "") == "COMMANDLINE"
    }
    defaults = project.defaults(verb, options=list(parameters), given=given)
    if defaults:
        told = ", ".join(f"{name} {_text(value)}" for name, value in defaults.items())
        say(f"{PROJECT_FILE}: {told}", err=True)
    return {
        verb: {
            parameters[name].name: [value] if _takes_several(parameters[name], value) else value
            for name, value in defaults.items()
        }
    }


def _written(parameter: Any) -> str:
    """Return an option's name as on the command line, such as "set" and "record_test_curve"."""
    return str(parameter.opts[0]).lstrip("-").replace("-", "_")


def _takes_several(parameter: Any, value: Any) -> bool:
    return bool(getattr(parameter, "multiple", False) or parameter.nargs == -1) and not isinstance(
        value, list
    )


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
