"""The architecture is a test: what may import what is in pyproject.toml, the rest is here."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "thorax"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(statement: str) -> set[str]:
    """Top-level packages that are loaded after a statement in a fresh process."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_public_names_are_listed():
    """Ruff sorts `__all__`; that it is whole is checked here."""
    missing = {path.relative_to(PACKAGE).as_posix(): unlisted_names(path) for path in MODULES}
    assert {path: names for path, names in missing.items() if names} == {}


def unlisted_names(path: Path) -> set[str]:
    """Public functions and classes of a module that are not in its `__all__`."""
    defined, listed = set(), set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                listed |= set(ast.literal_eval(node.value))
    return {name for name in defined if not name.startswith("_")} - listed


def test_verbs_print_by_the_one_way_that_shows_escapes():
    printing = {
        path.name
        for path in (PACKAGE / "cli").glob("*.py")
        if path.name not in {"main.py", "output.py"}
        and re.search(r"typer\.echo|(?<!\.)\bprint\(", path.read_text())
    }
    assert not printing


def test_files_stay_small():
    lines = {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: count for path, count in lines.items() if count > 400} == {}


def test_the_tree_in_the_docs_is_the_folder():
    tree = re.search(
        r"```\nsrc/thorax/\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL
    )
    assert tree is not None
    listed, folders = set(), []
    for line in tree[1].splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        folders = folders[: depth - 1]
        if name.endswith("/"):
            folders.append(name)
        else:
            listed.add("".join(folders) + name)
        assert line.split(maxsplit=1)[1:], f"{name} has no line that says what it is for"
    there = {path.relative_to(PACKAGE).as_posix() for path in MODULES if path.name != "__init__.py"}
    assert listed == there


def test_help_is_light():
    heavy = {"torch", "timm", "pandas", "pyarrow", "matplotlib", "pydicom", "scipy", "numpy"}
    run = "sys.argv = ['thorax', '--help']; from thorax.cli.main import _run, VERBS; _run(VERBS)"
    loaded = imported(run)
    assert "typer" in loaded
    assert not loaded & heavy


IN_TORCH = {
    *("thorax.inference.torch_engine", "thorax.explain.torch_explainer", "thorax.explain.attributions"),
    *("thorax.explain.cam", "thorax.explain.faithfulness"),
}
"""Modules that open nets in torch, and what only these import."""


def test_no_torch_below_the_models_nor_where_exported_nets_serve():
    """The contract on torch in pyproject.toml names all that must do without, and importing it shows it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    torch_free = next(contract for contract in contracts if contract["name"].startswith("Torch is imported"))
    rooms = " | ".join(
        [*layers[layers.index("models") + 1 :], "gating", "pacs", "reporting", "service", "web"]
    ).split(" | ")
    modules = {
        f"thorax.{room}.{path.stem}"
        for room in ("inference", "explain")
        for path in (PACKAGE / room).glob("*.py")
        if path.name != "__init__.py"
    }
    expected = modules.union(f"thorax.{room}" for room in rooms) - IN_TORCH
    assert set(torch_free["source_modules"]) == expected
    assert not imported(f"import {', '.join(sorted(expected))}") & {"torch", "timm", "torchvision"}


def test_only_the_inputs_of_evaluation_read_tables():
    """The contract on pandas in pyproject.toml names all of `evaluation` but `inputs`."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    contract = next(contract for contract in contracts if contract["name"].startswith("Evaluation computes"))
    wings = {path.stem for path in (PACKAGE / "evaluation").iterdir()} - {"__init__", "__pycache__", "inputs"}
    assert set(contract["source_modules"]) == {f"thorax.evaluation.{wing}" for wing in wings}


def test_prediction_needs_no_tables():
    assert not imported("import thorax.inference.predictor") & {"pandas", "pyarrow", "pydicom", "matplotlib"}


def test_reading_needs_neither_tables_nor_dicom():
    assert not imported("import thorax.imaging") & {"pandas", "pyarrow", "pydicom", "matplotlib"}


def test_verbs_are_thin():
    long = {
        path.name: count
        for path in (PACKAGE / "cli").glob("*.py")
        if path.name not in {"main.py", "console.py", "completions.py", "examples.py", "help_text.py"}
        and (count := lines_of_code(path)) > 60
    }
    assert not long


def lines_of_code(path: Path) -> int:
    """Lines of a module without imports, docstrings, comments, and the parameters of its functions."""
    text = path.read_text()
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
                left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            case ast.FunctionDef():
                left_out |= set(range(node.lineno + 1, node.body[0].lineno))
    lines = enumerate(text.splitlines(), start=1)
    return sum(bool(line.split("#")[0].strip()) and number not in left_out for number, line in lines)


def test_messages_below_the_command_line_name_settings_and_not_flags():
    """But a whole command, as in "run thorax prepare SRC --out STORE", may be the remedy."""
    flags = {
        f"{path.relative_to(PACKAGE)}: {said}"
        for path in MODULES
        if path.parent.name != "cli"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        for said in [ast.unparse(node)]
        if re.search(r"(?<![\w-])--[a-z]", said) and not re.search(r"thorax \w+|gdcmconv", said)
    }
    assert not flags


def test_shapes_are_checked_in_every_module_with_arrays():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    checked = settings["addopts"].partition("--jaxtyping-packages=")[2].split(",")
    unchecked = []
    for module in MODULES:
        name = ".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts)
        uses = re.search(r"^from (thorax\.arrays|jaxtyping) import", module.read_text(), re.MULTILINE)
        if uses and not any(f"{name}.".startswith(f"{package}.") for package in checked):
            unchecked.append(name)
    assert unchecked == ["thorax.arrays"]
