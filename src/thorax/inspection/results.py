"""What is known about results: the JSON files of reports, comparisons and other measurements."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from thorax.atomic_io import read_json
from thorax.errors import DataError
from thorax.inspection.info import Fact, Info
from thorax.wording import counted

__all__ = ["RESULTS", "result_info"]

RESULTS: Final[Mapping[str, tuple[str, str]]] = {
    "metrics.json": ("report", "an evaluation"),
    "comparison.json": ("comparison", "a comparison of models"),
    "robustness.json": ("robustness", "a measurement of robustness"),
    "site.json": ("site", "a measurement at a site"),
    "localization.json": ("localization", "a measurement of maps against boxes"),
    "audit.json": ("audit", "an audit"),
    "leaderboard.json": ("leaderboard", "the leaderboards of a study"),
}
"""Kind and description of each result, by the name of its file."""

_FORMAT: Final = "thorax-"
_OF_FORMAT: Final = {name: file for file in RESULTS for name in [f"{_FORMAT}{file.removesuffix('.json')}"]}


def result_info(path: Path) -> Info:
    """Describe a JSON file of a result, or the folder of such a file.

    Raises:
        DataError: The file is not JSON, or not a result of Thorax.
    """
    file = path
    if path.is_dir():
        file = next(path / name for name in RESULTS if (path / name).is_file())
    try:
        value = read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as JSON ({error}); copy the whole report again") from error
    name = str(value.get("format", "")).partition("/")[0] if isinstance(value, dict) else ""
    if name not in _OF_FORMAT:
        raise DataError(
            f"{file} is JSON, but not a result of Thorax; give a folder or file that Thorax wrote"
        )
    kind, what = RESULTS[_OF_FORMAT[name]]
    split = value.get("split")
    where = f" on {split['where']}" if isinstance(split, dict) and split.get("where") else ""
    warnings = value.get("warnings")
    try:
        facts = tuple(_facts(value))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is damaged; copy the whole report again") from error
    return Info(
        path,
        kind,
        what + where,
        facts,
        tuple(map(str, warnings)) if isinstance(warnings, list) else (),
    )


def _facts(value: Mapping[str, Any]) -> list[Fact]:
    facts = [Fact("format", value["format"])]
    model = value.get("model")
    if isinstance(model, dict):
        facts.append(Fact("model", model.get("name")))
        facts.append(Fact("bundle_sha256", model.get("bundle_sha256"), label="SHA-256 of the bundle"))
    facts += [
        Fact(name, value[name])
        for name in ("site", "dataset", "num_images", "num_patients", "num_boxes")
        if name in value
    ]
    facts += _headline(value)
    models = value.get("models")
    if isinstance(models, list):
        names = [
            str(one.get("model", one.get("name"))) if isinstance(one, dict) else str(one) for one in models
        ]
        facts.append(Fact("models", names))
    elif isinstance(models, dict):
        facts.append(Fact("models", list(models)))
    if value.get("test_tuned"):
        facts.append(Fact("test_tuned", True, "yes: something was chosen on the reported images"))
    audit = value.get("audit")
    if isinstance(audit, dict) and isinstance(audit.get("problems"), list):
        facts.append(
            Fact("audit_problems", len(audit["problems"]), counted(len(audit["problems"]), "problem"))
        )
    if isinstance(value.get("versions"), dict):
        facts.append(Fact("versions", value["versions"], label="made with"))
    return facts


def _headline(value: Mapping[str, Any]) -> list[Fact]:
    """Return the mean AUC of an evaluation."""
    macro = value.get("macro")
    if not isinstance(macro, dict) or not isinstance(macro.get("auc"), dict):
        return []
    auc, findings = macro["auc"], macro.get("num_findings")
    if auc.get("value") is None:
        return [Fact("macro_auc", auc, "n/a", "mean AUC")]
    interval = "n/a" if auc.get("low") is None else f"{auc['low']:.3f} to {auc['high']:.3f}"
    text = f"{auc['value']:.3f} (95 % interval {interval}) over {findings} findings"
    return [Fact("macro_auc", auc, text, "mean AUC")]
