"""The image files that paths name: files, and those in folders, of this disk and of object storage."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from thorax.atomic_io import is_remote
from thorax.imaging import image_files
from thorax.imaging.folders import image_objects
from thorax.imaging.not_images import address_in, why_not_a_file
from thorax.objects.place import Place, place_of

__all__ = ["ImageFile", "fetched", "is_folder", "list_files", "release"]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file to predict.

    Attributes:
        path: The path, as given or below a folder as given.
        name: Its path within that folder; the file's own name if it was given itself.
        given: Whether it was given itself, so that it should be an image.
        study: In a list by study, the number of its study and of the images that this has; None for an image
            that is alone, and in other lists.
        state: Size and modification time of an object of object storage; None for a file.
    """

    path: str
    name: str
    given: bool
    study: tuple[int, int] | None = None
    state: tuple[int, int] | None = None

    @property
    def place(self) -> str:
        """The absolute path, which is the same from every working folder."""
        if self.state is not None:
            return self.path
        return os.path.abspath(self.path)  # noqa: PTH100  (without following links)


def list_files(
    paths: Sequence[Path], *, failed: Callable[[str, str], None], without: Path | None = None
) -> Iterator[ImageFile]:
    """Yield the files that were given, and those in the folders, in order.

    Args:
        paths: Files and folders.
        failed: Receives what has no files: a folder that is empty or cannot be listed, a link that leads
            nowhere, an address; and the reason.
        without: A folder whose files are left out.
    """
    for path in paths:
        if is_remote(path):
            yield from _list_objects(place_of(path), failed)
            continue
        reason = why_not_a_file(str(path))
        if reason:
            failed(address_in(str(path)) or str(path), reason)
        elif os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises for a path that is too long)
            left_out = _within(path, without)
            for file in image_files([path], failed=lambda place, why: failed(str(place), why)):
                if left_out is None or not str(file).startswith(left_out):
                    yield ImageFile(str(file), str(file.relative_to(path)), given=False)
        else:
            yield ImageFile(str(path), path.name, given=True)


def _list_objects(place: Place, failed: Callable[[str, str], None]) -> Iterator[ImageFile]:
    """Yield the objects below a place, or the object itself."""
    from thorax.objects.client import described

    found = image_objects(place)
    for listed in found:
        state = listed.size, listed.mtime_ns
        yield ImageFile(str(listed.place), listed.name, given=False, state=state)
    if not found:
        itself = described(place)
        if itself is None:
            failed(str(place), "no object has this name, or is in a folder of this name")
        else:
            yield ImageFile(str(place), place.name, given=True, state=(itself.size, itself.mtime_ns))


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder, of this disk or of object storage; never raise for its name."""
    if not is_remote(path):
        return os.path.isdir(path)  # noqa: PTH112  (Path.is_dir raises for a path that is too long)
    from thorax.objects.client import described

    return described(place_of(path)) is None


def fetched(files: Iterable[ImageFile]) -> Iterator[ImageFile]:
    """Yield files, while those of object storage that follow are being read."""
    remaining = iter(files)
    for file in remaining:
        if file.state is None:
            yield file
            continue
        from thorax.objects.ahead import read_ahead

        following = chain([file], remaining)
        yield from read_ahead((each, each.path, each.state[0] if each.state else 0) for each in following)


def _within(folder: Path, inner: Path | None) -> str | None:
    """Return the beginning of the paths of the files of `inner` in `folder`; None if it is outside."""
    if inner is None or not inner.resolve().is_relative_to(folder.resolve()):
        return None
    return f"{folder / inner.resolve().relative_to(folder.resolve())}{os.sep}"


def release(file: ImageFile) -> None:
    """Let go of what was read ahead of a file."""
    if file.state is None:
        return
    from thorax.objects.ahead import release as let_go

    let_go(file.path)
