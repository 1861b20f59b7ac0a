"""Calibrations for other sites: kept beside a bundle's own, and used in its place where a site is named."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from thorax.atomic_io import sha256_of_file, write_json
from thorax.bundle.files import MANIFEST, SIGNATURE
from thorax.bundle.folder import PATIENTS, Bundle, load_own
from thorax.bundle.manifest import Manifest, OperatingPoints, SiteCalibration
from thorax.bundle.seen import hashed_patients
from thorax.bundle.writing import copy_bundle
from thorax.calibration import Calibration, Platt, Temperature, logit, sigmoid
from thorax.distributions import FindingDistribution, ValidationDistribution
from thorax.errors import BundleError
from thorax.image_set import ImageSet

__all__ = ["at_site", "patients_of_site", "site_calibration", "write_with_site"]


def at_site(bundle: Bundle, site: str) -> Bundle:
    """Return the bundle with a site's calibration and thresholds in place of its own; nothing is written.

    Args:
        bundle: The bundle.
        site: Name of the site; "" returns the bundle unchanged.

    Raises:
        BundleError: It has no calibration for that site; the message lists those that it has.
    """
    if not site:
        return bundle
    manifest = bundle.manifest
    named = {each.site: each for each in manifest.sites}
    if site not in named:
        sites = f"it has some for {', '.join(named)}" if named else "it has none for any"
        raise BundleError(
            f"{bundle.folder} has no calibration for the site {site!r}, and {sites}; make one with "
            "`thorax site` on images of that site"
        )
    changes = {
        "name": f"{manifest.name} at {site}",
        "calibration": named[site].calibration,
        "operating_points": named[site].operating_points,
        # A quantized engine's own thresholds belong to the bundle's own calibration.
        "bands": None,  # which hold for the patients of validation
        "distribution": _distribution_at(manifest, named[site].calibration),
        "engines": tuple(
            each.model_copy(update={"operating_points": None, "bands": None}) for each in manifest.engines
        ),
    }
    return replace(bundle, manifest=manifest.model_copy(update=changes))


def site_calibration(
    bundle: Bundle,
    site: str,
    adjusts: Literal["auto", "intercept", "slope", "all"],
    *,
    adjusted: Mapping[str, tuple[float, float]],
    kept: Mapping[str, str],
    fitted_on: ImageSet,
) -> SiteCalibration:
    """Compose a bundle's own calibration with adjustments of its calibrated logits.

    Thresholds move with the probabilities, so that every decision stays the same; those of one half stay 0.5.

    Args:
        bundle: The bundle.
        site: Name of the site.
        adjusts: How the adjustments were chosen.
        adjusted: Intercept and slope, above 0, of each adjusted finding, by name.
        kept: Why other findings are not adjusted.
        fitted_on: The site's images.
    """
    manifest = bundle.manifest
    own = {name: _own(manifest.calibration, name) for name in manifest.findings}
    moved = {name: adjusted.get(name, (0.0, 1.0)) for name in manifest.findings}
    calibration = Platt(
        slopes={name: slope * own[name][1] for name, (_, slope) in moved.items()},
        intercepts={name: shift + slope * own[name][0] for name, (shift, slope) in moved.items()},
        kept=dict(kept),
        fitted_on=fitted_on,
    )
    return SiteCalibration(
        site=site,
        adjusts=adjusts,
        calibration=calibration,
        operating_points=_moved(manifest.operating_points, moved),
    )


def write_with_site(
    bundle: Bundle, folder: Path, site: SiteCalibration, *, dataset: str, patients: Iterable[str]
) -> Bundle:
    """Write a copy of a bundle with a calibration for a site, in place of an earlier one of that name.

    The site's patients are remembered: the copy refuses to be evaluated on them.

    Args:
        bundle: The bundle.
        folder: Folder of the copy; a bundle there is replaced.
        site: The calibration.
        dataset: Data set of the site's images.
        patients: The patients that it was fitted on.
    """
    old = bundle.manifest
    sites = (*(each for each in old.sites if each.site != site.site), site)
    hashes = frozenset(hashed_patients(dataset, patients).values())
    # Validated, because `model_copy` does not validate.
    manifest = Manifest.model_validate(old.model_dump() | {"format": 2, "sites": sites})
    seen = {**bundle.patients, patients_of_site(site.site): hashes}
    copy_bundle(bundle, folder)
    (folder / SIGNATURE).unlink(missing_ok=True)  # of the manifest before
    (folder / MANIFEST).unlink()  # a kill from here on leaves no bundle, rather than a mixture
    write_json(folder / PATIENTS, {part: sorted(ids) for part, ids in seen.items()})
    changes = {"patients_sha256": sha256_of_file(folder / PATIENTS)}
    write_json(folder / MANIFEST, manifest.model_copy(update=changes).model_dump(mode="json"))
    return load_own(folder)


def patients_of_site(site: str) -> str:
    """Return the key of `Bundle.patients` under which the patients of a site are."""
    return f"site {site}"


def _distribution_at(manifest: Manifest, calibration: Calibration) -> ValidationDistribution | None:
    """Return the distribution of the validation images with a site's calibration of them."""
    if manifest.distribution is None:
        return None

    def moved(name: str, finding: FindingDistribution) -> FindingDistribution:
        (shift, slope), (to_shift, to_slope) = (
            _own(each, name) for each in (manifest.calibration, calibration)
        )

        def move(probability: float) -> float:
            plain = (logit(np.array([probability])) - shift) / slope
            return float(sigmoid(to_shift + to_slope * plain)[0])

        return finding.moved(move)

    findings = {name: moved(name, finding) for name, finding in manifest.distribution.findings.items()}
    return manifest.distribution.model_copy(update={"findings": findings})


def _own(calibration: Calibration | None, name: str) -> tuple[float, float]:
    """Return intercept and slope of a finding in a bundle's own calibration."""
    match calibration:
        case None:
            return 0.0, 1.0
        case Temperature():
            return 0.0, 1 / calibration.temperature
        case Platt():
            return calibration.intercepts[name], calibration.slopes[name]


def _moved(
    points: OperatingPoints | None, moved: Mapping[str, tuple[float, float]]
) -> OperatingPoints | None:
    """Return thresholds at which the adjusted probabilities give the same decisions, at the same rates.

    Those of one half stay 0.5, at which the rates were not measured.
    """
    if points is None:
        return None
    if points.rule == "one-half":
        return points.model_copy(update={"measured": None})
    thresholds = {}
    for name, threshold in points.thresholds.items():
        shift, slope = moved.get(name, (0.0, 1.0))
        unchanged = threshold is None or (shift, slope) == (0.0, 1.0)
        thresholds[name] = (
            threshold if unchanged else float(sigmoid(shift + slope * logit(np.array([threshold])))[0])
        )
    return points.model_copy(update={"thresholds": thresholds})
