"""The bundle: what training delivers and everything else loads.

A folder with `bundle.json` (the manifest), the members' weights as safetensors, and `patients.json`
(hashed ids of the patients that training and selection saw). Never a bare weight file, never a pickle.
The manifest is written last: a folder without it is not a bundle.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from thorax.errors import BundleError, LeakError
from thorax.files import replacing, sha256_of_file, write_json
from thorax.findings import Findings, own_finding
from thorax.recipe.schema import Model, Preparation, Section

__all__ = [
    "Bundle",
    "Calibration",
    "Manifest",
    "Member",
    "OperatingPoints",
    "PartReference",
    "Provenance",
    "hashed_patients",
    "load_bundle",
    "refuse_seen_patients",
    "write_bundle",
]

MANIFEST = "bundle.json"
_PATIENTS = "patients.json"
_PATIENTS_TYPE = TypeAdapter(dict[str, frozenset[str]])


class PartReference(Section):
    """Which images something was fitted, chosen or measured on."""

    dataset: str
    split: str
    part: str
    sha256: str
    """SHA-256 of the whole split list."""
    images_sha256: str
    """SHA-256 of the list of the images that were used."""
    num_images: int
    num_patients: int


class Calibration(Section):
    """How logits become probabilities: sigmoid(logit / temperature)."""

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(gt=0)
    fitted_on: PartReference


class OperatingPoints(Section):
    """Thresholds on calibrated probabilities."""

    rule: Literal["f1-optimal"] = "f1-optimal"
    thresholds: dict[str, float | None]
    """By finding; None where validation had no positive or no negative."""
    chosen_on: PartReference


class Member(Section):
    """One net of the pipeline."""

    weights: str
    """File name within the bundle."""
    sha256: str
    model: Model


class Provenance(Section):
    """Where the bundle came from: enough to make it again."""

    recipe: str
    recipe_sha256: str
    seed: int
    dataset: str
    store_fingerprint: str
    trained_on: PartReference
    selected_on: PartReference
    selected_by: str
    """The metric and rule that chose the weights, for example "best macro-auc on val"."""
    epoch: int
    """The epoch whose weights these are, counted from 1."""
    versions: dict[str, str]


class Manifest(Section):
    """What `bundle.json` says."""

    format: Literal[1] = 1
    name: str
    findings: tuple[str, ...]
    """In the order of the outputs."""
    preparation: Preparation
    members: tuple[Member, ...] = Field(min_length=1, max_length=1)
    exact_cam: bool
    """Whether the class activation map is exact: global average pooling, then one linear layer."""
    calibration: Calibration | None
    operating_points: OperatingPoints | None
    provenance: Provenance
    patients_sha256: str
    """SHA-256 of `patients.json`."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was opened and whose files are what its manifest says.

    Attributes:
        folder: Where it is.
        manifest: What it says.
        sha256: SHA-256 of `bundle.json`.
        patients: Hashed ids of the patients of each part that training ("train") or selection
            ("val") saw.
    """

    folder: Path
    manifest: Manifest
    sha256: str
    patients: Mapping[str, frozenset[str]]

    @property
    def findings(self) -> Findings:
        """The findings, in the order of the outputs."""
        return tuple(own_finding(name) for name in self.manifest.findings)


def hashed_patients(dataset: str, patients: Iterable[str]) -> dict[str, str]:
    """Return a hash for each distinct patient: 16 hexadecimal digits of SHA-256 over data set and id.

    A bundle can thus recognise a patient that it saw without listing anybody's id. Ids are short
    enough to be guessed, so this keeps ids out of sight; it does not make them secret.
    """
    return {
        patient: hashlib.sha256(f"{dataset}\n{patient}".encode()).hexdigest()[:16]
        for patient in set(patients)
    }


def write_bundle(
    folder: Path, manifest: Manifest, *, weights: Mapping[str, bytes], patients: Mapping[str, Iterable[str]]
) -> Bundle:
    """Write a bundle; the manifest's checksums are filled in here.

    Args:
        folder: Where to; made if it is not there.
        manifest: What the bundle says; the checksums in it are replaced.
        weights: Content of each member's weights file, by file name.
        patients: Patients that each part saw, as `hashed_patients` gives them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in weights.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    write_json(folder / _PATIENTS, {part: sorted(ids) for part, ids in patients.items()})
    members = tuple(
        member.model_copy(update={"sha256": sha256_of_file(folder / member.weights)})
        for member in manifest.members
    )
    sums = {"members": members, "patients_sha256": sha256_of_file(folder / _PATIENTS)}
    write_json(folder / MANIFEST, manifest.model_copy(update=sums).model_dump(mode="json"))
    return load_bundle(folder)


def load_bundle(path: Path) -> Bundle:
    """Open a bundle, or the bundle of a run's folder, and check that its files are whole.

    Raises:
        BundleError: There is no bundle, its manifest is not understood, or a file is missing or changed.
    """
    folder = path / "bundle" if (path / "bundle" / MANIFEST).is_file() else path
    file = folder / MANIFEST
    try:
        content = file.read_bytes()
        manifest = Manifest.model_validate_json(content)
    except OSError as error:
        raise BundleError(
            f"{path} holds no bundle ({MANIFEST} cannot be read); give the folder that `thorax train` made"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its top level"
        raise BundleError(
            f"{file} is not a manifest that this version understands ({where}: {first['msg']}); "
            "use the version of Thorax that wrote it, or train again"
        ) from error
    sums = {member.weights: member.sha256 for member in manifest.members} | {
        _PATIENTS: manifest.patients_sha256
    }
    for name, expected in sums.items():
        _check_file(folder, name, expected)
    try:
        patients = _PATIENTS_TYPE.validate_json((folder / _PATIENTS).read_bytes())
    except ValidationError as error:
        raise BundleError(f"{folder / _PATIENTS} is not a list of hashes per part: {error}") from error
    return Bundle(folder, manifest, hashlib.sha256(content).hexdigest(), patients)


def _check_file(folder: Path, name: str, expected: str) -> None:
    if Path(name).name != name:
        raise BundleError(
            f"{folder / MANIFEST} names the file {name!r} outside its folder; do not use this bundle"
        )
    try:
        found = sha256_of_file(folder / name)
    except OSError as error:
        raise BundleError(
            f"{folder / name} is missing from the bundle; copy the whole folder again"
        ) from error
    if found != expected:
        raise BundleError(
            f"{folder / name} is not the file that the manifest describes (SHA-256 {found[:12]}..., "
            f"expected {expected[:12]}...); copy the whole bundle again"
        )


def refuse_seen_patients(
    bundle: Bundle, dataset: str, patients: Iterable[str], *, parts: tuple[str, ...] = ("train", "val")
) -> None:
    """Refuse to measure on patients that the bundle's training or selection saw.

    Raises:
        LeakError: Some of the patients were seen; the message has the count for each part.
    """
    hashes = set(hashed_patients(dataset, patients).values())
    seen = {part: len(hashes & bundle.patients.get(part, frozenset())) for part in parts}
    if any(seen.values()):
        counts = " and ".join(f"{count} in {part}" for part, count in seen.items() if count)
        raise LeakError(
            f"{sum(seen.values())} of these {len(hashes)} patients were seen when this bundle was made "
            f"({counts}), so a figure measured on them would mean nothing; evaluate on a part it did not see "
            f"(it was trained on {bundle.manifest.provenance.trained_on.split})"
        )
