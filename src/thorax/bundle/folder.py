"""Bundles on disk, loaded with verification of their files.

A bundle is a folder with `bundle.json` (the manifest), the members' weights as safetensors, their exported
graphs, `patients.json` (hashed ids of the patients that training and selection saw), `images-seen.bin`
(fingerprints of their images, which no prediction reads) and the numbers of its input gate; never a bare
weight file, never a pickle. A bundle that has graphs may do without weights. The manifest is written last: a
folder without it is not a bundle.
"""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

import thorax
from thorax import starter
from thorax.atomic_io import StrPath, parse_json, read_regular
from thorax.bundle.absent import no_bundle
from thorax.bundle.files import LARGEST_MANIFEST, MANIFEST, bundle_folder, check_file, refuse_path
from thorax.bundle.manifest import Exported, Manifest, Member, Trained
from thorax.bundle.signature import refuse_unsigned
from thorax.errors import BundleError, DataError
from thorax.findings import Findings, finding_or_new
from thorax.notebook import shortened
from thorax.quoting import quoted
from thorax.recipe.sections import Preparation
from thorax.run_files import RECIPE

__all__ = ["PATIENTS", "Bundle", "checksums", "load_bundle", "load_own"]

PATIENTS: Final = "patients.json"
"""Name of the file of hashed patients."""

_LARGEST_PATIENTS = 128 * 2**20
"""Bytes: 6 million patients."""
_PATIENTS_TYPE = TypeAdapter(dict[str, frozenset[str]])


@dataclass(frozen=True, repr=False)
class Bundle:
    """A bundle: loaded, with files that match its manifest, or about to be written.

    Attributes:
        folder: Its folder.
        manifest: Content of `bundle.json`.
        sha256: SHA-256 of `bundle.json`; empty before that is written.
        patients: Hashed ids of the patients seen, by what saw them: training ("train"); selection,
            calibration or the ensemble's weights ("val"); pretraining ("pretrain"); a site ("site NAME").
        weights: Path of each member's weights file, by its name in the manifest; empty without weights.
    """

    folder: Path
    manifest: Manifest
    sha256: str
    patients: Mapping[str, frozenset[str]]
    weights: Mapping[str, Path]

    def __fspath__(self) -> str:
        """Return the folder, so that a bundle is accepted wherever its path is."""
        return str(self.folder)

    def __repr__(self) -> str:
        return f"Bundle({shortened(str(self.folder))!r}: {self.manifest.name}, {len(self.findings)} findings)"

    @property
    def findings(self) -> Findings:
        """The findings, in the order of the outputs."""
        return tuple(finding_or_new(name) for name in self.manifest.findings)

    @property
    def exact_cam(self) -> bool:
        """Whether the class activation map is exact: each net has one, on one plain view.

        The mean over several nets is exact if their logits are averaged, not their probabilities.
        """
        members, ensemble = self.manifest.members, self.manifest.ensemble
        linear = ensemble is None or ensemble.mean_of == "logits"
        return linear and all(member.exact_cam and member.test_time.is_plain for member in members)

    def exported_files(self, exported: Exported) -> list[Path]:
        """Return the path of each member's graph of an exported engine."""
        return [self.folder / net.files[0].name for net in exported.nets]

    def check(self, names: Iterable[str]) -> None:
        """Refuse files of the bundle that are missing, or differ from what the manifest describes.

        Raises:
            BundleError: A file is missing or differs.
        """
        sums = checksums(self.manifest)
        for name in names:
            check_file(self.folder, name, sums[name])

    def require_weights(self, what: str) -> None:
        """Refuse a bundle that has its exported graphs alone.

        Args:
            what: What needs the weights, to follow "and", such as "engine torch".

        Raises:
            BundleError: It has no weights.
        """
        if not self.manifest.has_weights:
            raise BundleError(
                f"{self.manifest.name} ({self.folder}) has an exported graph and no weights, and {what} "
                "needs them; use a bundle that `train` made, or what the graph can do: predict on a CPU, and "
                "explain with the method cam"
            )

    def weights_of(self, member: Member, what: str) -> Path:
        """Return the file of a member's weights; see `require_weights`."""
        self.require_weights(what)
        assert member.weights is not None
        return self.weights[member.weights]

    def refuse_other_preparation(self, path: Path, actual: Preparation) -> None:
        """Refuse a store whose images are not prepared as the bundle requires.

        Raises:
            DataError: Size or fit differ.
        """
        required = self.manifest.preparation
        if required != actual:
            raise DataError(
                f"the bundle requires images prepared with size {required.size} and fit {required.fit}, and "
                f"{path} has size {actual.size} and fit {actual.fit}; "
                f"prepare a store with `size` {required.size} and `fit` {required.fit}"
            )

    @property
    def gate_file(self) -> Path | None:
        """The file of the input gate's numbers; None without a gate."""
        gate = self.manifest.gate
        return self.folder / gate.name if gate else None

    @property
    def run(self) -> Path | None:
        """The folder of the run that made it, or its own outside of a run; None for the starter.

        Looks at test parts are noted there; the starter is part of the installation, which stays as it is.
        """
        if starter.is_starter(self.folder):
            return None
        run = self.folder.parent
        return run if bundle_folder(run) == self.folder and (run / RECIPE).is_file() else self.folder

    @property
    def trainings(self) -> tuple[Trained, ...]:
        """How the members were trained, without imported members."""
        return tuple(m.provenance for m in self.manifest.members if isinstance(m.provenance, Trained))

    @property
    def all_trained(self) -> bool:
        """Whether the patients of every member's training are known."""
        return len(self.trainings) == len(self.manifest.members)

    @property
    def split(self) -> str | None:
        """The split that all members were trained on; None where there is not exactly one."""
        splits = {training.trained_on.split for training in self.trainings}
        return splits.pop() if len(splits) == 1 else None


def checksums(manifest: Manifest) -> dict[str, str]:
    """Return the SHA-256 of each file that belongs to a bundle beside its manifest, by name."""
    exported = [file for engine in manifest.engines for net in engine.nets for file in net.files]
    return {
        **{m.weights: m.sha256 for m in manifest.members if m.weights is not None and m.sha256 is not None},
        **{file.name: file.sha256 for file in exported},
        PATIENTS: manifest.patients_sha256,
        **({manifest.seen.name: manifest.seen.sha256} if manifest.seen else {}),
        **({manifest.gate.name: manifest.gate.sha256} if manifest.gate else {}),
    }


def load_bundle(
    path: StrPath, *, check_nets: bool = True, require_signature: StrPath | None = None
) -> Bundle:
    """Load a bundle and verify its files.

    Args:
        path: Folder of a bundle, or of a run that has one.
        check_nets: Whether to verify weights and engines now, about 30 MB each. Otherwise they must be
            verified before use: `open_predictor` and `open_engine` do so for those that they open.
        require_signature: PEM file of a public key that the bundle must be signed with, besides those of
            `signature.signatures_required`.

    Raises:
        BundleError: There is no bundle, it lacks a required signature, its manifest is not understood, or a
            file is missing or changed.
    """
    return _loaded(path, check_nets=check_nets, signed=True, key=require_signature)


def load_own(folder: Path) -> Bundle:
    """Load a bundle that this process has just written, which no signature can cover yet."""
    return _loaded(folder, check_nets=True, signed=False, key=None)


def _loaded(path: StrPath, *, check_nets: bool, signed: bool, key: StrPath | None) -> Bundle:
    folder = bundle_folder(path)
    file = folder / MANIFEST
    try:
        content = read_regular(file, at_most=LARGEST_MANIFEST)
        if signed:  # before anything in it is looked at
            refuse_unsigned(folder, content, key=key)
        manifest = Manifest.model_validate_json(content)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise BundleError(no_bundle(Path(path))) from error
        raise BundleError(
            f"{path} holds no bundle that can be opened ({MANIFEST}: {error.strerror}); check "
            "its permissions, or copy the whole bundle again"
        ) from error
    except ValidationError as error:
        raise BundleError(_not_understood(file, content, error)) from error
    for name in checksums(manifest):
        refuse_path(folder, name)
    names = [member.weights for member in manifest.members if member.weights is not None]
    files = {name: folder / name for name in names}
    bundle = Bundle(folder, manifest, hashlib.sha256(content).hexdigest(), {}, files)
    bundle.check(checksums(manifest) if check_nets else [PATIENTS])
    try:
        patients = _PATIENTS_TYPE.validate_json(read_regular(folder / PATIENTS, at_most=_LARGEST_PATIENTS))
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
        raise BundleError(
            f"{folder / PATIENTS} is not a list of hashes per part ({reason}); copy the whole bundle again"
        ) from error
    return replace(bundle, patients=patients)


def _not_understood(file: Path, content: bytes, error: ValidationError) -> str:
    """Say why a manifest is refused: a section of a later version by its name, and who wrote it."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "its top level"
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return (
            f"{file} has the section {where}, which this version of Thorax does not know; update Thorax: "
            "without that section the bundle would be another model"
        )
    if first["type"] == "json_invalid":
        return f"{file} is damaged: it is not JSON ({first['msg']}); copy the whole bundle again"
    return (
        f"{file} is not a manifest that Thorax {thorax.__version__} understands ({where}: {first['msg']}); "
        f"{_remedy(content)}, or train again"
    )


def _remedy(content: bytes) -> str:
    """Name the version of Thorax that wrote a manifest, as its first member says it, if it is another one."""
    with suppress(ValueError, KeyError, IndexError, TypeError):
        version = parse_json(content)["members"][0]["provenance"]["versions"]["thorax"]
        if version != thorax.__version__:
            return f"use the version of Thorax that wrote it, {quoted(version)}"
    return "it is damaged: copy the whole bundle again"
