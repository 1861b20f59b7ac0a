"""What `--help` says: in any width, with examples that can be typed, and the exit codes of the code."""

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import typer

from tests.helpers.command import command
from thorax import errors
from thorax.cli.examples import EXAMPLES
from thorax.cli.exit_codes import EXIT_CODES
from thorax.cli.main import _HEADINGS, VERBS, _app, _run

DOCS = Path(__file__).parents[2] / "docs"


def shown(monkeypatch, columns: int, *words: str) -> str:
    """What a terminal of this width gets."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["thorax", *words])
    with redirect_stdout(io.StringIO()) as printed:
        assert _run(words[:1] if words[0] in VERBS else VERBS) == 0
    return printed.getvalue()


@pytest.mark.parametrize("words", [(), *((verb,) for verb in VERBS), ("recipes", "show")])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_broken(monkeypatch, words):
    wide, narrow = (shown(monkeypatch, columns, *words, "-h") for columns in (120, 80))
    assert max(map(len, narrow.splitlines())) <= 80
    assert max(map(len, wide.splitlines())) <= 120
    assert wide.split() == narrow.split()
    assert not re.search(r"\blist\[|\brange\b|<\w+>|\bbool\b", narrow)


def test_short_long_and_spelled_out_help_are_the_same():
    page = command("train", "--help").stdout
    assert command("train", "-h").stdout == page
    assert command("help", "train").stdout == page
    assert page.startswith("Usage: thorax train [RECIPE] --store STORE --out PATH [OPTIONS]\n")
    assert re.search(r"\n  --seeds N +Number of runs, ", page)
    assert "[at least 1, default: 1]" in page
    assert "MODELS...  Bundles" in command("compare", "-h").stdout
    assert command("help").stdout == command("-h").stdout
    assert command("help", "recipes", "show").stdout == command("recipes", "show", "-h").stdout
    assert "Did you mean 'train'?" in command("help", "trai", expect=2).stderr


def test_every_verb_is_under_one_heading():
    listed = command("--help").stdout
    assert len(set(VERBS)) == len(VERBS)
    for heading, verbs in _HEADINGS.items():
        section = listed.partition(f"{heading}:\n")[2].partition("\n\n")[0]
        assert [line.split()[0] for line in section.splitlines() if line[2] != " "] == list(verbs)


def test_every_verb_has_an_example_and_each_is_what_the_verb_takes():
    group = typer.main.get_command(_app(VERBS))
    assert EXAMPLES.keys() == {
        "",
        "recipes show",
        "node start",
        "node status",
        "node retry",
        "node dismiss",
        *VERBS,
    }
    for verb, examples in EXAMPLES.items():
        for text, line in examples:
            assert len(f"  {line}") <= 80
            assert text[0].isupper()
            name, *words = shlex.split(line.partition(" > ")[0].removeprefix('eval "$(').removesuffix(')"'))
            assert name == "thorax"
            assert verb == "" or verb.split()[0] in words[:1] or (verb, words[0]) == ("site", "predict")
            assert f"  # {text}\n  {line}\n" in command(*verb.split(), "--help").stdout
            context = group.make_context("thorax", words, resilient_parsing=False)
            command_of_words = group.commands[words[0]]
            rest = words[1:]
            while hasattr(command_of_words, "commands") and rest:
                if rest[0] not in command_of_words.commands:
                    rest = [command_of_words.implied, *rest]
                command_of_words, rest = command_of_words.commands[rest[0]], rest[1:]
            command_of_words.make_context(words[0], rest, parent=context)  # refuses what it does not take


def test_the_exit_codes_are_those_of_the_errors_and_of_the_docs():
    raised = {error.exit_code for error in vars(errors).values() if hasattr(error, "exit_code")}
    assert set(EXIT_CODES) == {0, 130, *raised}
    page = " ".join(command("--help").stdout.split())
    table = (DOCS / "command-line.md").read_text()
    for code, text in EXIT_CODES.items():
        assert f"{code} {text}" in page
        assert f"| {code} | {text} |" in table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "small-cpu", "--stroe", "s"), "there is no option --stroe; did you mean --store?"),
        (("export", "run", "--store", "s", "--to", "onx"), "'web'; did you mean onnx?"),
        (("explain",), "Missing argument 'PATHS...'"),
        (("compare", "a", "b"), "Missing option '--out'"),
        (("predict", "--colour"), "there is no option --colour\n"),
        (("recipes", "shw"), "Did you mean 'show'?"),
        (("node", "stat"), "Did you mean 'start', 'status'?"),
        (("study", "small"), "give a study and --out FOLDER, or --list, or a study and"),
        (("study", "small", "--out", "o", "--store", "a=s", "--store", "s"), "give every --store as"),
        (("predict", "x", "--cores", "1.5"), "'1.5' should be a whole number"),
        (("predict", "x", "--cores", "0"), "'0' should be greater than or equal to 1"),
        (("node", "x", "--keep-days", "week"), "'week' should be a number"),
    ],
)  # fmt: skip
def test_wrong_usage_says_what_was_meant(words, message):
    assert message in command(*words, expect=2).stderr


def test_help_imports_no_library_that_computes():
    program = (
        "import sys; from thorax.cli.main import main; sys.argv[1:] = ['--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'pandas', 'scipy', 'pydantic', 'PIL', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
