"""The files of the page, in memory."""

from importlib.resources import files
from typing import Final

from thorax.starter import test_images

__all__ = ["page_files"]

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}


def page_files() -> dict[str, tuple[str, bytes]]:
    """Return the media type and content of each file, by its address relative to the page."""
    page = files(__package__).joinpath("page")
    contents = {file.name: file.read_bytes() for file in page.iterdir()}
    images = [image.path for image in test_images()]
    for path in (*images, images[0].with_name("README.txt")):
        contents[f"test-images/{path.name}"] = path.read_bytes()
    return {name: (_MEDIA_TYPES[name[name.rindex(".") :]], content) for name, content in contents.items()}
