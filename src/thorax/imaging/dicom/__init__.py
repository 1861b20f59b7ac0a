"""Read DICOM files as radiographs: parse, refuse other images, decode, convert to gray, describe."""

from collections.abc import Callable
from io import BytesIO
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset, FileDataset

from thorax.arrays import GrayPixels
from thorax.errors import ImageError, ThoraxError, UnsupportedImage
from thorax.imaging.dicom import header
from thorax.imaging.dicom.decoding import decode_codes, decode_colors
from thorax.imaging.dicom.gray_rules import read_gray_rule
from thorax.imaging.dicom.parsing import parse
from thorax.imaging.dicom.pixel_data import Layout, read_layout
from thorax.imaging.dicom.windowing import Grays, Rescale, apply_rule, convert
from thorax.imaging.gray_range import doubts_about
from thorax.imaging.quiet import libraries_silenced
from thorax.imaging.stored import StoredImage, stored_as_read
from thorax.radiograph import Origin, Radiograph

__all__ = ["read_dataset", "read_dicom", "read_stored_dicom"]

_Read = TypeVar("_Read")

_BYTE = 8

# JPEG rounds color differences: the channels of a gray image may differ by a few levels.
_MAX_GRAY_SPREAD = 8


def read_dicom(data: bytes, name: str) -> Radiograph:
    """Read a DICOM file, with or without preamble, in any transfer syntax that the decoders cover.

    Stored values go through the modality LUT, the VOI LUT or window (the first of several) and one
    inversion, as `windowing.apply_rule` describes. RGB and YBR images are read if they hold only gray; rows
    and columns keep their order.

    Raises:
        ImageError: The file is damaged or truncated, has no pixel data, contradicts itself, or has over 100
            megapixels.
        UnsupportedImage: The image is multi-frame, colored, not a projection radiograph, not of a chest, raw
            detector values, or in a transfer syntax that no decoder covers.
    """
    return _in_our_words(lambda: _read(data, name), name)


def read_stored_dicom(data: bytes, name: str) -> StoredImage:
    """Read a DICOM file as its stored values and the gray of each, as `read_dicom` shows them.

    Raises:
        ImageError: As for `read_dicom`.
        UnsupportedImage: As for `read_dicom`.
    """
    return _in_our_words(lambda: _read_stored(data, name), name)


def _in_our_words(read: Callable[[], _Read], name: str) -> _Read:
    """Read; say in our own words what went wrong."""
    try:
        with libraries_silenced():
            return read()
    except ThoraxError:
        raise
    except Exception as error:  # noqa: BLE001  (its text may quote the file: also in a traceback)
        raise ImageError(
            f"{name}: the DICOM file is damaged or inconsistent ({type(error).__name__}); "
            "export the image again from its source"
        ) from None


def read_dataset(dataset: Dataset, name: str) -> Radiograph:
    """Read a pydicom `Dataset` exactly as the DICOM file that it would be saved as.

    Args:
        dataset: Has Pixel Data, and a transfer syntax in `file_meta` or the encoding that it was read with.
            It is not changed.
        name: What messages and `Origin.name` call it.

    Raises:
        ImageError: It cannot be written as a file, or as for `read_dicom`.
        UnsupportedImage: As for `read_dicom`.
    """
    file = BytesIO()
    try:
        with libraries_silenced():
            dataset.save_as(file, enforce_file_format=False)
    except Exception as error:  # noqa: BLE001  (its text may quote the file: also in a traceback)
        raise ImageError(
            f"{name}: the Dataset cannot be encoded as a DICOM file ({type(error).__name__}); set "
            "dataset.file_meta.TransferSyntaxUID to the syntax of its Pixel Data, and correct its elements"
        ) from None
    return read_dicom(file.getvalue(), name)


def _opened(data: bytes, name: str) -> tuple[FileDataset, Layout]:
    """Return the data set of a chest radiograph, and the layout of its pixels."""
    dataset = parse(data, name)
    header.refuse_other_images(dataset, name)
    return dataset, read_layout(dataset, name)


def _read(data: bytes, name: str) -> Radiograph:
    dataset, layout = _opened(data, name)
    if layout.samples == 1:
        rule = read_gray_rule(dataset, layout, name)
        grays = apply_rule(rule, decode_codes(dataset, layout, name))
    else:
        grays = _gray_of_colors(dataset, layout, name)
    view = header.view_position(dataset, name)
    return Radiograph(
        pixels=grays.pixels,
        origin=Origin(
            name=name,
            format="DICOM",
            intensity=grays.intensity,
            bits=layout.stored,
            doubts=grays.doubts + header.orientation_doubt(dataset, view),
        ),
        view=view,
        laterality=header.image_laterality(dataset),
        spacing_mm=header.pixel_spacing(dataset),
        age_years=header.age_in_years(dataset),
        sex=header.patient_sex(dataset),
        other_part=header.other_part(dataset),
        stated_chest=header.states_chest(dataset),
    )


def _read_stored(data: bytes, name: str) -> StoredImage:
    dataset, layout = _opened(data, name)
    if layout.samples != 1:
        return stored_as_read(_read(data, name))
    rule = read_gray_rule(dataset, layout, name)
    codes = decode_codes(dataset, layout, name)
    conversion = convert(rule, codes)
    # In the order of the stored values, so that values of neighbors can be averaged.
    negative = (1 << layout.stored - 1) if rule.signed else 0
    padding = np.flatnonzero(np.roll(conversion.padded, negative))
    slope, intercept = 1.0, 0.0
    if isinstance(rule.modality, Rescale):
        slope, intercept = rule.modality.slope, rule.modality.intercept
    view = header.view_position(dataset, name)
    doubts = conversion.doubts + header.orientation_doubt(dataset, view)
    return StoredImage(
        values=codes ^ codes.dtype.type(negative),
        table=np.roll(conversion.table, negative),
        slope=slope,
        intercept=intercept - slope * negative,
        window=conversion.window if isinstance(rule.modality, Rescale) else None,
        inverted=rule.inverted,
        padding=(int(padding[0]), int(padding[-1])) if len(padding) else None,
        origin=Origin(
            name=name,
            format="DICOM",
            intensity=conversion.intensity,
            bits=layout.stored,
            doubts=doubts,
        ),
        view=view,
        laterality=header.image_laterality(dataset),
        orientation=header.patient_orientation(dataset),
    )


def _gray_of_colors(dataset: FileDataset, layout: Layout, name: str) -> Grays:
    """Return the gray of a color image without colors; lossy codecs may spread it by a few levels."""
    if layout.allocated != _BYTE:
        raise UnsupportedImage(
            f"{name}: a color image with {layout.allocated} bits per sample; export the image as gray"
        )
    colors: UInt8[np.ndarray, "h w 3"] = decode_colors(dataset, layout, name)
    spread = int((colors.max(axis=-1) - colors.min(axis=-1)).max())
    if spread > _MAX_GRAY_SPREAD:
        raise UnsupportedImage(
            f"{name}: a color image (its channels differ by up to {spread} of 255), perhaps a screenshot "
            "or a page of results; give the original gray radiograph"
        )
    gray: GrayPixels = colors[..., 1].copy()
    signed = ("its colors are stated to have signs, which colors cannot have; they were read without",)
    return Grays(
        gray, "8-bit as stored (gray in color)", (*(signed if layout.signed else ()), *doubts_about(gray))
    )
