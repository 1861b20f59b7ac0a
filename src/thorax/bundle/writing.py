"""Writing bundles: whole, copied, or with an exported engine more; one writer at a time.

The manifest is written last, so that a folder in which something was interrupted is not a bundle.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from thorax.atomic_io import (
    atomic_write,
    exclusive_lock,
    refuse_existing,
    sha256_of_file,
    sha256_of_lines,
    write_bytes,
    write_json,
)
from thorax.bundle.files import MANIFEST, SIGNATURE
from thorax.bundle.folder import PATIENTS, Bundle, checksums, load_own
from thorax.bundle.image_prints import ImagePrints, sorted_prints
from thorax.bundle.input_gate import InputGate
from thorax.bundle.manifest import Exported, ExportedFile, ExportedNet, Manifest, Member, SeenFile
from thorax.bundle.signature import is_signed
from thorax.distributions import ValidationDistribution
from thorax.errors import BundleError, DataError
from thorax.objects.cache import is_copy
from thorax.outputs import refuse_unwritable

__all__ = [
    "attach_distribution",
    "attach_engine",
    "attach_gate",
    "copy_bundle",
    "new_bundle_folder",
    "refuse_copy",
    "refuse_used_folder",
    "write_bundle",
]

_SEEN: Final = "images-seen.bin"


def write_bundle(
    folder: Path,
    manifest: Manifest,
    *,
    weights: Mapping[str, bytes | Path],
    patients: Mapping[str, Iterable[str]],
    seen: Mapping[str, ImagePrints] | None = None,
    gate: Path | None = None,
) -> Bundle:
    """Write a bundle; the manifest's checksums are filled in here.

    Exported engines and the distribution of validation images are not written: `attach_engine` and
    `attach_distribution` add them to an existing bundle. A bundle in the folder is replaced; other files are
    kept.

    Args:
        folder: Folder to write to; created if missing.
        manifest: Manifest of the bundle; its checksums are replaced.
        weights: Content of each member's weights file, or a file to copy, by file name.
        patients: Patients seen, by what saw them, as `seen.hashed_patients` returns them.
        seen: Fingerprints of the images seen, by what saw them; None or empty keeps none.
        gate: File of the input gate that the manifest describes, to copy; None writes no gate.
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
        "gate": manifest.gate if gate else None,
        "distribution": None,  # it belongs to one pipeline with its calibration; see `attach_distribution`
    }
    if gate and manifest.gate:
        _copied(gate, folder / manifest.gate.name)
    if seen or gate or manifest.from_files:
        changes["format"] = 2
    write_json(folder / MANIFEST, manifest.model_copy(update=changes).model_dump(mode="json"))
    return _without(old, load_own(folder))


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
    bundle is the old one or the new one. What another process attached since `bundle` was loaded is kept.

    Args:
        bundle: As `load_bundle` returned it.
        exported: The manifest's new entry; its names and checksums are filled in here.
        files: For each member the files to copy: the graph, and its weights where they are a separate file.

    Raises:
        BundleError: Another process changed more than the engines, or removed the bundle.
    """
    with _manifest_locked(bundle.folder):
        return _attached(_as_it_is_now(bundle), exported, files)


def _attached(bundle: Bundle, exported: Exported, files: Sequence[Sequence[Path]]) -> Bundle:
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
    return _replaced(bundle, {"engines": engines})


def _replaced(bundle: Bundle, changes: Mapping[str, object]) -> Bundle:
    """Replace the manifest of a bundle by a changed one, and remove the files that only the old one names."""
    # Validated again, because `model_copy` does not validate.
    manifest = Manifest.model_validate({**bundle.manifest.model_dump(), **changes})
    write_json(bundle.folder / MANIFEST, manifest.model_dump(mode="json"))
    (bundle.folder / SIGNATURE).unlink(missing_ok=True)  # of the manifest before
    for name in set(checksums(bundle.manifest)) - set(checksums(manifest)):
        (bundle.folder / name).unlink(missing_ok=True)
    return load_own(bundle.folder)


def attach_gate(bundle: Bundle, section: InputGate, numbers: bytes) -> Bundle:
    """Give a bundle on disk an input gate, in place of an earlier one; as safe as `attach_engine`.

    Args:
        bundle: As `load_bundle` returned it.
        section: What the manifest says of it; name and checksum are filled in here.
        numbers: Content of its file, of `gate_bytes`.

    Raises:
        BundleError: Another process changed more than the engines, or removed the bundle.
    """
    with _manifest_locked(bundle.folder):
        now = _as_it_is_now(bundle)
        content = hashlib.sha256(numbers).hexdigest()
        named = section.model_copy(update={"name": f"gate-{content[:8]}.safetensors", "sha256": content})
        write_bytes(bundle.folder / named.name, numbers)
        # The distribution of validation images was measured behind another gate.
        return _replaced(now, {"gate": named, "distribution": None, "format": 2})


def attach_distribution(bundle: Bundle, distribution: ValidationDistribution | None) -> Bundle:
    """Give a bundle on disk the distribution of its validation images; as safe as `attach_engine`.

    Args:
        bundle: As `load_bundle` returned it.
        distribution: In place of an earlier one; None removes that.

    Raises:
        BundleError: Another process changed more than the engines, or removed the bundle.
    """
    with _manifest_locked(bundle.folder):
        return _replaced(_as_it_is_now(bundle), {"distribution": distribution, "format": 2})


def refuse_copy(bundle: Bundle) -> None:
    """Refuse to change the copy of a bundle in object storage: the bundle itself would not have the change.

    Raises:
        BundleError: It is one.
    """
    if is_copy(bundle.folder):
        raise BundleError(
            "a bundle in object storage stays as it is; name a folder on this disk for a changed copy with "
            "`out`, or copy the bundle here first"
        )


@contextmanager
def _manifest_locked(folder: Path) -> Iterator[None]:
    """Lock a bundle's manifest against other processes that would replace it; wait for them."""
    while True:
        try:
            descriptor = os.open(folder / MANIFEST, os.O_RDONLY)
        except OSError as error:
            raise _changed(folder) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Whoever held the lock has put another file in its place: that is the one to lock.
            if _is_still_there(folder / MANIFEST, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _is_still_there(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _as_it_is_now(bundle: Bundle) -> Bundle:
    """Return a bundle with the engines that it has by now; refuse any other change."""
    now = load_own(bundle.folder)
    if now.manifest.model_copy(update={"engines": bundle.manifest.engines}) != bundle.manifest:
        raise _changed(bundle.folder)
    return now


def _changed(folder: Path) -> BundleError:
    return BundleError(
        f"{folder} was changed by another process while an engine was exported for it, which is not added; "
        "export it again"
    )


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
    for name in checksums(manifest or bundle.manifest):
        _copied(bundle.folder / name, folder / name)
    if manifest is None:
        _copied(bundle.folder / MANIFEST, folder / MANIFEST)
    else:
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    copy = _without(old, load_own(folder))
    if manifest is None and is_signed(bundle.folder):
        _copied(bundle.folder / SIGNATURE, folder / SIGNATURE)
    return copy


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
    for name in old - set(checksums(bundle.manifest)):
        (bundle.folder / name).unlink(missing_ok=True)
    return bundle


def _is_ours(name: str) -> bool:
    """Return whether a file beside a manifest belongs to a bundle, judging by its name."""
    return (
        name.endswith((".safetensors", ".partial"))
        or name.startswith(("onnx-", "openvino-"))
        or name in {PATIENTS, SIGNATURE, _SEEN}
    )


def _copied(source: Path, target: Path) -> ExportedFile:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
    return ExportedFile(name=target.name, sha256=sha256_of_file(target))


def refuse_used_folder(folder: Path, *, overwrite: bool = False, sources: Iterable[Bundle] = ()) -> None:
    """Refuse to write a bundle over other files; the remains of an interrupted write may be replaced.

    Args:
        folder: Where a bundle is to be written.
        overwrite: Whether an existing bundle may be replaced; nothing else ever is.
        sources: The bundles that the new one is made of; none of them may be replaced.

    Raises:
        DataError: It is a file, a folder with other content or that cannot be written, a bundle that may not
            be replaced, or one of the sources.
    """
    refuse_unwritable(folder)
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


@contextmanager
def new_bundle_folder(
    folder: Path, *, overwrite: bool = False, sources: Iterable[Bundle] = ()
) -> Iterator[None]:
    """Hold a folder while a bundle is made for it; see `refuse_used_folder`.

    The folder is created, and removed again if nothing was written to it.

    Raises:
        DataError: As there, or another process is making a bundle for it.
    """
    listed = list(sources)
    refuse_used_folder(folder, overwrite=overwrite, sources=listed)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder, doing="writing a bundle to"):
        # Another process may have written one since.
        refuse_used_folder(folder, overwrite=overwrite, sources=listed)
        try:
            yield
        finally:
            with suppress(OSError):  # it is not empty, as it should be
                folder.rmdir()
