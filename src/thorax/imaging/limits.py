"""What is refused from an image's header alone, before a pixel is decoded."""

from thorax.errors import ImageError
from thorax.radiograph import MAX_PIXELS

__all__ = ["check_size"]


def check_size(*, height: int, width: int, name: str) -> None:
    """Refuse an image without pixels, or with so many that decoding it could exhaust the memory."""
    if height < 1 or width < 1:
        raise ImageError(
            f"{name}: the header says {width} x {height} pixels, so there is no image; "
            "export the file again from its source"
        )
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} pixels are {height * width / 1e6:.0f} megapixels, more than the "
            f"{MAX_PIXELS / 1e6:.0f} that are decoded; shrink the image first"
        )
