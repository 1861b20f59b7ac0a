"""What the terminal shows: tables in any width, colors where they are wanted, notes without broken words."""

import io
import json
import os
import pty
import subprocess
import sys

import pytest

from thorax.cli.output import say
from thorax.cli.tables import print_table

HEADER = ("Finding", "Sensitivity", "Specificity", "Decision")
ROWS = [("Pleural Thickening", ".042 (.006-.254)", "1.000", "yes"), ("Mass", "n/a", ".9", "no")]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize("columns", [30, 45, 60, 80, 120])
def test_no_row_becomes_two_lines(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(HEADER, ROWS, title="At one-half (0.5 for every finding)")
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    fitting = [line for line in lines if len(line) <= columns]
    assert len(fitting) == len(lines) or columns < 18 + 2 + 16
    for cell in (*HEADER, *(cell for row in ROWS for cell in row)):
        assert cell in shown
    tables = sum(line.startswith("Finding") for line in lines)
    assert sum(line.startswith("Pleural Thickening") for line in lines) == tables
    assert tables == (1 if columns >= 60 else tables)


def test_the_table_as_a_file_gets_it(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(HEADER, ROWS, path="a[1] b.png")
    assert capsys.readouterr().out.splitlines() == [
        "a[1] b.png",
        "",
        "Finding                   Sensitivity   Specificity   Decision",
        "──────────────────────────────────────────────────────────────",
        "Pleural Thickening   .042 (.006-.254)         1.000        yes",
        "Mass                              n/a            .9         no",
        "",
    ]


def test_decisions_have_colors_in_a_terminal_alone(monkeypatch):
    def shown() -> str:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        print_table(HEADER, ROWS)
        return terminal.getvalue()

    assert "\x1b[1;33myes\x1b[0m" in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown()


def test_control_characters_are_shown_and_wide_letters_counted(capsys):
    print_table(("Finding", "n"), [("肺炎", "1"), ("a\x1b[2J", "2")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == "肺炎       1"
    assert lines[4] == "a\\x1b[2J   2"


def test_a_terminal_gets_notes_between_words_and_a_pipe_one_line(capsys, monkeypatch):
    note = "note: " + "probability " * 12
    monkeypatch.setenv("COLUMNS", "80")
    say(note)
    assert capsys.readouterr().out == f"{note}\n"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    say(note)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 80 for line in lines)
    assert " ".join(terminal.getvalue().split()) == note.strip()


BESIDE_A_BAR = """
from thorax.cli.output import say, say_json
from thorax.cli.progress_lines import bars_or_lines
from thorax.cli.streams import open_streams
from thorax.progress import Progress

open_streams()
with bars_or_lines() as show:
    show(Progress("epoch 1 of 2", 1, 4, 36, 10, detail="loss 0.2"))
    say("epoch 1/2  0.3356")
    say("broken.png: cannot be read", err=True)
    say_json(["a word"] * 30)
"""


def test_what_is_printed_beside_a_bar_has_lines_of_its_own_as_long_as_it_is():
    screen, terminal = pty.openpty()
    settings = {key: value for key, value in os.environ.items() if key != "JPY_PARENT_PID"}
    child = subprocess.Popen(
        [sys.executable, "-c", BESIDE_A_BAR], stdout=terminal, stderr=terminal,
        env=settings | {"TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    while True:
        try:
            more = os.read(screen, 4096)
        except OSError:  # Linux, where the terminal of a process that ended is an error
            break
        if not more:
            break
        shown += more
    os.close(screen)
    assert child.wait() == 0, shown
    lines = [line.rpartition("\x1b[2K")[2] for line in shown.decode().split("\r\n")]
    assert any(line.startswith("epoch 1 of 2 ") for line in lines), shown
    for printed in ("epoch 1/2  0.3356", "broken.png: cannot be read", json.dumps(["a word"] * 30)):
        assert printed in lines, shown


def test_a_command_in_an_error_is_not_broken(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    command = "thorax train --resume --store store --out run"
    say(f"DataError: run is not finished; {command}, or begin with --set training.epochs=2", prose=True)
    assert terminal.getvalue().splitlines() == [
        "DataError: run is not finished;",
        f"  {command},",
        "  or begin with --set training.epochs=2",
    ]
