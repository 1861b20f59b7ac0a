"""What is known about bundles and about the folders of runs and studies."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from thorax.atomic_io import is_locked, parse_json, read_json
from thorax.bundle import Bundle, load_bundle
from thorax.bundle.absent import is_run, seed_runs
from thorax.bundle.files import MANIFEST, bundle_folder
from thorax.bundle.folder import checksums
from thorax.bundle.manifest import Manifest, OperatingPoints
from thorax.bundle.signature import is_signed
from thorax.calibration import Platt
from thorax.errors import ThoraxError
from thorax.inspection.info import Fact, Info
from thorax.outputs import text_size
from thorax.quoting import shell_word
from thorax.recipe.load import load_recipe
from thorax.run_files import FITTING_THE_GATE, LOG, RECIPE, STUDY, is_finishing
from thorax.wording import counted

__all__ = ["bundle_info", "run_info", "seeds_info", "study_info"]


def bundle_info(path: Path) -> Info:
    """Describe a bundle, and check that its files are whole.

    Raises:
        BundleError: Its manifest cannot be understood.
    """
    bundle = load_bundle(path, check_nets=False)
    manifest = bundle.manifest
    return Info(
        path,
        "bundle",
        f"a bundle, {manifest.name}, that predicts {counted(len(bundle.findings), 'finding')}",
        tuple(_bundle_facts(bundle)),
        (*([manifest.stated] if manifest.stated else []), *_damage(bundle)),
        f"thorax predict {shell_word(path)} IMAGE",
    )


def _bundle_facts(bundle: Bundle) -> list[Fact]:
    manifest = bundle.manifest
    sizes = [file.stat().st_size for file in bundle.folder.iterdir() if file.is_file()]
    facts = [
        Fact("name", manifest.name),
        Fact("sha256", bundle.sha256, label="SHA-256"),
        Fact("format", manifest.format),
        Fact("versions", _versions(manifest), label="made with"),
        Fact("findings", list(manifest.findings), ", ".join(finding.label for finding in bundle.findings)),
        Fact("size", manifest.preparation.size, f"{manifest.preparation.size} x {manifest.preparation.size}"),
        Fact("fit", manifest.preparation.fit),
        Fact("members", [member.model.backbone for member in manifest.members], label="nets"),
        Fact("split", bundle.split, bundle.split or "not trained on one split", "trained on split"),
        Fact("training_images", [training.trained_on.num_images for training in bundle.trainings]),
    ]
    facts += _validation_facts(bundle)
    points = manifest.operating_points
    return [
        *facts,
        _calibration(manifest),
        Fact(
            "thresholds",
            None if points is None else {"rule": points.rule, "values": points.thresholds},
            "none" if points is None else _thresholds(bundle, points),
        ),
        Fact("bands", manifest.bands is not None, label="bands of not decided"),
        _gate(manifest),
        Fact(
            "engines",
            [*(["torch"] if manifest.has_weights else []), *_engines(manifest)],
        ),
        Fact("sites", [site.site for site in manifest.sites]),
        Fact("signed", is_signed(bundle.folder), _signature(bundle), "signature"),
        Fact("bytes", sum(sizes), text_size(sum(sizes)), "on disk"),
    ]


def _gate(manifest: Manifest) -> Fact:
    gate = manifest.gate
    if gate is None:
        return Fact("gate", None, "not fitted (thorax gate), so only rules hold images back", "input gate")
    value = gate.model_dump(mode="json", exclude={"name", "sha256"})
    text = f"holds back {gate.held_back} validation images, and {gate.pictures_caught} drawn pictures"
    return Fact("gate", value, text, "input gate")


def _engines(manifest: Manifest) -> list[str]:
    return [
        exported.kind if exported.precision == "float32" else f"{exported.kind}-{exported.precision}"
        for exported in manifest.engines
    ]


def _signature(bundle: Bundle) -> str:
    return "present, not checked (thorax verify --key KEY)" if is_signed(bundle.folder) else "none"


def _versions(manifest: Manifest) -> dict[str, str]:
    """Return the versions that the first member was made with."""
    return dict(manifest.members[0].provenance.versions)


def _calibration(manifest: Manifest) -> Fact:
    calibration = manifest.calibration
    if calibration is None:
        return Fact("calibration", None, "none")
    if isinstance(calibration, Platt):
        return Fact("calibration", "platt", "slope and intercept by finding")
    value = calibration.temperature
    return Fact("calibration", {"temperature": value}, f"temperature {value:.3f}")


def _thresholds(bundle: Bundle, points: OperatingPoints) -> str:
    values = ((finding.label, points.thresholds.get(finding.name)) for finding in bundle.findings)
    shown = (f"{label} {'n/a' if value is None else f'{value:.3f}'}" for label, value in values)
    return f"by the rule {points.rule}: {', '.join(shown)}"


def _validation_facts(bundle: Bundle) -> list[Fact]:
    """Return the mean AUC on validation, as far as the run beside the bundle knows it."""
    run = bundle.folder.parent
    return _end_facts(run) if bundle_folder(run) == bundle.folder else []


def _end_facts(run: Path) -> list[Fact]:
    ends = [event for event in _events(run) if event.get("event") == "end"]
    end = ends[-1] if ends else {}
    auc = end.get("macro_auc")
    if not isinstance(auc, float):
        return []
    return [
        Fact(
            "validation_auc",
            auc,
            f"{auc:.3f} on validation, which also chose the weights: not a result",
            "mean AUC",
        )
    ]


def _damage(bundle: Bundle) -> list[str]:
    problems = []
    for name in checksums(bundle.manifest):
        try:
            bundle.check([name])
        except ThoraxError as error:
            problems.append(str(error))
    return problems


def run_info(path: Path, *, running: bool | None = None) -> Info:
    """Describe the folder of a training run, whether it has finished or not.

    Args:
        path: The folder.
        running: Whether it is trained now; None: its lock says so.
    """
    events = _events(path)
    facts = _run_facts(path, events)
    finishing = is_finishing(events)
    running = is_locked(path) if running is None else running
    if (path / "bundle" / MANIFEST).is_file() and not finishing:
        inner = bundle_info(path)
        same = {fact.name for fact in facts}
        more = [fact for fact in inner.facts if fact.name not in same]
        return Info(
            path, "run", "a finished run with its bundle", (*facts, *more), inner.warnings, inner.next_step
        )
    epochs = _epochs(events)
    state = f"{counted(len(epochs), 'epoch')} trained" if epochs else "no epoch trained"
    doing = f"is {FITTING_THE_GATE}" if finishing else "is running"
    return Info(
        path,
        "run",
        f"a run that {doing if running else 'is not finished'} ({state})",
        tuple(facts),
        next_step="" if running else f"thorax train --resume --store STORE --out {shell_word(path)}",
    )


def _run_facts(path: Path, events: Sequence[dict[str, Any]]) -> list[Fact]:
    facts = []
    with suppress(ThoraxError):
        recipe = load_recipe(str(path / RECIPE))
        facts += [Fact("recipe", recipe.name), Fact("epochs_planned", recipe.training.epochs)]
    starts = [event for event in events if event.get("event") == "start"]
    start = starts[0] if starts else {}
    facts += [
        Fact(name, start[name])
        for name in ("split", "train_images", "val_images", "device", "precision", "thorax", "torch")
        if isinstance(start.get(name), str | int)
    ]
    epochs = _epochs(events)
    scored = [event for event in epochs if isinstance(event.get("macro_auc"), float)]
    facts.append(Fact("epochs", len(epochs), label="epochs trained"))
    if scored:
        best = max(scored, key=lambda event: float(event["macro_auc"]))
        text = f"{best['macro_auc']:.3f} in epoch {best['epoch']}, on validation: not a result"
        facts.append(
            Fact(
                "best_validation_auc",
                {"epoch": best["epoch"], "value": best["macro_auc"]},
                text,
                "best mean AUC",
            )
        )
    return facts


def _epochs(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event.get("event") == "epoch" and "epoch" in event]


def _events(run: Path) -> list[dict[str, Any]]:
    """Return the events of a run's log; damaged lines are left out, as is one that is being written."""
    events = []
    with suppress(OSError):
        for line in (run / LOG).read_bytes().splitlines():
            with suppress(ValueError):
                event = parse_json(line)
                events += [event] if isinstance(event, dict) else []
    return events


def seeds_info(path: Path) -> Info:
    """Describe the folder of the runs of several seeds."""
    runs = seed_runs(path)
    finished = [run for run in runs if (run / "bundle" / MANIFEST).is_file()]
    scores = {run.name: fact.value for run in finished for fact in _end_facts(run)}
    facts = [
        Fact("runs", [run.name for run in runs]),
        Fact("finished", [run.name for run in finished]),
        Fact("validation_auc", scores, label="mean AUC on validation (not a result)"),
    ]
    return Info(
        path,
        "runs of seeds",
        f"{counted(len(runs), 'run')} of one recipe with other seeds, of which {len(finished)} finished",
        tuple(facts),
        next_step=f"thorax info {shell_word(runs[0])}",
    )


def study_info(path: Path) -> Info:
    """Describe the folder of a hyperparameter search."""
    facts = []
    with suppress(OSError, ValueError):
        identity = read_json(path / STUDY)
        facts = [
            Fact(name, identity[name])
            for name in ("seed", "prune", "device", "thorax", "torch", "optuna")
            if isinstance(identity.get(name), str | int)
        ]
    trials = [folder for folder in (path / "trials").glob("*") if is_run(folder)]
    facts.append(Fact("trials", len(trials)))
    best = path / "best.toml"
    facts.append(Fact("best_recipe", str(best) if best.is_file() else None))
    state = "finished" if best.is_file() else "not finished"
    return Info(
        path,
        "study",
        f"a hyperparameter search, {state}",
        tuple(facts),
        next_step=f"thorax train {shell_word(best)} --store STORE --out RUN" if best.is_file() else "",
    )
