"""The starter: a bundle in the package and three radiographs, to try Thorax without data or training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thorax.errors import BundleError

__all__ = ["ExampleImage", "folder", "is_starter", "test_images"]

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class ExampleImage:
    """A radiograph of NIH ChestX-ray14 in the package.

    Attributes:
        path: Its file; the README.txt beside it has source, terms and citation.
        title: Its labels, for people, such as "Hernia, Infiltration".
        labels: Names of the findings that NIH labels it with.
        nih_image: Its file name in the data set.
        seen_by_starter: Whether the starter was trained on it.
    """

    path: Path
    title: str
    labels: tuple[str, ...]
    nih_image: str
    seen_by_starter: bool


def folder() -> Path:
    """Return the folder of the starter's bundle.

    Raises:
        BundleError: This installation has no starter.
    """
    if not (_HERE / "bundle.json").is_file():
        raise BundleError(
            f"{_HERE} has no bundle.json, so this installation has no starter; install Thorax again, or name "
            "a bundle"
        )
    return _HERE


def is_starter(path: Path) -> bool:
    """Return whether a path is the folder of the starter's bundle."""
    return path.resolve() == _HERE.resolve()


def test_images() -> tuple[ExampleImage, ...]:
    """Return the three radiographs, in the order of their file names."""
    return tuple(
        ExampleImage(
            path=_HERE / "images" / f"{'-'.join(labels).lower()}.png",
            title=", ".join(labels),
            labels=labels,
            nih_image=nih_image,
            seen_by_starter=seen,
        )
        for nih_image, labels, seen in (
            ("00000001_000.png", ("Cardiomegaly",), True),
            ("00000003_003.png", ("Hernia", "Infiltration"), False),
            ("00000004_000.png", ("Mass", "Nodule"), True),
        )
    )
