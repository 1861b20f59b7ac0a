"""Images that are in memory already, NumPy arrays and PIL images, to Radiograph."""

from typing import Final

import numpy as np
from PIL import Image

from thorax.arrays import GrayPixels
from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.jpeg import upright
from thorax.imaging.png import luminance, over_black
from thorax.radiograph import Origin, Radiograph, check_size

__all__ = ["ValueRange", "read_array", "read_pil"]

ValueRange = tuple[float | int, float | int]
"""The values of black and of white."""

_GRAY: Final = 2
_COLOR: Final = 3
_WHITE: Final = 65535
_JPEGS: Final = {"JPEG", "MPO"}
"""A phone's MPO file is a JPEG file with a preview behind it, which is not read."""

# Pillow's modes by what becomes of them: those not named here hold neither gray values nor colors.
_AS_GRAY: Final = {"1"}
_AS_COLORS: Final = {"P", "RGBX", "CMYK", "YCbCr"}
_AS_GIVEN: Final = {"L", "RGB", "I;16", "I;16L", "I;16B", "I;16N", "I", "F"}
_WITH_ALPHA: Final = {"LA", "PA", "RGBA"}
_WITH_KEY: Final = {"1", "L", "P", "RGB"}
"""Modes of which one color, or entries of the palette, may be transparent."""


def read_array(array: np.ndarray, name: str, *, value_range: ValueRange | None = None) -> Radiograph:
    """Read an array as a radiograph; larger is brighter.

    Args:
        array: uint8 or uint16 of shape (H, W) or (H, W, 3), over the full range of its type. Colors become
            luminance (ITU-R BT.601; equal channels stay exactly what they are), as those of a PNG file do.
        name: What messages and `Origin.name` call it.
        value_range: The values of black and of white, for an array of any real type; the values must lie
            between them, and become uint16.

    Raises:
        ImageError: Another type without `value_range`, another shape, no or too many pixels, values that are
            not finite or outside `value_range`, or a range without extent.
    """
    _refuse_other_shapes(array, name)
    if value_range is None:
        _refuse_other_types(array, name)
        values = array
        intensity = f"{8 * array.itemsize}-bit as given"
    else:
        values = _spread(array, value_range, name)
        intensity = f"{array.dtype.name} from {value_range[0]:g} (black) to {value_range[1]:g} (white)"
    if values.ndim == _COLOR:
        values = luminance(values)
        intensity += " (luminance of RGB)"
    # A copy, in the machine's own byte order: what the caller does to the array later changes nothing.
    pixels: GrayPixels = np.array(values, dtype=values.dtype.newbyteorder("="), order="C")
    return Radiograph(
        pixels=pixels,
        origin=Origin(name=name, format="array", intensity=intensity, bits=8 * pixels.itemsize),
    )


def read_pil(image: Image.Image, name: str, *, value_range: ValueRange | None = None) -> Radiograph:
    """Read a PIL image as a radiograph: as the file that it was opened from, or as its array.

    A transparency that is the same everywhere is dropped; where it varies the image lies over black. An
    image that Pillow opened from a JPEG file is turned upright, as EXIF says.

    Args:
        image: Of any mode whose samples have 8 or 16 bits; mode "I" or "F" with `value_range`.
        name: What messages and `Origin.name` call it.
        value_range: See `read_array`.

    Raises:
        ImageError: See `read_array`; or the file behind the image is damaged.
        UnsupportedImage: The image has a mode that holds no gray values or RGB colors, or several frames.
    """
    check_size(height=image.height, width=image.width, name=name)
    try:
        frames = getattr(image, "n_frames", 1)
        image.load()
        turned = upright(image) if image.format in _JPEGS else image
    except Exception as error:
        raise ImageError(
            f"{name}: the file behind the PIL image cannot be decoded ({error}); "
            "copy it again from its source"
        ) from error
    if frames > 1 and image.format not in _JPEGS:
        raise UnsupportedImage(
            f"{name}: the PIL image has {frames} frames; a radiograph is a single image, so give a copy of "
            "the frame that is meant (image.copy() after image.seek(n))"
        )
    return read_array(_samples(turned, name), name, value_range=value_range)


def _samples(image: Image.Image, name: str) -> np.ndarray:
    """Return gray values or colors, over black where the transparency varies."""
    mode = image.mode
    if mode in _WITH_ALPHA or (mode in _WITH_KEY and "transparency" in image.info):
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        gray = np.asarray(image.convert("L"))
        return gray if bool((alpha == alpha[0, 0]).all()) else over_black(gray, alpha)
    if mode in _AS_GIVEN:
        return np.asarray(image)
    if mode in _AS_GRAY:
        return np.asarray(image.convert("L"))
    if mode in _AS_COLORS:
        return np.asarray(image.convert("RGB"))
    raise UnsupportedImage(
        f"{name}: a PIL image of mode {mode!r}; give one of mode L, I;16 or RGB, for example "
        'image.convert("L")'
    )


def _refuse_other_shapes(array: np.ndarray, name: str) -> None:
    shape = tuple(array.shape)
    if array.ndim == _GRAY or (array.ndim == _COLOR and shape[2] == _COLOR):
        if array.size:
            check_size(height=shape[0], width=shape[1], name=name)
            return
        raise ImageError(f"{name}: an array of shape {shape} holds no pixel; give the whole image")
    raise ImageError(
        f"{name}: an array of shape {shape} is not one image; give gray values as (height, width) "
        f"or colors as (height, width, 3){_hint(shape)}"
    )


def _hint(shape: tuple[int, ...]) -> str:
    """Return what probably helps with a shape, after a comma; "" where nothing comes to mind."""
    match shape:
        case (_, _, 1):
            return ", here with array[:, :, 0]"
        case (_, _, 4):
            return ", here with array[:, :, :3] if the fourth channel is transparency"
        case (1, _, _):
            return ", here with array[0]"
        case (3, _, _):
            return ", here with numpy.moveaxis(array, 0, 2)"
        case (_, _, _) | (_, _, _, _):
            return ", one at a time"
        case _:
            return ""


def _refuse_other_types(array: np.ndarray, name: str) -> None:
    if array.dtype.kind == "u" and array.itemsize <= 2:  # noqa: PLR2004  (bytes)
        return
    if array.dtype.kind not in "fiu":
        raise ImageError(
            f"{name}: an array of type {array.dtype} holds no gray values; give uint8 or uint16, where 0 is "
            "black and 255 or 65535 is white"
        )
    low, high = float(array.min()), float(array.max())
    raise ImageError(
        f"{name}: an array of type {array.dtype} (values {low:g} to {high:g}) does not say which value is "
        "black and which is white, and a wrong guess changes every prediction; say so with "
        "value_range=(black, white), for example (0, 1), or give uint8 or uint16"
    )


def _spread(array: np.ndarray, value_range: ValueRange, name: str) -> np.ndarray:
    """Return values between black and white as uint16."""
    if array.dtype.kind not in "fiu":
        raise ImageError(
            f"{name}: an array of type {array.dtype} holds no gray values; value_range needs real numbers"
        )
    black, white = map(float, value_range)
    if not (np.isfinite(black) and np.isfinite(white) and black < white):
        raise ImageError(
            f"{name}: value_range is ({black:g}, {white:g}), and black must be a smaller number than white; "
            "give both as finite numbers, and turn an inverted image over first"
        )
    values = array.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(
            f"{name}: the array has values that are not finite (NaN or infinite); replace them, for example "
            f"with numpy.nan_to_num(array, nan={black:g})"
        )
    if low < black or high > white:
        raise ImageError(
            f"{name}: the array has values from {low:g} to {high:g}, outside value_range=({black:g}, "
            f"{white:g}); give the range that its values are in, or cut it off on purpose with numpy.clip"
        )
    return np.round((values - black) / (white - black) * _WHITE).astype(np.uint16)
