"""`thorax.toml`: what a project's file says, what the command line says instead, and what is refused."""

import shutil

import pytest
from PIL import Image

from tests.helpers.command import command
from thorax.errors import RecipeError
from thorax.project import read_project

COMMANDS = ("prepare", "train", "evaluate", "compare")

PROJECT = """
[paths]
source = "data"
store = "stores/one"
runs = "runs"
reports = "reports"

[prepare]
size = 64

[train]
recipe = "small-cpu"
set = ["training.epochs=3"]
"""

TRAIN = ("recipe", "store", "out", "set", "resume", "seeds", "device")


def write(folder, text=PROJECT):
    (folder / "thorax.toml").write_text(text)


@pytest.fixture
def project(tmp_path):
    write(tmp_path)
    return read_project(tmp_path, commands=COMMANDS)


def test_without_the_file_there_is_no_project(tmp_path):
    assert read_project(tmp_path, commands=COMMANDS) is None


def test_the_paths_go_to_the_options_that_they_are_for(project):
    assert project.defaults("prepare", options=["source", "out", "size"], given={}) == {
        "source": "data", "out": "stores/one", "size": 64,
    }  # fmt: skip
    assert project.defaults("train", options=TRAIN, given={}) == {
        "recipe": "small-cpu", "store": "stores/one", "out": "runs/small-cpu", "set": ["training.epochs=3"],
    }  # fmt: skip
    evaluate = ("bundle", "store", "out", "labels", "predictions")
    assert project.defaults("evaluate", options=evaluate, given={"bundle": "runs/seed/x"}) == {
        "store": "stores/one", "out": "reports/x",
    }  # fmt: skip
    assert project.defaults("evaluate", options=evaluate, given={"predictions": "p.csv"}) == {}
    assert project.defaults("compare", options=["store", "out", "labels"], given={}) == {
        "store": "stores/one", "out": "reports/comparison",
    }  # fmt: skip


def test_what_is_given_comes_first(project):
    given = {"recipe": "mine/other.toml", "store": "elsewhere"}
    assert project.defaults("train", options=TRAIN, given=given) == {
        "out": "runs/other", "set": ["training.epochs=3"],
    }  # fmt: skip
    assert project.defaults("train", options=TRAIN, given={"out": "o", "set": ["a=1"], "store": "s"}) == {
        "recipe": "small-cpu",
    }  # fmt: skip


def test_a_command_s_own_section_comes_before_the_paths(tmp_path):
    write(tmp_path, '[paths]\nstore = "a"\n[train]\nstore = "b"\n')
    project = read_project(tmp_path, commands=COMMANDS)
    assert project.defaults("train", options=TRAIN, given={})["store"] == "b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[paths]\nstorre = "x"\n', r"no use for storre in \[paths\]; did you mean store\?"),
        ("[paths]\nstore = 3\n", r"store = 3 in \[paths\] is not a path; write it in quotes"),
        ("[trainn]\nseeds = 2\n", r"has a section trainn; did you mean train\?"),
        ('store = "x"\n', r"has a section store; did you mean"),
        ('train = "x"\n', r"train = 'x' is a value; write a section, \[train\]"),
        ("[paths\n", "cannot be read as TOML"),
        ("[xyz]\n", "has a section xyz; it can have paths, prepare, train, evaluate, compare"),
    ],
)  # fmt: skip
def test_what_nothing_uses_is_refused(text, message, tmp_path):
    write(tmp_path, text)
    with pytest.raises(RecipeError, match=message):
        read_project(tmp_path, commands=COMMANDS)


def test_an_option_that_a_command_does_not_have_is_refused(tmp_path):
    write(tmp_path, "[train]\nsede = 2\n")
    project = read_project(tmp_path, commands=COMMANDS)
    with pytest.raises(RecipeError, match=r"no use for sede in \[train\]; did you mean seeds\?"):
        project.defaults("train", options=TRAIN, given={})


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder with a project and four images in parts."""
    for number, part in enumerate(("train", "train", "val", "test")):
        path = tmp_path / "data" / part / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (80, 80), 50 * number).save(path)
    (tmp_path / "data/labels.csv").write_text("image,Mass\n0.png,0\n1.png,1\n2.png,1\n3.png,0\n")
    write(tmp_path)
    (tmp_path / "stores").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_take_what_is_missing_from_the_file_and_say_so_once(work):
    done = command("prepare", "--workers", "1")
    assert done.stderr.count("thorax.toml") == 1
    assert "thorax.toml: source data, out stores/one, size 64\n" in done.stderr
    assert done.stdout == "4 images of 64 x 64 pixels are in stores/one\n"
    again = command("prepare", "--size", "32", "--out", "other", "--workers", "1")
    assert "thorax.toml: source data\n" in again.stderr
    assert again.stdout == "4 images of 32 x 32 pixels are in other\n"
    drawn = command("sheet", "--out", "sheet.png")
    assert drawn.stderr == "thorax.toml: source stores/one\n"
    assert drawn.stdout == "4 of 4 images are in sheet.png\n"
    assert command("sheet", "other", "--out", "b.png").stderr == ""
    shutil.rmtree(work / "other")
    assert "other" in command("sheet", "other", "--out", "c.png", expect=3).stderr


def test_train_takes_recipe_settings_and_folders_from_the_file(work):
    command("prepare", "--workers", "1")
    refused = command("train", expect=3)
    assert "thorax.toml: store stores/one, out runs/small-cpu, recipe small-cpu, set training.epochs=3" in (
        refused.stderr
    )
    assert "recipe small-cpu needs 112" in refused.stderr
    write(work, PROJECT.replace("training.epochs=3", "training.epochs=0"))
    assert "training.epochs = 0" in command("train", expect=2).stderr
    write(work)
    refused = command("train", "chexnet", "--set", "optim.lrr=1", expect=2)
    assert "out runs/chexnet\n" in refused.stderr
    assert "optim.lr" in refused.stderr


def test_a_wrong_file_stops_every_command_but_help(work):
    write(work, "[train]\nsede = 2\n")
    assert "did you mean seeds" in command("train", "chexnet", "--store", "s", "--out", "o", expect=2).stderr
    assert "--seeds" in command("train", "--help").stdout
    write(work, "[pathss]\n")
    assert "did you mean paths" in command("sheet", "data", "--out", "s.png", expect=2).stderr
    assert "chexnet" in command("recipes").stdout
