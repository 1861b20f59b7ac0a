"""The model card of a bundle: intended use, training data, results and limits.

The headings follow Mitchell et al., Model Cards for Model Reporting (2019).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from thorax.atomic_io import StrPath, write_text
from thorax.bundle import Bundle, Trained, load_bundle
from thorax.bundle.manifest import Imported, Member
from thorax.datasets import NIH_DATASET
from thorax.errors import DataError, RecipeError
from thorax.evaluation.inputs.metrics_json import read_metrics, tuned_marks
from thorax.evaluation.looks import LOOKS, Look, read_looks
from thorax.evaluation.statistics.intervals import Interval
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.findings import finding_or_new
from thorax.image_set import ImageSet
from thorax.outputs import check_output
from thorax.rates import FindingRates
from thorax.recipe.literals import Checklist
from thorax.reporting.abstention import card_abstention, card_bands
from thorax.reporting.held_back import held_back_text
from thorax.reporting.summary import (
    audit_headline,
    markdown_cell,
    markdown_table,
    markdown_tables,
    short,
    threshold_text,
)
from thorax.reporting.tripod_ai import render_tripod_ai

__all__ = ["model_card", "read_card_metrics", "render_card"]

_NOT_FOR = (
    "Not a medical device: not for diagnosis, triage or treatment, for which it was not tested.",
    "Not for lateral radiographs, other body parts, CT, or photographs of films.",
    "Not as a source of truth for labels.",
)
_LIMITS = (
    "The labels of its data set, which may be mined from reports, have errors that the model learns.",
    "Results hold for the data set and split that they name, not for another hospital or machine.",
    "Predictive values change with prevalence; a threshold suits the images that it was chosen on.",
    "A probability states how often such images had the finding in the part used for calibration.",
)
_NIH_LICENSE = (
    "NIH ChestX-ray14 (Wang et al., CVPR 2017) was provided by the NIH Clinical Center, which does not "
    "restrict its use, and asks for a link to its download page, for the citation, and for an "
    "acknowledgement of the NIH Clinical Center."
)


def model_card(
    bundle: StrPath,
    out: StrPath | None = None,
    *,
    metrics: StrPath | None = None,
    checklist: Checklist | None = None,
    overwrite: bool = False,
) -> str:
    """Return a model card as Markdown: a bundle's intended use, training data, results and limits.

    Args:
        bundle: A bundle, or the run that made it.
        out: A file to write the card into; its folder is created if it does not exist.
        metrics: The metrics.json of an evaluation of this bundle; without one, the card has no results.
        checklist: "tripod-ai" adds TRIPOD+AI's checklist as the last section, filled from bundle and metrics;
            what these cannot answer is marked as the author's.
        overwrite: Replace the file `out`.

    Raises:
        BundleError: There is no bundle.
        RecipeError: There is no such checklist.
        DataError: The metrics cannot be read or belong to another model, or `out` already exists.
    """
    if checklist is not None and checklist not in get_args(Checklist):
        raise RecipeError(f"there is no checklist {checklist!r}; there is {', '.join(get_args(Checklist))}")
    opened = load_bundle(bundle)
    if out is not None:
        check_output(Path(out), overwrite=overwrite)
    measured = read_card_metrics(Path(metrics), opened) if metrics else None
    card = render_card(opened, measured)
    if checklist is not None:
        card += f"\n## TRIPOD+AI checklist\n\n{render_tripod_ai(opened, measured)}"
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_text(Path(out), card)
    return card


def read_card_metrics(path: Path, bundle: Bundle) -> Mapping[str, Any]:
    """Read the `metrics.json` of an evaluation of this bundle.

    Raises:
        DataError: It cannot be read, is not such a file, or belongs to another model.
    """
    value = read_metrics(path)
    model = value["model"]
    if model["bundle_sha256"] != bundle.sha256:
        raise DataError(
            f"{path} belongs to {model['name']} ({model['bundle_sha256'][:12]}...), and the bundle is "
            f"{bundle.manifest.name} ({bundle.sha256[:12]}...); evaluate this bundle"
        )
    return value


def render_card(bundle: Bundle, metrics: Mapping[str, Any] | None = None) -> str:
    """Return the card as Markdown.

    Args:
        bundle: The model.
        metrics: What `read_card_metrics` returned; if None, the card says that it has no results.
    """
    sections: dict[str, str] = {
        "Intended use": _bullets(_intended(bundle)),
        "Not intended": _bullets(_NOT_FOR),
        "Model": _bullets(_model(bundle)),
        "Training data": _bullets(_data(bundle)),
        "Calibration and operating points": _operating(bundle),
        **_not_decided(bundle, metrics),
        "Input gate": _bullets(_gate(bundle)),
        "Results": _results(metrics),
        "Looks at test parts": _bullets(_looks(bundle)),
        "Limits": _bullets(_LIMITS),
        "License of the data": _license(bundle),
    }
    body = "\n".join(f"## {heading}\n\n{text}" for heading, text in sections.items())
    return f"# {markdown_cell(bundle.manifest.name)}\n\n{body}"


def _intended(bundle: Bundle) -> Iterator[str]:
    yield from bundle.manifest.stated_in_full
    yield "Research on chest radiographs: it predicts the probability of each finding on a frontal image."
    yield f"Findings: {', '.join(finding.label for finding in bundle.findings)}."


def _model(bundle: Bundle) -> Iterator[str]:
    manifest = bundle.manifest
    yield f"Bundle sha256 {bundle.sha256}"
    preparation = manifest.preparation
    yield f"Input: one gray radiograph of {preparation.size} x {preparation.size} pixels, {preparation.fit}"
    for number, member in enumerate(manifest.members, start=1):
        weights = "exported graph" if member.sha256 is None else f"weights sha256 {member.sha256}"
        yield f"Network {number}: {member.model.backbone}, {weights}, {_origin(member)}"
    if manifest.ensemble:
        yield f"Mean of the networks' {manifest.ensemble.mean_of}"


def _origin(member: Member) -> str:
    match member.provenance:
        case Imported() as origin:
            return f"imported from {origin.source} (file sha256 {origin.file_sha256})"
        case Trained() as origin:
            return (
                f"recipe {origin.recipe} (sha256 {origin.recipe_sha256}), seed {origin.seed}, epoch "
                f"{origin.epoch}, chosen as {origin.selected_by}"
            )


def _data(bundle: Bundle) -> Iterator[str]:
    for member in bundle.manifest.members:
        match member.provenance:
            case Imported() as origin:
                yield "The patients that an imported network was trained on are not known."
                yield from origin.notes
            case Trained() as origin:
                yield f"Trained on the {_part(origin.trained_on)}, store {origin.store_fingerprint}"
                yield f"Weights chosen on the {_part(origin.selected_on)}"


def _gate(bundle: Bundle) -> Iterator[str]:
    """Yield what the bundle's input gate holds back, and how often it does so on validation."""
    gate = bundle.manifest.gate
    if gate is None:
        yield (
            "Not fitted: images without contrast, in color, or of another part of the body by their header "
            "are held back, and any other picture is predicted. `thorax gate` fits one."
        )
        return
    yield "Holds back what is not an upright frontal chest radiograph like those of training"
    yield f"Fitted on the {_part(gate.fitted_on)}"
    yield (
        f"Limits set on the {_part(gate.chosen_on)}, of which it holds back {gate.held_back}; of their "
        f"copies {gate.turned_caught} turned and {gate.inverted_caught} inverted ones"
    )
    yield f"Of drawn pictures of kinds that it was not fitted on it holds back {gate.pictures_caught}"
    yield f"Warns of {gate.mirrored_caught} mirrored copies, and of {gate.mirrored_called} images as they are"


def _operating(bundle: Bundle) -> str:
    calibration, points = bundle.manifest.calibration, bundle.manifest.operating_points
    lines = [
        "Not calibrated: a probability of 20 % need not mean that a fifth have the finding."
        if calibration is None
        else f"Calibration: {calibration}, fitted on the {_part(calibration.fitted_on)}"
    ]
    if points is None:
        return _bullets([*lines, "No operating points."])
    chosen = f", chosen on the {_part(points.chosen_on)}" if points.chosen_on else "; not chosen on any image"
    lines.append(f"Thresholds by the rule {points.rule}{chosen}")
    rows = [(_label(name), threshold_text(threshold)) for name, threshold in points.thresholds.items()]
    if points.measured is None:
        return f"{_bullets(lines)}\n{markdown_table(('Finding', 'Threshold'), rows)}"
    lines.append(f"Sensitivity and specificity at them: on the {_part(points.measured.measured_on)}")
    header = ("Finding", "Threshold", "Sensitivity (95 %)", "Specificity (95 %)")
    rated = [
        (*row, *_rates(points.measured.findings.get(name)))
        for name, row in zip(points.thresholds, rows, strict=True)
    ]
    return f"{_bullets(lines)}\n{markdown_table(header, rated)}"


def _rates(rates: FindingRates | None) -> tuple[str, str]:
    """Return sensitivity and specificity as text, each with interval and count; "n/a" without one."""
    shares = (rates.sensitivity, rates.specificity) if rates else (None, None)
    first, second = (
        "n/a"
        if share is None
        else f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f}), {share.matching} of {share.images}"
        for share in shares
    )
    return first, second


def _not_decided(bundle: Bundle, metrics: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the section on bands; none where the bundle has none."""
    bands, points = bundle.manifest.bands, bundle.manifest.operating_points
    if bands is None or points is None:
        return {}
    measured = card_abstention(metrics.get("abstention")) if metrics else ""
    return {"Not decided": f"{card_bands(bands, points.thresholds)}\n{measured}"}


def _results(metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return "Not given: see `thorax evaluate` and `thorax card --metrics`.\n"
    split, macro = metrics["split"], metrics["macro"]
    where = f"{split['name']}, {split['part']} part" if split["name"] else "split not stated"
    point = metrics["operating_points"][0]
    rows = [
        (
            _label(name),
            f"{result['num_positive']:,} of {result['num_known']:,}",
            _short(result["auc"]),
            _short(result["average_precision"]),
            *(_short(point["findings"][name][rate]) for rate in ("sensitivity", "specificity", "f1")),
        )
        for name, result in metrics["findings"].items()
    ]
    means = point["averages"]["macro"]
    rows.append(
        (
            f"Mean of {macro['num_findings']}",
            "",
            _short(macro["auc"]),
            _short(macro["average_precision"]),
            *(_short(means[rate]) for rate in ("sensitivity", "specificity", "f1")),
        )
    )
    audit = _audit(metrics.get("audit"))
    header = ("Finding", "Positives", "AUC", "Average precision", "Sensitivity", "Specificity", "F1")
    tuned = f"**{TUNED_MARK}**\n\n" if tuned_marks(metrics) else ""
    summary = (
        f"{where}, {metrics['num_images']:,} images of {metrics['num_patients']:,} patients; 95 % intervals "
        f"with the patient as the unit; sensitivity, specificity and F1 at "
        f"{point['name']}."
    )
    labels = metrics.get("labels")  # absent in files of earlier versions
    stated = f"{labels['published']['stated']}, " if labels and labels["published"] else ""
    gate = held_back_text(metrics.get("input_gate"))
    notes = [
        *([gate] if gate else []),
        *([f"Labels: {stated}sha256 {labels['sha256']}"] if labels else []),
        *metrics["warnings"],
    ]
    parts = (("Positives", "AUC", "Average precision"), ("Sensitivity", "Specificity", "F1"))
    tables = markdown_tables(header, rows, parts)
    return f"{tuned}{markdown_cell(summary)}\n\n{audit}{tables}\n{_bullets(notes)}"


def _looks(bundle: Bundle) -> Iterator[str]:
    """Yield how often each test part was measured, as noted beside the run."""
    looks = list(read_looks(bundle.run / LOOKS)) if bundle.run else []
    by_part: dict[tuple[str, str, str], list[Look]] = {}
    for look in looks:
        by_part.setdefault((look.dataset, look.split, look.part), []).append(look)
    if not by_part:
        yield "None is noted beside this bundle."
    for (dataset, split, part), at_part in by_part.items():
        where = f"{part} part of {split}, {dataset}" if split else f"images of no stated split, {dataset}"
        days = sorted({look.time[:10] for look in at_part})
        times = "1 look" if len(at_part) == 1 else f"{len(at_part):,} looks"
        yield f"{where}: {times}, {days[0] if len(days) == 1 else f'{days[0]} to {days[-1]}'}"
    yield "Looks at other copies of this bundle are not known; the best of many is better than the model."


def _audit(audit: Mapping[str, Any] | None) -> str:
    """Return the headline of the evaluation's audit with its errors and warnings; "" if there was none."""
    if audit is None:
        return ""
    lines = [(problem["severity"], problem["what"]) for problem in audit["problems"]]
    serious = [f"{severity}: {text}" for severity, text in lines if severity != "note"]
    return f"**{markdown_cell(audit_headline(lines))}**.\n\n{_bullets(serious)}" + ("\n" if serious else "")


def _label(name: str) -> str:
    return finding_or_new(name).label


def _license(bundle: Bundle) -> str:
    datasets = sorted({training.dataset for training in bundle.trainings})
    lines = [_NIH_LICENSE] if NIH_DATASET in datasets else []
    lines += [f"{name}: ask its publisher." for name in datasets if name != NIH_DATASET]
    if not bundle.all_trained:
        lines.append(
            "An imported network is subject to the license of its source and of the data it was trained on."
        )
    return _bullets(lines)


def _part(reference: ImageSet) -> str:
    return (
        f"{reference.part} part of {reference.split}, {reference.dataset} ({reference.num_images:,} images "
        f"of {reference.num_patients:,} patients; split sha256 {reference.sha256})"
    )


def _short(value: Mapping[str, float | None]) -> str:
    numbers = (math.nan if value[name] is None else value[name] for name in ("value", "low", "high"))
    return short(Interval(*(float(number) for number in numbers if number is not None)))


def _bullets(lines: Sequence[str] | Iterator[str]) -> str:
    return "".join(f"- {markdown_cell(line)}\n" for line in lines)
