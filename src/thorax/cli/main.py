"""The command `thorax`: its verbs, and how errors become messages and exit codes.

Only the requested verb is imported: importing all takes 40 ms, and parsing their parameters as long again.
"""

import errno
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from thorax.atomic_io import read_toml_text
from thorax.cli.interrupts import INTERRUPTED, end_at_once
from thorax.cli.streams import flush_output, open_streams
from thorax.errors import ThoraxError
from thorax.hardware import gc_frozen, one_blas_thread
from thorax.packages import Extra, missing_extras_named

if TYPE_CHECKING:
    import typer

__all__ = ["VERBS", "command_line", "flags_of", "main", "show_help", "with_flags"]

_HEADINGS: Final[Mapping[str, Sequence[str]]] = {
    "Use a model": ("predict", "explain", "serve", "node", "monitor"),
    "Data": ("download", "prepare", "sheet", "phantom"),
    "Training": ("recipes", "train", "runs", "tune", "study", "calibrate", "ensemble", "gate"),
    "Evaluation": ("evaluate", "compare", "localize", "robustness", "site", "audit"),
    "Sharing": ("card", "export", "import", "sign", "verify"),
    "Help": ("info", "doctor", "help", "completion"),
}
"""The verbs, under the headings of `thorax --help`."""

VERBS: Final = tuple(verb for verbs in _HEADINGS.values() for verb in verbs)

_GROUPS: Final = ("node", "recipes")
"""Verbs that are groups of commands; the module has the group as VERB_app."""

_NAMES_OF_PYTHON: Final = ("help", "import")
"""Verbs whose module and function end in an underscore."""

_EXTRA_OF: Final[Mapping[str, Extra]] = {
    **dict.fromkeys(("train", "study", "import", "export", "calibrate", "ensemble"), "train"),
    "tune": "tune",
    **dict.fromkeys(("node", "monitor"), "pacs"),
}
"""Verbs that need several packages of an extra: whichever is missing, this extra has them all."""

_RESUMED: Final = ("prepare", "download", "robustness")
"""Verbs that continue where Ctrl-C has stopped them when the same command is run again."""

_PRINTING: Final = ("predict", "recipes", "runs", "info", "doctor")
"""Verbs that write nothing but what they print."""


def main() -> None:
    """Run the command line; a Thorax error becomes one message and its exit code."""
    if shell := os.environ.get("_THORAX_COMPLETE"):
        _complete(shell)
        return
    # Arrow's own allocator does not return the memory of reading tables: 36 MiB of 97 for 112,120 rows.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # No plugin validates a manifest or a recipe, and looking for plugins takes 25 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if not open_streams() and verb in _PRINTING:
        _say_failure(
            f"standard output is closed, where {verb} prints its results; send them to a file or /dev/null"
        )
        sys.exit(ThoraxError.exit_code)
    if verb == "predict":
        _predict()
    else:
        sys.exit(_flushed(_run([verb] if verb in VERBS else VERBS)))


def _complete(shell: str) -> None:
    """Print what the Tab key of a shell offers for the words so far."""
    from thorax.cli.completions import replies

    open_streams()
    print("\n".join(replies(sys.argv[1:], shell=shell)))  # noqa: T201  (typer is not imported)
    flush_output()


def _predict() -> None:
    """Run `predict`, whose start takes most of its time."""
    end_at_once()
    one_blas_thread()  # NumPy multiplies only small maps here, and a thread that waits spins
    with gc_frozen():
        _prefetch(sys.argv[2:])
    code = _flushed(_run(["predict"]))
    # Every file is closed and every thread is idle: a regular exit would take 40 ms more.
    sys.stderr.flush()
    os._exit(code)


def _flushed(code: int) -> int:
    """Return the exit code when everything printed has arrived where it goes, or could not."""
    error = flush_output()
    if error is None:
        return code
    if code == 0 and error.errno != errno.EPIPE:  # a pipe's reader may leave when it has seen enough
        _say_failure(_system_message(error))
    return code or ThoraxError.exit_code


def _what_lacks(error: OSError | MemoryError | ImportError) -> str | None:
    """Return what the system lacks, such as permission, memory or disk space; None if that is unknown."""
    if isinstance(error, OSError):
        return _system_message(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory; raise the limit or close other programs, then run it again"
    if isinstance(error, ModuleNotFoundError):
        return None
    return f"a library cannot be loaded ({error}); there is not enough memory, or install Thorax again"


def _system_message(error: OSError) -> str:
    """Return the system's message, with the file."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return f"{error.strerror}; raise the limit, as with ulimit -n 256, and run the same command again"
    return f"{error.strerror or error}: {error.filename or 'file unknown'}"


def _prefetch(arguments: Sequence[str]) -> None:
    """Start to open the bundle's graphs before the parser is imported, which takes 0.2 s.

    This only guesses what the arguments mean. Once they are parsed, `predict` requests the graphs that it
    needs: missing ones are opened then, and wrong ones are not used. So `--device`, `--engine` and `--model`
    are left to the parser, and so is everything if bundles must be signed.
    """
    from thorax.bundle.files import model_and_images
    from thorax.inference.onnx_session import prefetch

    paths = [Path(argument) for argument in arguments if not argument.startswith("-")]
    parsed = ("--device", "--engine", "--model", "--require-signature")
    if paths and not any(argument.startswith(parsed) for argument in arguments) and not _project_has_key():
        with suppress(ThoraxError):
            prefetch(*model_and_images(paths))


def _project_has_key() -> bool:
    """Return whether the project may require signatures: then no graph is opened before one was checked."""
    try:
        text = read_toml_text(Path("thorax.toml"))
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):  # it is refused later, with its name
        return True
    return "key" in text or "signature" in text


def _run(verbs: Iterable[str]) -> int:
    """Run the verb that the arguments name, and return the exit code."""
    with gc_frozen():
        app = _app(verbs)
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        with missing_extras_named(f"thorax {verb}", extra=_EXTRA_OF.get(verb)):
            app(default_map=_defaults(app))
    except SystemExit as done:
        if isinstance(done.code, str):  # a message that Python prints
            raise
        if done.code == INTERRUPTED:
            _say_failure(_stopped(verb))
        return done.code or 0
    except ThoraxError as error:
        if not error.said_elsewhere:
            message = with_flags(str(error), flags_of(app, sys.argv[1:]))
            _say_failure(f"{type(error).__name__}: {message}")
        return error.exit_code
    except (OSError, MemoryError, ImportError) as error:
        lack = _what_lacks(error)
        if lack is None:
            raise
        _say_failure(lack)
        return ThoraxError.exit_code
    return 0


def _stopped(verb: str) -> str:
    """Return what to say after Ctrl-C."""
    if verb in _RESUMED or (verb == "predict" and "--out" in sys.argv):
        return "stopped; the same command continues where it stopped"
    if verb == "train" and "--resume" not in sys.argv:
        return "stopped; the same command begins again, or continues with --resume if a step was taken"
    return "stopped"


def _say_failure(message: str) -> None:
    from thorax.cli.output import say
    from thorax.quoting import visible

    say(visible(message), err=True, prose=True)


def _defaults(app: "typer.Typer") -> dict[str, Any]:
    """Return the defaults of the verb's options that a `thorax.toml` in the working folder gives."""
    if not os.path.isfile("thorax.toml"):  # noqa: PTH113  (before anything is imported for it)
        return {}
    from thorax.cli.project import project_defaults

    return project_defaults(app, sys.argv[1:], VERBS)


def with_flags(message: str, flags: Mapping[str, str]) -> str:
    """Return a library's message with settings in backquotes replaced by flags of the command line.

    `split` becomes --split, `device=cpu` --device cpu, and a recipe's `optim.lr=1e-4` --set optim.lr=1e-4,
    if the verb has that option; everything else is unchanged.

    Args:
        message: The message of an error.
        flags: The flag of each option of the verb, by the name of its parameter.
    """

    def as_flag(setting: re.Match[str]) -> str:
        name, key, value = setting.groups()
        if key and "settings" in flags:
            return f"{flags['settings']} {name}{key}={value or '...'}"
        if key or name not in flags:
            return setting[0]
        return f"{flags[name]} {value}" if value else flags[name]

    return re.sub(r"`([a-z]\w*)(\.[a-z]\w*)?(?:=([^`]+))?`", as_flag, message)


def flags_of(app: "typer.Typer", arguments: Sequence[str]) -> dict[str, str]:
    """Return the flag of each option of the verb that these arguments run, by the name of its parameter."""
    import typer

    command = typer.main.get_command(app)
    for word in arguments:
        command = getattr(command, "commands", {}).get(word, command)
    command = getattr(command, "commands", {}).get(getattr(command, "implied", ""), command)
    return {str(option.name): option.opts[0] for option in command.params if option.opts[0].startswith("-")}


def command_line(verbs: Iterable[str]) -> Any:
    """Return the parser of these verbs: its `commands`, with their options and arguments."""
    import typer

    return typer.main.get_command(_app(verbs))


def show_help(words: Sequence[str]) -> None:
    """Print the help of a command, such as ["train"] or ["recipes", "show"]; of all, if no word is given."""
    _app(words[:1] if words and words[0] in VERBS else VERBS)([*words, "--help"])


def _app(verbs: Iterable[str]) -> "typer.Typer":
    import typer

    from thorax.cli.help_text import Verb, Verbs
    from thorax.cli.signed import OPENING, with_signatures

    class Thorax(Verbs):
        headings = _HEADINGS

    app = typer.Typer(
        cls=Thorax,
        help="Train, calibrate, evaluate and run chest radiograph classifiers. Not a medical device.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def _options(
        version: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        """Define the options that belong to no verb."""

    for verb in verbs:
        if verb in _GROUPS:
            app.add_typer(getattr(import_module(f"thorax.cli.{verb}"), f"{verb}_app"), name=verb)
            continue
        function = f"{verb}_" if verb in _NAMES_OF_PYTHON else verb
        command = getattr(import_module(f"thorax.cli.{function}"), function)
        app.command(verb, cls=Verb)(with_signatures(command) if verb in OPENING else command)
    return app


def _print_version(wanted: bool) -> bool:  # noqa: FBT001  (typer calls it with the option's value)
    import typer

    import thorax

    if wanted:
        typer.echo(f"thorax {thorax.__version__}")
        raise typer.Exit
    return wanted
