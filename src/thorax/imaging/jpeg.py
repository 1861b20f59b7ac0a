"""JPEG files to Radiograph: decoded, turned upright as EXIF says, and made grey."""

from io import BytesIO

import numpy as np
from PIL.Image import Image, Transpose
from PIL.JpegImagePlugin import JpegImageFile

from thorax.errors import ImageError
from thorax.radiograph import Origin, Radiograph, check_size

__all__ = ["read_jpeg", "upright"]

_ORIENTATION = 0x0112

# EXIF 2.32, tag 274: how the stored picture is to be turned for viewing; 1 is upright.
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
    """Read a JPEG file; colour becomes luminance (ITU-R BT.601), CMYK by way of RGB.

    Of a file with several pictures (a phone's preview or gain map follows the main one) the first
    is read, as viewers do.

    Raises:
        ImageError: Damaged, truncated, larger than 100 megapixels, or a JPEG that is not 8-bit.
    """
    # JpegImageFile instead of Image.open: the latter warns from 89 megapixels on, process-wide.
    try:
        image: Image = JpegImageFile(BytesIO(data))
    except Exception as error:
        raise _damaged(name, error) from error
    check_size(height=image.height, width=image.width, name=name)
    try:
        image.load()
        image = upright(image)
    except Exception as error:
        raise _damaged(name, error) from error
    colors = "grey" if image.mode == "L" else "luminance of colours"
    if image.mode == "CMYK":
        image = image.convert("RGB")
    return Radiograph(
        pixels=np.asarray(image.convert("L")),
        origin=Origin(name=name, format="JPEG", intensity=f"8-bit as stored ({colors})", bits=8),
    )


def upright(image: Image) -> Image:
    """Return a picture that was read from a JPEG file the way round that its EXIF data says."""
    turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"{name}: the JPEG file is damaged, truncated or of a rare kind ({error}); "
        "copy or export it again as 8-bit baseline JPEG or PNG"
    )
