"""Read images in memory, NumPy arrays and PIL images, as radiographs."""

from dataclasses import replace
from typing import Final

import numpy as np
from PIL import Image

from thorax.arrays import GrayPixels
from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.color import colored_share, colored_share_of
from thorax.imaging.gray_range import doubts_about, stretched
from thorax.imaging.orientation import exif_orientation, turned, xmp_orientation
from thorax.imaging.png import luminance, over_black
from thorax.radiograph import Origin, Radiograph, check_size

__all__ = ["ValueRange", "read_array", "read_pil"]

ValueRange = tuple[float | int, float | int]
"""The values that mean black and white."""

_GRAY: Final = 2
_COLOR: Final = 3
_WHITE: Final = 65535
_JPEGS: Final = {"JPEG", "MPO"}
"""Phones write MPO: a JPEG file followed by a preview, which is ignored."""

_TURNED: Final = _JPEGS | {"PNG"}
"""Formats whose EXIF data are followed, as when the files themselves are read."""

# Pillow's modes by how they are converted; all others hold neither gray values nor colors.
_AS_GRAY: Final = {"1"}
_AS_COLORS: Final = {"P", "RGBX", "CMYK", "YCbCr"}
_AS_GIVEN: Final = {"L", "RGB", "I;16", "I;16L", "I;16B", "I;16N", "I", "F"}
_WITH_ALPHA: Final = {"LA", "PA", "RGBA"}
_WITH_KEY: Final = {"1", "L", "P", "RGB"}
"""Modes in which one color, or palette entries, may be transparent."""


def read_array(array: np.ndarray, name: str, *, value_range: ValueRange | None = None) -> Radiograph:
    """Read an array as a radiograph; larger is brighter.

    Args:
        array: uint8 or uint16 of shape (H, W) or (H, W, 3), using the full range of its type. Colors become
            luminance (ITU-R BT.601; equal channels are unchanged), as for a PNG file. As there, uint16 values
            below 16384 are spread over the whole range, unless `value_range` is given.
        name: What messages and `Origin.name` call it.
        value_range: The values that mean black and white, for an array of any real type; all values must lie
            between them, and are converted to uint16.

    Raises:
        ImageError: The type is neither uint8 nor uint16 and `value_range` is missing; the shape is not that
            of one image; there are no or too many pixels; values are not finite or outside `value_range`; or
            the range is empty.
    """
    _refuse_other_shapes(array, name)
    if value_range is None:
        _refuse_other_types(array, name)
        values = array
        intensity = f"{8 * array.itemsize}-bit as given"
    else:
        values = _spread(array, value_range, name)
        intensity = f"{array.dtype.name} from {value_range[0]:g} (black) to {value_range[1]:g} (white)"
    colored = 0.0
    if values.ndim == _COLOR:
        colored = colored_share(values)
        values = luminance(values)
        intensity += " (luminance of RGB)"
    # A copy in native byte order, so that later changes to the caller's array do not matter.
    pixels: GrayPixels = np.array(values, dtype=values.dtype.newbyteorder("="), order="C")
    assumed = ""
    if value_range is None:
        pixels, assumed = stretched(pixels)
    return Radiograph(
        pixels=pixels,
        origin=Origin(
            name=name,
            format="array",
            intensity=f"{intensity}, spread" if assumed else intensity,
            bits=8 * pixels.itemsize,
            doubts=(*([f"{assumed}; value_range says otherwise"] if assumed else []), *doubts_about(pixels)),
        ),
        colored=colored,
    )


def read_pil(image: Image.Image, name: str, *, value_range: ValueRange | None = None) -> Radiograph:
    """Read a PIL image as a radiograph, like the file that it was opened from or like its array.

    A constant transparency is dropped; a varying one is composited over black. An image that Pillow opened
    from a JPEG or PNG file is turned upright according to EXIF or XMP.

    Args:
        image: Any mode with 8- or 16-bit samples; modes "I" and "F" need `value_range`.
        name: What messages and `Origin.name` call it.
        value_range: See `read_array`.

    Raises:
        ImageError: As for `read_array`, or the file behind the image is damaged.
        UnsupportedImage: The mode holds neither gray values nor RGB colors, or there are several frames.
    """
    check_size(height=image.height, width=image.width, name=name)
    try:
        frames = getattr(image, "n_frames", 1)
        image.load()
        upright = turned(image, _orientation(image)) if image.format in _TURNED else image
    except Exception:  # noqa: BLE001  (its text may quote the file: also in a traceback)
        raise ImageError(
            f"{name}: the file behind the PIL image cannot be decoded; copy it again from its source"
        ) from None
    if frames > 1 and image.format not in _JPEGS:
        raise UnsupportedImage(
            f"{name}: the PIL image has {frames} frames; a radiograph is a single image, so give a copy of "
            "one frame (image.copy() after image.seek(n))"
        )
    radiograph = read_array(_samples(upright, name), name, value_range=value_range)
    return replace(radiograph, colored=colored_share_of(upright))


def _orientation(image: Image.Image) -> int:
    xmp = image.info.get("xmp", b"") or image.info.get("XML:com.adobe.xmp", "").encode()
    return exif_orientation(image.info.get("exif", b"")) or xmp_orientation(xmp)


def _samples(image: Image.Image, name: str) -> np.ndarray:
    """Return gray values or colors, composited over black if the transparency varies."""
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
        f"{name}: a PIL image of mode {mode!r} cannot be read; give one of mode L, I;16 or RGB, for example "
        'image.convert("L")'
    )


def _refuse_other_shapes(array: np.ndarray, name: str) -> None:
    shape = tuple(array.shape)
    if array.ndim == _GRAY or (array.ndim == _COLOR and shape[2] == _COLOR):
        if array.size:
            check_size(height=shape[0], width=shape[1], name=name)
            return
        raise ImageError(f"{name}: an array of shape {shape} has no pixels; give the whole image")
    raise ImageError(
        f"{name}: an array of shape {shape} is not one image; give gray values as (height, width) "
        f"or colors as (height, width, 3){_hint(shape)}"
    )


def _hint(shape: tuple[int, ...]) -> str:
    """Return a likely fix for a shape, after a comma; "" if there is none."""
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
            f"{name}: an array of type {array.dtype} does not hold gray values; give uint8 or uint16, where "
            "0 is black and 255 or 65535 is white"
        )
    low, high = float(array.min()), float(array.max())
    bytes_ = array.dtype.kind != "f" and low >= 0 and high <= 255  # noqa: PLR2004  (largest value of a byte)
    hint = ', here with array.astype("uint8") if 255 is white' if bytes_ else ""
    raise ImageError(
        f"{name}: an array of type {array.dtype} (values {low:g} to {high:g}) does not say which value is "
        "black and which is white, and a wrong guess would change every prediction; set "
        f"value_range=(black, white), for example (0, 1), or give uint8 or uint16{hint}"
    )


def _spread(array: np.ndarray, value_range: ValueRange, name: str) -> np.ndarray:
    """Scale values from [black, white] to uint16."""
    if array.dtype.kind not in "fiu":
        raise ImageError(
            f"{name}: an array of type {array.dtype} does not hold gray values; value_range "
            "needs real numbers"
        )
    try:
        black, white = map(float, value_range)
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"{name}: value_range is {value_range!r}; give two numbers, (black, white)"
        ) from error
    if not (np.isfinite(black) and np.isfinite(white) and black < white):
        raise ImageError(
            f"{name}: value_range is ({black:g}, {white:g}), and black must be less than white; "
            "give two finite numbers, and invert an inverted image first"
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
            f"{white:g}); give the range of its values, or clip them deliberately with numpy.clip"
        )
    return np.round((values - black) / (white - black) * _WHITE).astype(np.uint16)
