"""`import thorax`: its names, and that nothing heavy is imported before it is needed."""

import pkgutil
import subprocess
import sys

import pytest

import thorax


def test_the_names_are_these():
    assert thorax.__all__ == [
        "Failure",
        "Model",
        "__version__",
        "audit",
        "calibrate",
        "compare",
        "ensemble",
        "errors",
        "evaluate",
        "export",
        "gate",
        "info",
        "load",
        "localize",
        "phantom",
        "prepare",
        "progress",
        "robustness",
        "site",
        "study",
        "train",
        "tune",
    ]


def test_no_module_is_called_like_a_name():
    """Importing such a module would put it in the function's place."""
    modules = {module.name for module in pkgutil.iter_modules(thorax.__path__)}
    assert {"auditing", "exporting"} <= modules
    assert modules & set(thorax.__all__) == {"errors", "progress"}  # which are modules


def test_every_name_is_there_and_described():
    for name in set(thorax.__all__) - {"__version__"}:
        assert getattr(thorax, name).__doc__.strip(), name
    assert set(thorax.__all__) <= set(dir(thorax))


def test_another_name_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = thorax.predict


def test_importing_imports_nothing_heavy():
    program = (
        "import sys; before = set(sys.modules); import thorax; dir(thorax); "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "thorax" in said.split()
    assert not set(said.split()) & {
        "torch", "pandas", "numpy", "pydantic", "PIL", "pydicom", "onnxruntime", "matplotlib",
        "scipy", "typer",
    }  # fmt: skip
