"""PDF files of pictures, one on each page, written page by page; the same pictures give the same bytes."""

from typing import BinaryIO, Final

__all__ = ["PdfPages"]

_A4: Final = (841.89, 595.28)
"""Longer and shorter side in points."""

_MARGIN: Final = 28.35
"""One centimeter in points."""

_CATALOG, _PAGES = 1, 2
"""Numbers of the two objects that come last in the file, since they list the pages."""


class PdfPages:
    """A PDF under construction: pages of A4, upright or across, each with a picture as large as fits.

    Args:
        file: A file opened for writing; it stays open, and is a PDF once `finish` was called.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offsets: dict[int, int] = {}
        self._pages: list[int] = []
        self._written = 0
        self._write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")

    def add(self, jpeg: bytes, *, width: int, height: int) -> None:
        """Add a page with a picture.

        Args:
            jpeg: The picture, as a JPEG file with three colors.
            width: Its columns.
            height: Its rows.
        """
        long, short = _A4
        across, up = (long, short) if width > height else (short, long)
        factor = min((across - 2 * _MARGIN) / width, (up - 2 * _MARGIN) / height)
        shown = (factor * width, factor * height)
        left, bottom = (across - shown[0]) / 2, up - _MARGIN - shown[1]
        image = self._object(
            f"<</Type/XObject/Subtype/Image/Width {width}/Height {height}/ColorSpace/DeviceRGB"
            f"/BitsPerComponent 8/Filter/DCTDecode/Length {len(jpeg)}>>",
            jpeg,
        )
        drawing = f"q {shown[0]:.2f} 0 0 {shown[1]:.2f} {left:.2f} {bottom:.2f} cm /P Do Q".encode()
        contents = self._object(f"<</Length {len(drawing)}>>", drawing)
        page = self._object(
            f"<</Type/Page/Parent {_PAGES} 0 R/MediaBox[0 0 {across:.2f} {up:.2f}]"
            f"/Resources<</XObject<</P {image} 0 R>>>>/Contents {contents} 0 R>>"
        )
        self._pages.append(page)

    def finish(self) -> None:
        """Complete the file."""
        kids = " ".join(f"{page} 0 R" for page in self._pages)
        self._object(f"<</Type/Pages/Kids[{kids}]/Count {len(self._pages)}>>", number=_PAGES)
        self._object(f"<</Type/Catalog/Pages {_PAGES} 0 R>>", number=_CATALOG)
        start, size = self._written, len(self._offsets) + 1
        entries = "".join(f"{self._offsets[number]:010d} 00000 n \n" for number in range(1, size))
        self._write(f"xref\n0 {size}\n0000000000 65535 f \n{entries}".encode())
        self._write(f"trailer\n<</Size {size}/Root {_CATALOG} 0 R>>\nstartxref\n{start}\n%%EOF\n".encode())

    def _object(self, entries: str, stream: bytes | None = None, *, number: int = 0) -> int:
        """Write an object and return its number, which is the next one by default."""
        number = number or _PAGES + 1 + len(self._offsets)
        self._offsets[number] = self._written
        body = b"" if stream is None else b"\nstream\n" + stream + b"\nendstream"
        self._write(f"{number} 0 obj\n{entries}".encode() + body + b"\nendobj\n")
        return number

    def _write(self, content: bytes) -> None:
        self._written += len(content)
        self._file.write(content)
