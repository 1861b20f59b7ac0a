"""Read PNG files as radiographs.

This package parses the chunks, libdeflate inflates the pixel data, and Pillow's decoder unfilters it in one
call. Pillow's own reader does not verify the checksums of the pixel data, truncates 16-bit color and gray
with transparency to 8 bits, and decodes the small chunks of NIH's files one by one, which is 2 % slower.
"""

from contextlib import suppress

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from thorax.arrays import GrayPixels
from thorax.errors import ImageError
from thorax.imaging.color import colored_share, colored_share_of
from thorax.imaging.gray_range import doubts_about, stretched
from thorax.imaging.orientation import turned
from thorax.imaging.png.chunks import (
    GRAY,
    GRAY_ALPHA,
    PALETTE,
    RGB,
    RGBA,
    Png,
    count_bytes,
    damaged_png,
    stored_stream,
    take_apart,
)
from thorax.radiograph import Origin, Radiograph

__all__ = ["luminance", "over_black", "read_png"]

_DEEP = 16

# Pillow's mode and raw mode for the kinds that it decodes losslessly in one pass.
_MODES = {
    (1, GRAY): ("1", "1"),
    (2, GRAY): ("L", "L;2"),
    (4, GRAY): ("L", "L;4"),
    (8, GRAY): ("L", "L"),
    (16, GRAY): ("I;16", "I;16B"),
    (8, RGB): ("RGB", "RGB"),
    (1, PALETTE): ("P", "P;1"),
    (2, PALETTE): ("P", "P;2"),
    (4, PALETTE): ("P", "P;4"),
    (8, PALETTE): ("P", "P"),
    (8, GRAY_ALPHA): ("LA", "LA"),
    (8, RGBA): ("RGBA", "RGBA"),
}

Samples = UInt8[np.ndarray, "..."] | UInt16[np.ndarray, "..."]


def read_png(data: bytes, name: str) -> Radiograph:
    """Read a PNG file of any color type and depth.

    Color becomes luminance (ITU-R BT.601; equal channels are unchanged). A constant transparency is dropped,
    as in NIH's RGBA files; a varying one is composited over black. Depths below 8 bits are scaled to 0 to
    255; 16-bit files become uint16, spread over the range if they hold values of fewer bits
    (`gray_range.stretched`). The picture is turned upright according to EXIF or XMP. Gamma and color profiles
    are not applied.

    Raises:
        ImageError: The file is damaged (a checksum is wrong), truncated, or larger than 100 megapixels.
        UnsupportedImage: The file is an animation.
    """
    png = take_apart(data, name)
    gray, colored = _gray(png)
    pixels, assumed = stretched(_upright(gray, png.orientation))
    kinds = {
        GRAY: "gray",
        RGB: "luminance of RGB",
        PALETTE: "luminance of a palette",
        GRAY_ALPHA: "gray and alpha",
        RGBA: "luminance of RGBA",
    }
    intensity = f"{png.depth}-bit as stored ({kinds[png.color]})"
    return Radiograph(
        pixels=pixels,
        origin=Origin(
            name=name,
            format="PNG",
            intensity=f"{intensity}, spread" if assumed else intensity,
            bits=png.depth,
            doubts=(*([assumed] if assumed else []), *doubts_about(pixels)),
        ),
        colored=colored,
    )


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    return pixels if orientation <= 1 else np.array(turned(Image.fromarray(pixels), orientation))


def _gray(png: Png) -> tuple[GrayPixels, float]:
    """Return the gray image and the share of it that was colored.

    Common kinds are read with Pillow alone, rare ones channel by channel.
    """
    if png.transparency is None and png.color != PALETTE and (png.depth, png.color) in _MODES:
        image = _decode(png, *_MODES[png.depth, png.color])
        transparency = _transparency(image) if "A" in image.getbands() else None
        colored = colored_share_of(image)
        if image.mode not in {"L", "I;16"}:
            # BT.601 in integer arithmetic: equal channels give exactly their own value.
            image = image.convert("L")
        return over_black(np.asarray(image), transparency), colored
    colors, alpha = _palette_channels(png) if png.color == PALETTE else _channels(png)
    is_gray = colors.shape[-1] == 1
    gray = colors[..., 0] if is_gray else luminance(colors)
    constant = alpha is None or bool((alpha == alpha[0, 0]).all())
    return over_black(gray, None if constant else alpha), 0.0 if is_gray else colored_share(colors)


def _transparency(image: Image.Image) -> Samples | None:
    """Return the alpha channel; None if it is constant, as in NIH's files."""
    alpha = np.asarray(image.getchannel("A"))
    return None if bool((alpha == alpha[0, 0]).all()) else alpha


def _decode(png: Png, mode: str, raw_mode: str) -> Image.Image:
    """Inflate and unfilter the pixel data.

    If the whole stream is intact, Pillow only has to unfilter it; otherwise Pillow decodes the file and finds
    what is wrong.
    """
    stream = stored_stream(png)
    if stream is not None:
        image = Image.new(mode, (png.width, png.height), None)
        with suppress(ValueError):  # trailing bytes, which Pillow ignores below
            image.frombytes(stream, "zip", raw_mode, int(png.interlaced))
            return image
    return _decode_row_by_row(png, mode, raw_mode)


def _decode_row_by_row(png: Png, mode: str, raw_mode: str) -> Image.Image:
    """Inflate and unfilter data that may be damaged.

    The decoder silently leaves missing rows as they were. So the last rows are marked first, and the bytes
    are counted if a mark is still there afterwards.
    """
    image = Image.new(mode, (png.width, png.height), None)
    # In an interlaced file the last row but one may be decoded last.
    last_rows = [(0, row, png.width, row + 1) for row in range(max(png.height - 2, 0), png.height)]
    image.paste(1, (0, last_rows[0][1], png.width, png.height))
    untouched = image.crop(last_rows[-1]).tobytes()
    try:
        image.frombytes(png.stream, "zip", raw_mode, int(png.interlaced))
        if any(image.crop(row).tobytes() == untouched for row in last_rows):
            count_bytes(png)
    except ImageError:
        raise
    except Exception:  # noqa: BLE001  (its text may quote the file: also in a traceback)
        raise damaged_png(png.name, "its pixel data does not decode") from None
    return image


def _palette_channels(png: Png) -> tuple[Samples, Samples]:
    """Return the palette's colors and transparencies for each pixel; opaque where it has none."""
    entries = len(png.palette) // 3
    indices = np.asarray(_decode(png, *_MODES[png.depth, PALETTE]))
    if indices.max() >= entries:
        raise damaged_png(png.name, f"a pixel has palette color {indices.max()} of {entries}")
    alpha = np.full(256, 255, np.uint8)
    given = np.frombuffer(png.transparency or b"", np.uint8)[:256]
    alpha[: len(given)] = given
    colors = np.frombuffer(png.palette[: 3 * entries], np.uint8).reshape(entries, 3)
    return colors[indices], alpha[indices]


def _channels(png: Png) -> tuple[Samples, Samples | None]:
    """Return colors (h, w, 1 or 3) and transparency (h, w), from an alpha channel or one key color."""
    if png.depth == _DEEP and png.color != GRAY:
        samples = _deep_samples(png)
    else:
        image = _decode(png, *_MODES[png.depth, png.color])
        samples = np.atleast_3d(np.asarray(image.convert("L") if image.mode == "1" else image))
    if png.color in {GRAY_ALPHA, RGBA}:
        return samples[..., :-1], samples[..., -1]
    if png.transparency is None:
        return samples, None
    if len(png.transparency) != 2 * samples.shape[-1]:
        raise damaged_png(png.name, f"its transparent color (tRNS) has {len(png.transparency)} bytes")
    spread = 1 if png.depth == _DEEP else 255 // (2**png.depth - 1)
    key = np.frombuffer(png.transparency, ">u2").astype(np.uint32) * spread
    return samples, np.where((samples == key).all(axis=-1), 0, 255).astype(np.uint8)


def _deep_samples(png: Png) -> UInt16[np.ndarray, "h w c"]:
    """Decode 16-bit color in two passes, high bytes and low bytes: Pillow has no 16-bit color mode."""
    if png.color == GRAY_ALPHA:
        # Two 16-bit samples are filtered exactly like four 8-bit ones.
        eight = np.asarray(_decode(png, "RGBA", "RGBA")).astype(np.uint16)
        return eight[..., 0::2] << 8 | eight[..., 1::2]
    mode = "RGB" if png.color == RGB else "RGBA"
    high = np.asarray(_decode(png, mode, f"{mode};16B")).astype(np.uint16)
    low = np.asarray(_decode(png, mode, f"{mode};16L")).astype(np.uint16)
    return high << 8 | low


def luminance(colors: Samples) -> GrayPixels:
    """Return BT.601 luminance, with Pillow's integer weights.

    Args:
        colors: uint8 or uint16 of shape (h, w, 3). Equal channels give exactly their own value.
    """
    red, green, blue = (colors[..., channel].astype(np.uint32) for channel in range(3))
    gray: GrayPixels = ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(colors.dtype)
    return gray


def over_black(gray: GrayPixels, alpha: Samples | None) -> GrayPixels:
    """Composite the image over black."""
    if alpha is None:
        return gray
    full = np.iinfo(alpha.dtype).max
    composited: GrayPixels = ((gray.astype(np.uint32) * alpha + full // 2) // full).astype(gray.dtype)
    return composited
