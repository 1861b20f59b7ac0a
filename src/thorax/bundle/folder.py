"""Bundles on disk: writing with checksums, loading with verification.

A bundle is a folder with `bundle.json` (the manifest), the members' weights as safetensors, their exported
graphs, `patients.json` (hashed ids of the patients that training and selection saw) and `images-seen.bin`
(fingerprints of their images, which no prediction reads); never a bare weight file, never a pickle. A bundle
that has graphs may do without weights. The manifest is written last: a folder without it is not a bundle.
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from thorax import starter
from thorax.atomic_io import (
    StrPath,
    atomic_write,
    refuse_existing,
    sha256_of_file,
    sha256_of_lines,
    write_bytes,
    write_json,
)
from thorax.bundle.files import MANIFEST, bundle_folder, check_file
from thorax.bundle.image_prints import ImagePrints, sorted_prints
from thorax.bundle.manifest import (
    Exported,
    ExportedFile,
    ExportedNet,
    Manifest,
    Member,
    SeenFile,
    Trained,
)
from thorax.errors import BundleError, DataError
from thorax.findings import Findings, finding_or_new
from thorax.notebook import shortened
from thorax.recipe.sections import Preparation

__all__ = [
    "Bundle",
    "attach_engine",
    "copy_bundle",
    "load_bundle",
    "refuse_used_folder",
    "write_bundle",
]

PATIENTS = "patients.json"
_SEEN = "images-seen.bin"
_RECIPE = "recipe.toml"
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
        sums = _checksums(self.manifest)
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
    def run(self) -> Path | None:
        """The folder of the run that made it, or its own outside of a run; None for the starter.

        Looks at test parts are noted there; the starter is part of the installation, which stays as it is.
        """
        if starter.is_starter(self.folder):
            return None
        run = self.folder.parent
        return run if bundle_folder(run) == self.folder and (run / _RECIPE).is_file() else self.folder

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


def write_bundle(
    folder: Path,
    manifest: Manifest,
    *,
    weights: Mapping[str, bytes | Path],
    patients: Mapping[str, Iterable[str]],
    seen: Mapping[str, ImagePrints] | None = None,
) -> Bundle:
    """Write a bundle; the manifest's checksums are filled in here.

    Exported engines are not written: `attach_engine` adds them to an existing bundle. A bundle in the folder
    is replaced; other files are kept.

    Args:
        folder: Folder to write to; created if missing.
        manifest: Manifest of the bundle; its checksums are replaced.
        weights: Content of each member's weights file, or a file to copy, by file name.
        patients: Patients seen, by what saw them, as `seen.hashed_patients` returns them.
        seen: Fingerprints of the images seen, by what saw them; None or empty keeps none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    old = _begin_replacing(folder)
    for name, content in weights.items():
        with atomic_write(folder / name) as temporary:
            if isinstance(content, Path):
                shutil.copyfile(content, temporary)
            else:
                temporary.write_bytes(content)
    write_json(folder / PATIENTS, {part: sorted(ids) for part, ids in patients.items()})
    changes: dict[str, object] = {
        "members": tuple(_with_checksum(member, folder) for member in manifest.members),
        "patients_sha256": sha256_of_file(folder / PATIENTS),
        "engines": (),
        "seen": _write_seen(folder, seen) if seen else None,
    }
    if seen or manifest.from_files:
        changes["format"] = 2
    write_json(folder / MANIFEST, manifest.model_copy(update=changes).model_dump(mode="json"))
    return _without(old, load_bundle(folder))


def _write_seen(folder: Path, seen: Mapping[str, ImagePrints]) -> SeenFile:
    """Write the fingerprints of each part in the order of their bytes, which says nothing of the images."""
    write_bytes(folder / _SEEN, b"".join(sorted_prints(prints).tobytes() for prints in seen.values()))
    counts = {part: len(prints) for part, prints in seen.items()}
    return SeenFile(name=_SEEN, sha256=sha256_of_file(folder / _SEEN), num_images=counts)


def _with_checksum(member: Member, folder: Path) -> Member:
    assert member.weights is not None  # a bundle without weights is made from one with them
    return member.model_copy(update={"sha256": sha256_of_file(folder / member.weights)})


def attach_engine(bundle: Bundle, exported: Exported, files: Sequence[Sequence[Path]]) -> Bundle:
    """Add an exported engine to a bundle on disk, in place of one of the same kind and precision.

    The new files have new names and the manifest is replaced last: if the process is killed at any point, the
    bundle is the old one or the new one.

    Args:
        bundle: As `load_bundle` returned it.
        exported: The manifest's new entry; its names and checksums are filled in here.
        files: For each member the files to copy: the graph, and its weights where they are a separate file.
    """
    nets = []
    for number, (net, sources) in enumerate(zip(exported.nets, files, strict=True), start=1):
        content = sha256_of_lines([sha256_of_file(source) for source in sources])
        stem = f"{exported.kind}-{exported.precision}-{number}-{content[:8]}"
        copied = [_copied(source, bundle.folder / (stem + source.suffix)) for source in sources]
        nets.append(ExportedNet(files=tuple(copied), cam=net.cam))
    others = [
        engine
        for engine in bundle.manifest.engines
        if (engine.kind, engine.precision) != (exported.kind, exported.precision)
    ]
    engines = (*others, exported.model_copy(update={"nets": tuple(nets)}))
    # Validated again, because `model_copy` does not validate.
    manifest = Manifest.model_validate(bundle.manifest.model_dump() | {"engines": engines})
    write_json(bundle.folder / MANIFEST, manifest.model_dump(mode="json"))
    for name in set(_checksums(bundle.manifest)) - set(_checksums(manifest)):
        (bundle.folder / name).unlink()
    return load_bundle(bundle.folder)


def copy_bundle(bundle: Bundle, folder: Path, *, manifest: Manifest | None = None) -> Bundle:
    """Copy a bundle to another folder; the manifest is written last.

    A bundle in the folder is replaced; other files are kept.

    Args:
        bundle: The bundle.
        folder: Folder to write to; created if missing.
        manifest: Manifest of the copy, which gets the files that it names; None: the same, byte for byte.
    """
    folder.mkdir(parents=True, exist_ok=True)
    old = _begin_replacing(folder)
    for name in _checksums(manifest or bundle.manifest):
        _copied(bundle.folder / name, folder / name)
    if manifest is None:
        _copied(bundle.folder / MANIFEST, folder / MANIFEST)
    else:
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return _without(old, load_bundle(folder))


def _begin_replacing(folder: Path) -> frozenset[str]:
    """Remove a bundle's manifest, so that a kill leaves no mixture; return the names of its other files."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return frozenset()
    names = frozenset(path.name for path in folder.iterdir() if _is_ours(path.name))
    manifest.unlink()
    return names


def _without(old: frozenset[str], bundle: Bundle) -> Bundle:
    """Remove the files of the replaced bundle that the new one does not have."""
    for name in old - set(_checksums(bundle.manifest)):
        (bundle.folder / name).unlink(missing_ok=True)
    return bundle


def _is_ours(name: str) -> bool:
    """Return whether a file beside a manifest belongs to a bundle, judging by its name."""
    return (
        name.endswith((".safetensors", ".partial"))
        or name.startswith(("onnx-", "openvino-"))
        or name in {PATIENTS, _SEEN}
    )


def _copied(source: Path, target: Path) -> ExportedFile:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
    return ExportedFile(name=target.name, sha256=sha256_of_file(target))


def _checksums(manifest: Manifest) -> dict[str, str]:
    """Return the SHA-256 of each file beside the manifest, by name."""
    exported = [file for engine in manifest.engines for net in engine.nets for file in net.files]
    return {
        **{m.weights: m.sha256 for m in manifest.members if m.weights is not None and m.sha256 is not None},
        **{file.name: file.sha256 for file in exported},
        PATIENTS: manifest.patients_sha256,
        **({manifest.seen.name: manifest.seen.sha256} if manifest.seen else {}),
    }


def load_bundle(path: StrPath, *, check_nets: bool = True) -> Bundle:
    """Load a bundle and verify its files.

    Args:
        path: Folder of a bundle, or of a run that has one.
        check_nets: Whether to verify weights and engines now, about 30 MB each. Otherwise they must be
            verified before use: `open_predictor` and `open_engine` do so for those that they open.

    Raises:
        BundleError: There is no bundle, its manifest is not understood, or a file is missing or changed.
    """
    folder = bundle_folder(path)
    file = folder / MANIFEST
    try:
        content = file.read_bytes()
        manifest = Manifest.model_validate_json(content)
    except OSError as error:
        exists = Path(path).exists()
        problem = f"holds no bundle ({MANIFEST} cannot be read)" if exists else "does not exist"
        raise BundleError(
            f"{path} {problem}; give a bundle, or the folder of a run that `thorax train` has finished"
        ) from error
    except ValidationError as error:
        raise BundleError(_not_understood(file, error)) from error
    names = [member.weights for member in manifest.members if member.weights is not None]
    files = {name: folder / name for name in names}
    bundle = Bundle(folder, manifest, hashlib.sha256(content).hexdigest(), {}, files)
    bundle.check(_checksums(manifest) if check_nets else [PATIENTS])
    try:
        patients = _PATIENTS_TYPE.validate_json((folder / PATIENTS).read_bytes())
    except ValidationError as error:
        raise BundleError(
            f"{folder / PATIENTS} is not a list of hashes per part ({error}); copy the whole bundle again"
        ) from error
    return replace(bundle, patients=patients)


def _not_understood(file: Path, error: ValidationError) -> str:
    """Say why a manifest is refused; a section of a later version by its name."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "its top level"
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return (
            f"{file} has the section {where}, which this version of Thorax does not know; update Thorax: "
            "without that section the bundle would be another model"
        )
    return (
        f"{file} is not a manifest that this version understands ({where}: {first['msg']}); "
        "use the version of Thorax that wrote it, or train again"
    )


def refuse_used_folder(folder: Path, *, overwrite: bool = False, sources: Iterable[Bundle] = ()) -> None:
    """Refuse to write a bundle over other files; the remains of an interrupted write may be replaced.

    Args:
        folder: Where a bundle is to be written.
        overwrite: Whether an existing bundle may be replaced; nothing else ever is.
        sources: The bundles that the new one is made of; none of them may be replaced.

    Raises:
        DataError: It is a file, a folder with other content, a bundle that may not be replaced, or one of
            the sources.
    """
    if any(folder.resolve() == source.folder.resolve() for source in sources):
        raise DataError(f"{folder} is a source of the new bundle; give another folder as `out`")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if MANIFEST in names or folder.is_file():
        refuse_existing(folder, overwrite=overwrite, folder=True)
        return
    foreign = [name for name in names if not _is_ours(name)]
    if foreign:
        raise DataError(
            f"{folder} is not empty and is not a bundle (it has {foreign[0]}); give another folder as `out`"
        )
