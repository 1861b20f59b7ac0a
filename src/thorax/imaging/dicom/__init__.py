"""Read DICOM files as radiographs: parse, refuse other images, decode, convert to gray, describe."""

from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset, FileDataset

from thorax.arrays import GrayPixels
from thorax.errors import ImageError, ThoraxError, UnsupportedImage
from thorax.imaging.dicom import header
from thorax.imaging.dicom.decoding import decode_codes, decode_colors
from thorax.imaging.dicom.parsing import parse
from thorax.imaging.dicom.pixel_data import Layout, read_layout
from thorax.imaging.dicom.windowing import Grays, apply_rule, read_gray_rule
from thorax.imaging.gray_range import doubts_about
from thorax.imaging.quiet import libraries_silenced
from thorax.radiograph import Origin, Radiograph

__all__ = ["read_dataset", "read_dicom"]

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
    try:
        with libraries_silenced():
            return _read(data, name)
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


def _read(data: bytes, name: str) -> Radiograph:
    dataset = parse(data, name)
    header.refuse_other_images(dataset, name)
    layout = read_layout(dataset, name)
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
        gray, "8-bit as stored (grey in colour)", (*(signed if layout.signed else ()), *doubts_about(gray))
    )
