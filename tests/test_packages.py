"""What the base needs, what extras bring, and what is said where one is missing."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import thorax
from thorax.errors import MissingExtra
from thorax.packages import missing_extras_named, versions

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

WITHOUT = """
import sys

hidden, *arguments = sys.argv[1:]

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden.split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
from thorax.cli.main import main
sys.argv = ["thorax", *arguments]
main()
"""
EXTRAS = "torch,timm,torchvision,onnx,huggingface_hub,pandas,pyarrow,scipy,matplotlib,openvino"


def thorax_without(hidden, *arguments):
    """Run the command line in a process where some packages cannot be imported."""
    command = [sys.executable, "-c", WITHOUT, hidden, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("prepare", "source", "--out", "store"), "evaluate"),
        (("evaluate", "run", "--store", "store", "--out", "report"), "evaluate"),
        (("compare", "run", "other", "--store", "store", "--out", "report"), "evaluate"),
        (("audit", "store"), "evaluate"),
        (("train", "small-cpu", "--store", "store", "--out", "run"), "train"),
        (("import", "weights.pth", "--as", "timm", "--out", "bundle"), "train"),
        (("export", "run", "--store", "store"), "train"),
    ],
)
def test_a_command_names_the_extra_that_it_lacks(arguments, extra):
    done = thorax_without(EXTRAS, *arguments)
    assert done.returncode == MissingExtra.exit_code
    message = (
        rf"MissingExtra: thorax {arguments[0]} needs (\w+), which is not installed; "
        rf"install it with pip install '\.\[{extra}\]' in a clone of the repository\n"
    )
    named = re.fullmatch(message, done.stderr)
    assert named is not None, done.stderr
    assert named[1] in EXTRAS.split(",")


def test_what_takes_torch_at_its_end_is_refused_at_its_beginning():
    done = thorax_without("torch", "calibrate", "run", "--store", "store", "--out", "calibrated")
    assert done.returncode == MissingExtra.exit_code
    assert done.stderr == (
        "MissingExtra: the engine of a calibrated bundle needs torch, which is not installed; "
        "install it with pip install '.[train]' in a clone of the repository\n"
    )


def test_the_public_interface_names_the_extra_when_a_function_is_called():
    done = _without_extras("import thorax; thorax.evaluate('run', 'store')")
    assert "MissingExtra: thorax.evaluate needs p" in done.stderr
    assert "install it with pip install '.[evaluate]' in a clone of the repository" in done.stderr


def test_help_on_the_package_needs_no_extra():
    done = _without_extras("import thorax; help(thorax)")
    assert done.stderr == ""
    assert "evaluate(" in done.stdout
    assert "Not available: thorax.evaluate needs p" in done.stdout
    assert "load(" in done.stdout


def _without_extras(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a Python in which nothing of the extras can be imported."""
    code = WITHOUT.partition("from thorax.cli")[0] + code
    return subprocess.run([sys.executable, "-c", code, EXTRAS], capture_output=True, text=True, check=False)


def test_other_missing_modules_stay_what_they_are():
    with (
        pytest.raises(ModuleNotFoundError, match="No module named 'no_such_package'"),
        missing_extras_named("this"),
    ):
        import_module("no_such_package")


def test_versions_are_those_that_run():
    assert versions("thorax", "numpy") == {"thorax": thorax.__version__, "numpy": version("numpy")}


def test_the_other_project_named_thorax_is_never_installed():
    texts = [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".j2", ".toml"}),
    ]
    wrong = [path for path in texts if re.search(r"install\s+thorax|['\"]thorax\[", path.read_text())]
    assert wrong == []


def test_extras_of_extras_are_this_distribution():
    for requirements in PROJECT["optional-dependencies"].values():
        for requirement in requirements:
            if requirement.startswith("thorax"):
                assert requirement.startswith("thorax-cxr[")
