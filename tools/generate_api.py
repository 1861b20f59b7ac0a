"""Writes docs/api.md from the docstrings of what `import thorax` offers.

    python tools/generate_api.py [--check]

With --check nothing is written; the exit code is 1 where the file is not what would be written.
"""

import argparse
import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

FILE = Path(__file__).parents[1] / "docs" / "api.md"

CONTENT = {
    "From files to a model": {
        "phantom": "thorax.workflows.phantom",
        "prepare": "thorax.workflows.prepare",
        "train": "thorax.workflows.train",
        "tune": "thorax.tuning.tune",
        "study": "thorax.studies.study",
        "Store": "thorax.store.store",
        "PhantomSet": "thorax.datasets.phantom",
        "RunSummary": "thorax.training.run_folder",
        "StudyResult": "thorax.tuning.trials",
        "Trial": "thorax.tuning.trials",
        "Leaderboards": "thorax.studies.results",
    },
    "A model at work": {
        "load": "thorax.workflows.model",
        "Model": "thorax.workflows.model",
        "Explanation": "thorax.workflows.explanation",
        "Prediction": "thorax.prediction",
        "FindingPrediction": "thorax.prediction",
        "Failure": "thorax.inference.predictor",
        "FolderPredictions": "thorax.workflows.predict_folder",
        "Tally": "thorax.workflows.predicting",
    },
    "Measuring": {
        "evaluate": "thorax.workflows.evaluate",
        "EvaluationResult": "thorax.workflows.results",
        "compare": "thorax.workflows.compare",
        "ComparisonResult": "thorax.workflows.results",
        "localize": "thorax.workflows.localize",
        "LocalizationResult": "thorax.workflows.results",
        "robustness": "thorax.workflows.robustness",
        "RobustnessResult": "thorax.workflows.robustness",
        "site": "thorax.workflows.site",
        "SiteResult": "thorax.workflows.site",
        "audit": "thorax.workflows.audit",
        "Audit": "thorax.auditing.report",
        "Problem": "thorax.auditing.report",
    },
    "Bundles from bundles": {
        "calibrate": "thorax.workflows.bundles",
        "ensemble": "thorax.workflows.bundles",
        "export": "thorax.workflows.bundles",
        "gate": "thorax.workflows.gate",
        "WrittenBundle": "thorax.workflows.bundles",
    },
    "Progress": {"Progress": "thorax.progress", "tqdm": "thorax.progress"},
}
"""The headings; under each, names and the modules that define them."""

METHODS = {
    "Audit": ["failed", "headline"],
    "FindingPrediction": ["positive"],
    "Store": ["dataset", "num_patients", "pixels", "to_frame", "verify"],
    "RunSummary": [],
    "Progress": [],
}
"""Classes of which not every public method is for a reader."""

_SUBJECTS = {
    "EvaluationResult": "result",
    "ComparisonResult": "comparison",
    "LocalizationResult": "localization",
    "RobustnessResult": "result",
    "SiteResult": "result",
    "FindingPrediction": "finding",
    "WrittenBundle": "written",
}

ALIASES = {
    "ImageSource": "a path, `bytes`, an opened file, a NumPy array, a PIL image or a pydicom `Dataset`",
    "StrPath": "`str` or `os.PathLike`",
    "BundleLike": "a run or bundle, or its path; in `evaluate` and `compare` also the path of a CSV",
    "StoreLike": "a store or its path; in `evaluate` and `compare` also the path of a label file",
    "ValueRange": "two numbers: the values of black and of white",
    "ProgressCallback": "a function of a `Progress`, called at most ten times a second",
    "Prevalence": "a mapping from a finding, or its name, to a number in [0, 1]",
    "EngineName": '`"auto"`, `"torch"`, `"onnx"`, `"onnx-int8"`, `"openvino"` or `"openvino-int8"`',
    "EngineKind": '`"onnx"` or `"openvino"`',
    "CalibrationKind": '`"temperature"` or `"platt"`',
    "MeanOf": '`"probabilities"` or `"logits"`',
    "MemberWeights": '`"equal"` or `"validation"`',
    "OperatingPointRule": '`"f1-optimal"`, `"youden"`, `"sensitivity-90"`, `"specificity-95"`, `"one-half"`',
    "Fit": '`"pad"`, `"crop"` or `"stretch"`',
}

HEAD = """# The Python interface

`python tools/generate_api.py` writes this page from the docstrings. The test suite runs the examples in
order, on synthetic radiographs in the folder `nih`. A call takes what an earlier one returned, or its
path. Every error that Thorax raises on purpose is a `thorax.errors.ThoraxError`.

```python
from pathlib import Path

import numpy

import thorax
```
"""

_TITLES = {"Args": "Arguments", "Attributes": "Attributes", "Raises": "Raises"}
_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example):$")
_ENTRY = re.compile(r"^(\*{0,2}\w+): (.*)$")
_LONGEST_SIGNATURE = 90


def main() -> int:
    """Write the file, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    text = render()
    if parser.parse_args().check:
        return int(not FILE.is_file() or FILE.read_text() != text)
    FILE.write_text(text)
    return 0


def render() -> str:
    """Return the whole file."""
    pieces = [HEAD]
    for heading, names in CONTENT.items():
        pieces.append(f"\n## {heading}\n")
        for name, module in names.items():
            pieces += _definition(_find(_tree(module), name), called=_called(name, module))
    aliases = "\n".join(f"- `{name}`: {text}" for name, text in sorted(ALIASES.items()))
    text = "".join(pieces) + f"\n## Names in signatures\n\n{aliases}\n"
    return re.sub(r"\n{3,}", "\n\n", text)


def _called(name: str, module: str) -> str:
    """Return what a reader types."""
    if name in importlib.import_module("thorax").__all__:
        return f"thorax.{name}"
    return f"{module}.{name}" if module == "thorax.progress" else name


def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def _find(tree: ast.Module, name: str) -> ast.FunctionDef | ast.ClassDef:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    raise KeyError(name)


def _definition(node: ast.FunctionDef | ast.ClassDef, *, called: str) -> Iterator[str]:
    yield f"\n### {called}\n\n"
    if isinstance(node, ast.FunctionDef):
        yield _signature(node, called)
        yield _docstring(node)
        return
    yield _docstring(node)
    shown = METHODS.get(node.name)
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and _is_shown(method, shown):
            subject = _SUBJECTS.get(node.name, node.name.lower())
            yield "\n" + _signature(method, f"{subject}.{method.name}")
            yield _docstring(method)


def _is_shown(method: ast.FunctionDef, shown: list[str] | None) -> bool:
    public = method.name == "__getitem__" or not method.name.startswith("_")
    return public and (shown is None or method.name in shown)


def _signature(node: ast.FunctionDef, called: str) -> str:
    """Return the line that defines it, without `self`; a property has no parentheses."""
    returned = f" -> {ast.unparse(node.returns).strip(chr(39))}" if node.returns else ""
    if any(isinstance(found, ast.Name) and found.id == "property" for found in node.decorator_list):
        return f"```text\n{called}{returned}\n```\n\n"
    arguments = _arguments(node.args)
    if node.name == "__getitem__":
        line = f"{called.removesuffix('.__getitem__')}[{', '.join(arguments)}]{returned}"
        return f"```text\n{line}\n```\n\n"
    line = f"{called}({', '.join(arguments)}){returned}"
    if len(line) > _LONGEST_SIGNATURE:
        inside = "".join(f"    {argument},\n" for argument in arguments)
        line = f"{called}(\n{inside}){returned}"
    return f"```text\n{line}\n```\n\n"


def _arguments(arguments: ast.arguments) -> list[str]:
    positional = [argument for argument in arguments.args if argument.arg != "self"]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    texts = [_argument(argument, default) for argument, default in zip(positional, defaults, strict=True)]
    keywords = [
        _argument(argument, default)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return [*texts, *(["*", *keywords] if keywords else [])]


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    typed = f"{argument.arg}: {ast.unparse(argument.annotation)}" if argument.annotation else argument.arg
    return typed if default is None else f"{typed} = {ast.unparse(default)}"


def _docstring(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return a docstring in Markdown: its sections become lists, its examples code."""
    pieces, section, lines = [], "", []
    for line in [*(ast.get_docstring(node) or "").splitlines(), "Args:"]:
        heading = _SECTION.match(line)
        if heading is None:
            lines.append(line)
            continue
        pieces.append(_section(section, lines))
        section, lines = heading[1], []
    return "\n".join(piece for piece in pieces if piece)


def _section(name: str, lines: list[str]) -> str:
    text = textwrap.dedent("\n".join(lines)).strip()
    if not text:
        return ""
    match name:
        case "":
            return f"{text}\n"
        case "Example":
            return f"```python\n{text}\n```\n"
        case "Returns" | "Yields":
            return f"{name}: {text}\n"
        case _:
            return f"{_TITLES[name]}:\n\n{_entries(text)}\n"


def _entries(text: str) -> str:
    found: list[str] = []
    for line in text.splitlines():
        entry = _ENTRY.match(line)
        if entry is not None:
            found.append(f"- `{entry[1]}`: {entry[2]}")
        elif found:
            found[-1] += f" {line.strip()}"
    return "\n".join(found) + "\n"


if __name__ == "__main__":
    sys.exit(main())
