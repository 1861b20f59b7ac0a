"""Read JPEG files as radiographs: decode, turn upright according to EXIF, convert to gray."""

from io import BytesIO

import numpy as np
from PIL.Image import Image, Transpose
from PIL.JpegImagePlugin import JpegImageFile

from thorax.errors import ImageError
from thorax.imaging.gray_range import doubts_about
from thorax.imaging.limits import announce_pixels
from thorax.radiograph import Origin, Radiograph, check_size

__all__ = ["read_jpeg", "upright"]

_ORIENTATION = 0x0112

# EXIF 2.32, tag 274: the transformation that makes each stored orientation upright; 1 is upright.
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def read_jpeg(data: bytes, name: str) -> Radiograph:
    """Read a JPEG file; color becomes luminance (ITU-R BT.601), CMYK via RGB.

    If the file holds several pictures (phones append a preview or gain map), the first is read, as
    viewers do.

    Raises:
        ImageError: The file is damaged, truncated, larger than 100 megapixels, or not 8-bit.
    """
    # Not Image.open, which warns above 89 megapixels, process-wide.
    try:
        image: Image = JpegImageFile(BytesIO(data))
    except Exception as error:
        raise _damaged(name, error) from error
    check_size(height=image.height, width=image.width, name=name)
    announce_pixels(image.height * image.width)
    try:
        image.load()
        image = upright(image)
    except Exception as error:
        raise _damaged(name, error) from error
    colors = "grey" if image.mode == "L" else "luminance of colours"
    if image.mode == "CMYK":
        image = image.convert("RGB")
    pixels = np.asarray(image.convert("L"))
    return Radiograph(
        pixels=pixels,
        origin=Origin(
            name=name,
            format="JPEG",
            intensity=f"8-bit as stored ({colors})",
            bits=8,
            doubts=doubts_about(pixels),
        ),
    )


def upright(image: Image) -> Image:
    """Return a picture from a JPEG file turned upright according to its EXIF data."""
    turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"{name}: the JPEG file is damaged, truncated or of an unsupported kind ({error}); "
        "copy or export it again as 8-bit baseline JPEG or PNG"
    )
