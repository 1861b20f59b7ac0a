"""No package tells its maker that it is used: each is told before it is imported."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REPORTING = {"huggingface_hub", "mlflow", "onnxruntime", "openvino", "ray"}

RUN = """
import sys
from importlib.resources import files
from thorax.inference.exported_engines import import_openvino
from thorax.inference.onnx_session import open_session
from thorax.telemetry import import_unreported

if sys.argv[1] == "onnxruntime":
    graph = next(path for path in files("thorax.starter").iterdir() if path.name.endswith(".onnx"))
    open_session(graph, 1)
elif sys.argv[1] == "openvino":
    import_openvino()
    # What it sends its events with is its own substitute, which sends nothing.
    assert sys.modules["openvino.tools.ovc.telemetry_utils"].tm.__name__.endswith("telemetry_stub")
else:
    import_unreported(sys.argv[1])
"""


def imports(path):
    """Top-level packages that a file imports by a statement."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_packages_that_report_are_imported_by_one_door():
    found = {
        f"{path.relative_to(ROOT)}: {package}"
        for folder in ("src", "tests", "bench", "tools", "notebooks")
        for path in (ROOT / folder).rglob("*.py")
        for package in set(imports(path)) & REPORTING
    }
    assert found == set()


def run(tmp_path, module, **variables):
    """Import a package through the door with an empty home; return the files left there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    environment |= {"HOME": str(tmp_path), **variables}
    subprocess.run([sys.executable, "-c", RUN, module], env=environment, check=True)
    return sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("module", ["onnxruntime", "openvino", "mlflow.tracking", "huggingface_hub", "ray"])
def test_a_package_that_reports_leaves_nothing_in_the_home(tmp_path, module):
    assert run(tmp_path, module) == []
