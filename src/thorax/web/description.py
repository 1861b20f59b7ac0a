"""What a site says of its model: facts that the page shows, and numbers that the browser computes with.

Neither patients nor fingerprints of their images are among them.
"""

from collections.abc import Iterable
from typing import Any, Final

from thorax.bundle import Bundle
from thorax.bundle.manifest import Exported, Manifest
from thorax.calibration import Platt
from thorax.errors import BundleError
from thorax.explain import reading_notes
from thorax.service.answers import describe_model, describe_test_images
from thorax.service.map_values import color_bytes
from thorax.web.packages import RUNTIME
from thorax.workflows.model import Model

__all__ = ["computing", "exact_graphs", "facts"]

_MOST_BYTES: Final = 200 * 10**6
"""Largest file that a site reads; a browser holds some copies of it."""


def facts(model: Model) -> dict[str, Any]:
    """Return what the page shows of a model, as `/v1/models` of the service does."""
    described = describe_model(model, model.name)
    described["engine"] = f"{RUNTIME.name} {RUNTIME.version}, float32, in this browser"
    return {
        "models": [described],
        "public": False,
        "assessments": False,
        "dicom": False,
        "in_browser": True,
        "max_bytes": _MOST_BYTES,
        "max_files": None,
        "test_images": describe_test_images([model]),
    }


def exact_graphs(bundle: Bundle) -> Exported:
    """Return the exact ONNX graphs of a bundle.

    Raises:
        BundleError: It has none.
    """
    for exported in bundle.manifest.engines:
        if (exported.kind, exported.precision) == ("onnx", "float32"):
            return exported
    raise BundleError(
        f"{bundle.folder} has no ONNX graph, which a browser needs; export it first with `to=onnx`"
    )


def computing(model: Model) -> dict[str, Any]:
    """Return what the browser computes with besides the graphs and the gate's numbers."""
    bundle, manifest = model.bundle, model.bundle.manifest
    points, bands, statement = manifest.operating_points, manifest.bands, manifest.statement
    thresholds = points.thresholds if points else {}
    undecided = {
        name: list(band.undecided(threshold))
        for name, band in (bands.bands if bands else {}).items()
        if (threshold := thresholds.get(name)) is not None
    }
    return {
        "name": manifest.name,
        "bundle_sha256": bundle.sha256,
        "statement": model.statement,
        "runtime": _runtime(),
        "findings": list(manifest.findings),
        "labels": {finding.name: finding.label for finding in bundle.findings},
        "preparation": manifest.preparation.model_dump(mode="json"),
        "members": _members(bundle),
        "mean_of": manifest.ensemble.mean_of if manifest.ensemble else "logits",
        "calibration": _calibration(manifest),
        "operating_point": points.rule if points else "",
        "thresholds": thresholds,
        "undecided": undecided,
        "promise": bands.promise if bands else "",
        "prevalence": statement.prevalence if statement else {},
        "images_seen": list(statement.images_seen) if statement else [],
        "gate": _gate(manifest),
        "notes": reading_notes(bundle, ["cam"]),
        "colors": color_bytes(),
    }


def _runtime() -> dict[str, str]:
    script, wasm = (
        next(name for name in RUNTIME.files.values() if name.endswith(end)) for end in (".mjs", ".wasm")
    )
    return {"script": script, "wasm": wasm}


def _members(bundle: Bundle) -> list[dict[str, Any]]:
    manifest = bundle.manifest
    weights: Iterable[float] = manifest.ensemble.weights if manifest.ensemble else (1.0,)
    nets = exact_graphs(bundle).nets
    return [
        {
            "graph": f"model/{number}.planes",
            "weight": weight,
            "findings": list(member.findings),
            "mean_of": member.test_time.mean_of,
            "input_size": member.model.input_size,
            "places": member.places.model_dump(mode="json") if member.places else None,
            "cam": net.cam,
        }
        for number, (member, weight, net) in enumerate(zip(manifest.members, weights, nets, strict=True), 1)
    ]


def _calibration(manifest: Manifest) -> dict[str, Any] | None:
    calibration = manifest.calibration
    if calibration is None:
        return None
    if isinstance(calibration, Platt):
        slopes, intercepts = (
            [values[name] for name in manifest.findings]
            for values in (calibration.slopes, calibration.intercepts)
        )
        return {"kind": "platt", "slopes": slopes, "intercepts": intercepts}
    return {"kind": "temperature", "temperature": calibration.temperature}


def _gate(manifest: Manifest) -> dict[str, Any] | None:
    """Return the limits of the input gate, and how often it found mirrored images."""
    if manifest.gate is None:
        return None
    limits = {"least_upright", "most_unlike", "too_unlike", "most_mirrored"}
    return manifest.gate.model_dump(mode="json", include={*limits, "mirrored_caught", "mirrored_called"})
