"""The exceptions of Thorax, and the exit code that each gives the command line.

* ThoraxError               something in Thorax failed                          -> exit 1
  + RecipeError             the recipe is wrong, or does not fit the data       -> exit 2
  + DataError               labels, split, source or store are wrong            -> exit 3
    - LeakError             images that training or selection saw are measured  -> exit 3
  + ImageError              a file cannot be used as a chest radiograph         -> exit 4
    - UnsupportedImage      readable, but not a single frontal or lateral chest radiograph
  + BundleError             weights, manifest and code do not fit together      -> exit 5
  + ServiceError            the network service cannot do what was asked        -> exit 6
  + MissingExtra            a package of an extra is not installed              -> exit 7

A message has four parts: what is wrong, which value, where it stands, what to do next.
"""

from typing import ClassVar

__all__ = [
    "BundleError",
    "DataError",
    "ImageError",
    "LeakError",
    "MissingExtra",
    "RecipeError",
    "ServiceError",
    "ThoraxError",
    "UnsupportedImage",
]


class ThoraxError(Exception):
    """Root of everything that Thorax raises on purpose."""

    exit_code: ClassVar[int] = 1


class RecipeError(ThoraxError):
    """The recipe is malformed, or asks for something its data or backbone does not have."""

    exit_code = 2


class DataError(ThoraxError):
    """Labels, split, source folder or store are wrong or do not belong together."""

    exit_code = 3


class LeakError(DataError):
    """Images of patients that training or selection saw would be measured."""


class ImageError(ThoraxError):
    """A file cannot be read as a radiograph."""

    exit_code = 4


class UnsupportedImage(ImageError):  # noqa: N818  (reads as the sentence it stands for)
    """The file is readable, but it is not a single projection radiograph of a chest."""


class BundleError(ThoraxError):
    """A bundle is incomplete or damaged, or this version cannot use it."""

    exit_code = 5


class ServiceError(ThoraxError):
    """The service cannot start or cannot answer."""

    exit_code = 6


class MissingExtra(ThoraxError):  # noqa: N818  (reads as the sentence it stands for)
    """A package that only an extra brings is needed and not installed; the message has the line to type."""

    exit_code = 7
