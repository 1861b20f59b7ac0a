"""Completion: what is offered, by the engine, by bash itself, and by a terminal's Tab key."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.command import command
from thorax.cli.completions import FILES, SCRIPTS, replies
from thorax.cli.main import VERBS
from thorax.datasets.splits import REGISTERED
from thorax.explain.explainers import METHODS
from thorax.findings import NIH14
from thorax.imaging.perturbations import perturbation_kinds
from thorax.recipe.literals import MAP_METHODS, PERTURBATION_NAMES, SPLIT_NAMES
from thorax.recipe.load import shipped_recipes

BASH = shutil.which("bash") or ""
needs_bash = pytest.mark.skipif(not BASH, reason="bash is not installed")


def offered(*words: str, shell: str = "bash") -> list[str]:
    return list(replies(words, shell=shell))


def test_the_names_that_completion_has_are_those_of_the_library():
    assert set(SPLIT_NAMES) == set(REGISTERED)
    assert MAP_METHODS == METHODS
    assert tuple(perturbation_kinds(())) == PERTURBATION_NAMES


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("tr",), ["train"]),
        (("help", "tr"), ["train"]),
        (("recipes", "sh"), ["show"]),
        (("train", "small"), ["small-cpu", FILES]),
        (("recipes", "show", "chexn"), ["chexnet", FILES]),
        (("train", "small-cpu", "--store", ""), [FILES]),
        (("train", "small-cpu", "--res"), ["--resume"]),
        (("train", "small-cpu", "--resume", "--res"), []),
        (("train", "small-cpu", "--set", "a=1", "--set"), ["--set"]),
        (("evaluate", "run", "--split", "nih-o"), ["nih-official"]),
        (("evaluate", "run", "--split=nih-o"), ["--split=nih-official"]),
        (("evaluate", "run", "--split", "=", "nih-o"), ["nih-official"]),
        (("evaluate", "run", "--part", "="), ["train", "val", "test"]),
        (("evaluate", "run", "--findings", "mas"), ["Mass"]),
        (("evaluate", "run", "--findings", "Mass,nod"), ["Mass,Nodule", "Mass,Nodule\\ or\\ Mass"]),
        (("evaluate", "run", "--view", ""), ["PA", "AP"]),
        (("explain", "run", "a.png", "--method", "layer"), ["layer-cam"]),
        (("predict", "run", "a"), [FILES]),
        (("download", "nih-k"), ["nih-kaggle"]),
        (("evaluate", "run", "--resamples", ""), []),
        (("nonsense", ""), []),
    ],
)
def test_what_may_follow(words, expected):
    assert offered(*words) == expected


def test_all_verbs_findings_and_recipes_are_offered():
    assert sorted(offered("")) == sorted(VERBS)
    assert {"--help", "--version"} <= set(offered("-"))
    assert {finding.name for finding in NIH14} < set(offered("explain", "run", "a.png", "--findings", ""))
    assert set(offered("train", "")) == {*shipped_recipes(), FILES}


def test_zsh_and_fish_get_what_each_word_means():
    assert offered("tra", shell="zsh") == ["train:Train a recipe on the training part of its split."]
    assert offered("tra", shell="fish") == ["train\tTrain a recipe on the training part of its split."]


@pytest.fixture
def program(tmp_path) -> dict[str, str]:
    """An environment in which `thorax` is this code."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "thorax"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m thorax "$@"\n')
    script.chmod(0o755)
    return os.environ | {"PATH": f"{script.parent}:{os.environ['PATH']}", "PS1": "$ ", "TERM": "dumb"}


@needs_bash
def test_bash_runs_the_script(program, tmp_path):
    (tmp_path / "store one").mkdir()
    for name in ("other", "scan[1].png", "scan1.png"):
        (tmp_path / name).touch()
    asked = """
    eval "$(thorax completion bash)"
    complete -p thorax
    try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _thorax; printf '<%s>' "${COMPREPLY[@]}"; echo; }
    try thorax tra
    try thorax train small
    try thorax train small-cpu --store st
    try thorax explain run a.png --findings 'enlarged'
    try thorax predict 'scan['
    shopt -s nullglob
    try thorax predict 'scan['
    """
    done = subprocess.run(
        [BASH, "-c", asked], cwd=tmp_path, env=program, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "complete -F _thorax thorax",
        "<train>",
        "<small-cpu>",
        "<store one>",
        "<Enlarged\\ Cardiomediastinum>",
        "<scan[1].png>",
        "<scan[1].png>",
    ]
    assert done.stderr == ""


TERMINALS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(thorax completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -D -u; eval "$(thorax completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "thorax completion fish | source"),
}
"""How a shell starts without anybody's settings, and the line that makes it complete."""


@pytest.mark.parametrize("shell", TERMINALS)
def test_the_tab_key_of_a_terminal(program, tmp_path, shell):
    words, line = TERMINALS[shell]
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "store one").mkdir()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve(found, words, program)
    typed = (
        (f"{line}; echo rea''dy\n", "ready"),
        ("thorax expl\t", "explain "),
        ("run --findings=Pneumot\t", "Pneumothorax "),
        ("--out st\t", "store\\ one"),
    )
    try:
        shown = b""
        for part, wanted in typed:
            os.write(terminal, part.encode())
            shown = wait_for(terminal, shown, wanted.encode())
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def wait_for(terminal: int, shown: bytes, wanted: bytes) -> bytes:
    """Read until the terminal shows this; return what it shows after it."""
    end = time.monotonic() + 60
    while wanted not in shown:
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096).replace(b"\a", b"")  # the bell, between two keys
    return shown.partition(wanted)[2]


def test_completion_imports_nothing_heavy(program):
    asked = (
        "import os, sys; os.environ['_THORAX_COMPLETE'] = 'zsh'\n"
        "from thorax.cli.main import main\n"
        "for words in ([''], ['evaluate', '-'], ['train', ''], ['explain', 'a', 'b', '--finding', '']):\n"
        "    sys.argv[1:] = words\n"
        "    try: main()\n"
        "    except SystemExit as done: assert not done.code\n"
        "heavy = {'numpy', 'torch', 'pandas', 'scipy', 'pydantic', 'PIL', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], env=program, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_scripts_are_printed_and_documented():
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text().replace("\\|", "|")
    for shell, script in SCRIPTS.items():
        assert command("completion", shell).stdout == script
        line = re.search(r"^# Completion for \w+: (.+)$", script, re.MULTILINE)
        assert line is not None
        assert line[1] in page
