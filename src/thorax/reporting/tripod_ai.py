"""TRIPOD+AI, the checklist for studies of prediction models, filled from a bundle and its `metrics.json`."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from thorax.bundle import Bundle, Trained
from thorax.bundle.manifest import Imported
from thorax.datasets import NIH_DATASET
from thorax.errors import ThoraxError
from thorax.evaluation.inputs.metrics_json import tuned_marks
from thorax.evaluation.statistics.intervals import Interval
from thorax.evaluation.thresholds import TUNED_MARK
from thorax.findings import finding_or_new
from thorax.image_set import ImageSet
from thorax.recipe.load import load_recipe, recipe_sha256
from thorax.reporting.summary import audit_headline, markdown_cell, percent, short
from thorax.reporting.tripod_items import CITATION, ITEMS
from thorax.run_files import RECIPE

__all__ = ["AUTHOR", "render_tripod_ai", "tripod_answers"]

AUTHOR: Final = "**For the author:**"
"""Marks what only the author of a study can answer."""

_NIH_LABELS: Final = (
    "NIH's labels were mined from radiology reports by a program (Wang et al., CVPR 2017); no radiologist "
    "labeled the images for this data set."
)

_NEEDS_METRICS: Final = "Evaluate the bundle and give its metrics.json, which answers more of them."


def render_tripod_ai(bundle: Bundle, metrics: Mapping[str, Any] | None = None) -> str:
    """Return the filled checklist in Markdown, without a heading: every item once.

    What the bundle and the evaluation cannot answer is marked as the author's to fill.

    Args:
        bundle: The model.
        metrics: What `read_card_metrics` returned; without it, fewer items have an answer.
    """
    answers = tripod_answers(bundle, metrics)
    rows = []
    for item in ITEMS:
        answer, author = answers.get(item.number, ""), item.author
        pieces = (markdown_cell(answer), f"{AUTHOR} {markdown_cell(author)}" if author else "")
        text = " ".join(piece for piece in pieces if piece)
        rows.append(f"| {item.number} | {markdown_cell(item.topic)} | {text} |")
    complete = sum(item.number in answers and not item.author for item in ITEMS)
    partial = len(answers) - complete
    summary = (
        f"TRIPOD+AI has 27 items, {len(ITEMS)} with their parts. The bundle"
        f"{' and its evaluation answer' if metrics else ' answers'} {complete} of these in full and "
        f"{partial} in part; the other {len(ITEMS) - complete - partial} are for the author alone."
        + ("" if metrics else f" {_NEEDS_METRICS}")
    )
    source = f"Topics are in our own words; the wording that counts is in: {CITATION}."
    table = "\n".join(["| Item | Topic | Answer |", "| --- | --- | --- |", *rows])
    return f"{markdown_cell(summary)} {markdown_cell(source)}\n\n{table}\n"


def tripod_answers(bundle: Bundle, metrics: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return what a bundle and its evaluation answer, by the number of the item."""
    answers = _of_bundle(bundle) | {"13": _imbalance(bundle)}
    if metrics is None:
        return {number: text for number, text in answers.items() if text}
    of_metrics = _of_data(metrics) | _of_results(metrics)
    both = {
        item.number: " ".join(
            text for text in (answers.get(item.number), of_metrics.get(item.number)) if text
        )
        for item in ITEMS
    }
    return {number: text for number, text in both.items() if text}


# ---- from the bundle -------------------------------------------------------------------------------------


def _of_bundle(bundle: Bundle) -> dict[str, str]:
    manifest, size = bundle.manifest, bundle.manifest.preparation.size
    findings = ", ".join(finding.label for finding in bundle.findings)
    datasets = sorted({training.dataset for training in bundle.trainings})
    nih = NIH_DATASET in datasets
    trained = dict.fromkeys(str(training.trained_on) for training in bundle.trainings)
    groups = "No method of fairness was used in training, and age and sex are not inputs."
    return {
        "1": f"The model predicts, from a frontal chest radiograph, the probability of {findings}.",
        "3b": " ".join([*manifest.stated_in_full, "Research only: it is not a medical device."]),
        "5a": _unless_empty("Trained on the data set ", datasets, unknown=_imported(bundle)),
        "7": f"Every image becomes one gray square of {size} x {size} pixels ({manifest.preparation.fit}), "
        "by the same code for training, evaluation and use, and for every group of patients.",
        "8a": f"Presence of each finding on the same radiograph, as labeled in the data set: {findings}.",
        "8b": _NIH_LABELS if nih else "",
        "9a": "The only predictor is the image: every pixel of the prepared square, without a selection.",
        "9b": "The gray values of the image file. Age, sex and view are not inputs.",
        "9c": "Not applicable: no person interprets the image before the model reads it.",
        "10": _unless_empty("Training: ", trained, unknown=_imported(bundle)),
        "11": "Training leaves out unknown labels." if bundle.all_trained else "",
        "12a": " ".join(_use_of_data(bundle)),
        "12b": " ".join(_inputs(bundle)),
        "12c": " ".join(_building(bundle)),
        "12g": f"By the bundle with SHA-256 {bundle.sha256}.",
        "14": groups if bundle.all_trained else "Age and sex are not inputs.",
        "15": " ".join(_output(bundle)),
        "16": _unless_empty("Trained on the data set ", datasets, unknown=_imported(bundle)),
        "18e": "NIH ChestX-ray14 is public: NIH Clinical Center, Wang et al., CVPR 2017." if nih else "",
        "18f": " ".join(_recipes(bundle)),
        "21": " ".join(_numbers(bundle)),
        "22": f"The bundle holds the whole model and runs by `thorax predict`: SHA-256 {bundle.sha256}"
        + (f", also as {', '.join(_engines(bundle))}." if manifest.engines else "."),
        "23b": _unless_empty("It has its own calibration for ", [site.site for site in manifest.sites]),
        "26": "The labels have errors that the model learns. Results hold for the data that they name, and "
        "predictive values change with prevalence.",
        "27a": "A file that cannot be read, or has no single gray radiograph, is refused with the reason; "
        "the model is not meant for lateral views or other body parts.",
        "27b": "The user gives an image file alone, without measurements or entries.",
    }  # fmt: skip


def _unless_empty(start: str, names: Collection[str], *, unknown: str = "") -> str:
    known = f"{start}{', '.join(names)}." if names else ""
    return " ".join(text for text in (known, unknown) if text)


def _imported(bundle: Bundle) -> str:
    return "" if bundle.all_trained else "What an imported network was trained on is not known."


def _use_of_data(bundle: Bundle) -> Iterator[str]:
    for what, images in _choices(bundle):
        yield f"{what} on the {images}."
    yield _imported(bundle) or "Patients that it saw are refused in its evaluation."


def _choices(bundle: Bundle) -> Iterator[tuple[str, ImageSet]]:
    """Yield what was trained or chosen, and on which images."""
    manifest, trainings = bundle.manifest, bundle.trainings
    trained = "The networks were trained" if len(manifest.members) > 1 else "The network was trained"
    yield from dict.fromkeys((trained, training.trained_on) for training in trainings)
    yield from dict.fromkeys(
        (f"Weights were chosen ({training.selected_by})", training.selected_on) for training in trainings
    )
    if manifest.ensemble and manifest.ensemble.fitted_on:
        yield "The weights of the mean were fitted", manifest.ensemble.fitted_on
    if manifest.calibration:
        yield "It was calibrated", manifest.calibration.fitted_on
    if manifest.operating_points and manifest.operating_points.chosen_on:
        yield "Thresholds were chosen", manifest.operating_points.chosen_on
    if manifest.bands:
        yield "Bands without a decision were set", manifest.bands.chosen_on


def _inputs(bundle: Bundle) -> Iterator[str]:
    nets = [member.model for member in bundle.manifest.members]
    for net in dict.fromkeys((net.input_size, net.mean, net.std) for net in nets):
        size, mean, std = net
        yield (
            f"Pixels between 0 and 1 at {size} x {size}, less {_numbers_text(mean)} and divided by "
            f"{_numbers_text(std)}."
        )


def _building(bundle: Bundle) -> Iterator[str]:
    manifest = bundle.manifest
    for member in manifest.members:
        match member.provenance:
            case Trained() as origin:
                start = _start(member.model.weights, origin)
                made = f"{start}, recipe {origin.recipe}, seed {origin.seed}, epoch {origin.epoch}"
            case Imported() as origin:
                made = f"imported from {origin.source}"
        yield f"A neural network, {member.model.backbone} ({made})."
    if manifest.ensemble:
        yield f"Its output is the mean of the networks' {manifest.ensemble.mean_of}."


def _start(weights: str, origin: Trained) -> str:
    """Say which weights training started from, without the path of a file."""
    kind, _, tag = weights.partition(":")
    match kind:
        case "none":
            return "random initial weights"
        case "timm":
            return f"initial weights from timm{f' ({tag})' if tag else ''}"
        case "bundle":
            return f"initial weights from the bundle {origin.started_from}"
        case _:
            file = origin.initial_weights
            return f"initial weights from the file {file.file if file else Path(tag).name}"


def _recipes(bundle: Bundle) -> Iterator[str]:
    for training in bundle.trainings:
        yield (
            f"Thorax {training.versions.get('thorax', '')}, recipe {training.recipe} "
            f"(SHA-256 {training.recipe_sha256}), seed {training.seed}."
        )


def _output(bundle: Bundle) -> Iterator[str]:
    manifest = bundle.manifest
    calibration, points = manifest.calibration, manifest.operating_points
    how = f"calibrated by {calibration}" if calibration else "not calibrated"
    yield f"A probability of each finding, {how}."
    if points is None:
        yield "It has no thresholds."
    else:
        chosen = f", chosen on the {points.chosen_on}" if points.chosen_on else ""
        yield f"Yes or no at thresholds by the rule {points.rule}{chosen}."
    if manifest.bands is not None and manifest.bands.bands:
        names = ", ".join(finding_or_new(name).label for name in manifest.bands.bands)
        yield f"At {100 * manifest.bands.level:.3g} % it may be not decided: {names}."


def _numbers(bundle: Bundle) -> Iterator[str]:
    for what, images in _choices(bundle):
        yield f"{what}: {images.num_images:,} images of {images.num_patients:,} patients."


def _engines(bundle: Bundle) -> list[str]:
    return [f"{exported.kind} {exported.precision}" for exported in bundle.manifest.engines]


def _imbalance(bundle: Bundle) -> str:
    """Say which loss handled rare findings, as the recipe beside the bundle says; "" without it."""
    trainings, run = bundle.trainings, bundle.run
    if len(trainings) != 1 or not bundle.all_trained or run is None:
        return ""
    try:
        recipe = load_recipe(str(run / RECIPE))
    except ThoraxError:
        return ""
    if recipe_sha256(recipe) != trainings[0].recipe_sha256:
        return ""
    kind = recipe.loss.kind
    how = (
        "No method for it was used: the loss is plain cross-entropy, and images were not resampled."
        if kind == "bce"
        else f"The loss is {kind}, which changes how much rare findings count; images were not resampled."
    )
    calibrated = bundle.manifest.calibration
    return f"{how} " + (
        f"Probabilities were calibrated afterwards ({calibrated})."
        if calibrated
        else "Probabilities were not calibrated afterwards."
    )


def _numbers_text(values: Sequence[float]) -> str:
    return " / ".join(f"{value:g}" for value in values)


# ---- from metrics.json -----------------------------------------------------------------------------------


def _of_data(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Answer from the images, labels and settings of an evaluation."""
    split, audit, labels = metrics["split"], metrics.get("audit"), metrics.get("labels")
    images = _counted(metrics)
    where = f"{split['part']} part of {split['name']}" if split["name"] else "images of no stated split"
    intervals, made = metrics["intervals"], metrics["made"]
    evaluated = f"Evaluated on the {where}, data set {metrics['dataset']}: {images}."
    groups: dict[str, list[str]] = {}
    for group in metrics["subgroups"]:
        text = f"{group['group']}: {_counted(group)}"
        groups.setdefault(group["axis"], []).append(text)
    return {
        "5a": evaluated,
        "7": _audit_text(audit) if audit else "",
        "8a": f"Labels with SHA-256 {labels['sha256']}." if labels else "",
        "10": f"Evaluation: {images}.",
        "11": _missing(labels) if labels else "",
        "12a": evaluated,
        "12d": f"Intervals have the {intervals['unit']} as their unit.",
        "12e": "Discrimination (AUC, average precision), calibration (Brier score, calibration error, "
        "reliability), decisions (sensitivity, specificity, predictive values, F1) and net benefit, with "
        f"{100 * intervals['level']:.0f} % intervals.",
        "12f": "Recalibrations were tried beside the model's own."
        if metrics["calibration"]["recalibrated"]
        else "",
        "12g": _sentence(made.get("Computed by")),
        "14": f"Results are given by {', '.join(groups)}." if groups else "",
        "16": f"Evaluated on the data set {metrics['dataset']}, {where}.",
        "20a": f"{evaluated} {_positives(metrics)}",
        "20b": " ".join(f"By {axis}, {'; '.join(texts)}." for axis, texts in groups.items()),
        "20c": _prevalence(metrics),
        "21": f"Evaluation: {images}.",
    }  # fmt: skip


def _of_results(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Answer from the figures of an evaluation."""
    return {
        "23a": " ".join(_performance(metrics)),
        "24": " ".join(_updates(metrics)),
        "26": " ".join(metrics["warnings"]),
    }


def _counted(counts: Mapping[str, Any]) -> str:
    images, patients = counts["num_images"], counts["num_patients"]
    return (
        f"{images:,} image{'' if images == 1 else 's'} of {patients:,} patient{'' if patients == 1 else 's'}"
    )


def _sentence(text: str | None) -> str:
    return f"{text}." if text else ""


def _audit_text(audit: Mapping[str, Any]) -> str:
    return f"{audit_headline([(problem['severity'], '') for problem in audit['problems']])}."


def _missing(labels: Mapping[str, Any]) -> str:
    return (
        f"{labels['num_unknown']:,} of the {labels['num_cells']:,} labels are unknown; a finding is measured "
        "on the images whose label is known."
    )


def _positives(metrics: Mapping[str, Any]) -> str:
    counts = [
        f"{_label(name)} {result['num_positive']:,} of {result['num_known']:,}"
        for name, result in metrics["findings"].items()
    ]
    return f"With the finding, of images with a known label: {', '.join(counts)}."


def _prevalence(metrics: Mapping[str, Any]) -> str:
    trained = metrics["calibration"]["prevalence_in_training"]
    shares = [
        f"{_label(name)} {percent(stated['value'])}, {percent(_share(metrics['findings'][name]))}"
        for name, stated in trained.items()
    ]
    return f"Share with the finding in training and here: {'; '.join(shares)}." if shares else ""


def _share(result: Mapping[str, Any]) -> float:
    return result["num_positive"] / result["num_known"] if result["num_known"] else math.nan


def _performance(metrics: Mapping[str, Any]) -> Iterator[str]:
    macro, point = metrics["macro"], metrics["operating_points"][0]
    if tuned_marks(metrics):
        yield f"{TUNED_MARK}."
    yield (
        f"Mean over {macro['num_findings']} findings: AUC {_short(macro['auc'])}, average precision "
        f"{_short(macro['average_precision'])}."
    )
    aucs = [f"{_label(name)} {_short(result['auc'])}" for name, result in metrics["findings"].items()]
    yield f"AUC: {', '.join(aucs)}."
    groups = [
        f"{group['group']} {_short(group['macro_auc'])}"
        for group in metrics["subgroups"]
        if group["macro_auc"]["value"] is not None
    ]
    if groups:
        yield f"Mean AUC by subgroup: {', '.join(groups)}."
    rates = {"sensitivity": "sensitivity", "specificity": "specificity", "f1": "F1"}
    means = ", ".join(f"{name} {_short(point['averages']['macro'][rate])}" for rate, name in rates.items())
    yield f"Means at {point['name']}: {means}."
    yield f"Calibration: {_errors(metrics['calibration']['macro'])}."


def _updates(metrics: Mapping[str, Any]) -> Iterator[str]:
    for how in metrics["calibration"]["recalibrated"]:
        yield f"{how['name']}: {_errors(how['macro'])}."


def _errors(macro: Mapping[str, Any]) -> str:
    return f"Brier score {_short(macro['brier'])}, calibration error {_short(macro['ece'])}"


def _label(name: str) -> str:
    return finding_or_new(name).label


def _short(value: Mapping[str, float | None]) -> str:
    numbers = (math.nan if value[name] is None else value[name] for name in ("value", "low", "high"))
    return short(Interval(*(float(number) for number in numbers if number is not None)))
