"""Check DICOM pixel data before decoding: layout, transfer syntax, and the compressed image's own header."""

from dataclasses import dataclass

from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import (
    UID,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.dicom.codestream import Codestream, bare, is_sound, read_codestream
from thorax.imaging.dicom.header import texts_of, whole_number_of
from thorax.imaging.dicom.known import uid_name
from thorax.imaging.jpeg_markers import JpegHeader
from thorax.imaging.limits import announce_pixels
from thorax.radiograph import check_size

__all__ = ["BY_GDCM", "EncodedImage", "Layout", "check_image", "encapsulated", "read_layout"]

BY_GDCM = {JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1}
"""Transfer syntaxes that GDCM decodes, the first one where it has 12 bits."""

_JPEG_LS = {JPEGLSLossless, JPEGLSNearLossless}
_END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Layout of the pixel data (DICOM PS3.3 C.7.6.3), checked to be decodable."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool


def read_layout(dataset: FileDataset, name: str) -> Layout:
    """Read the layout from the header.

    Raises:
        ImageError: There is no pixel data, a value is missing or contradicts another, or there are over 100
            megapixels.
        UnsupportedImage: The samples are neither gray nor RGB, or do not have 8 or 16 bits.
    """
    if "PixelData" not in dataset:
        raise ImageError(
            f"{name}: the DICOM file has no Pixel Data (it is not an image, or only its header was sent); "
            "send the image again"
        )
    stored = whole_number_of(dataset, "BitsStored", name)
    layout = Layout(
        rows=whole_number_of(dataset, "Rows", name),
        columns=whole_number_of(dataset, "Columns", name),
        samples=whole_number_of(dataset, "SamplesPerPixel", name),
        allocated=whole_number_of(dataset, "BitsAllocated", name),
        stored=stored,
        high_bit=whole_number_of(dataset, "HighBit", name) if "HighBit" in dataset else stored - 1,
        signed=whole_number_of(dataset, "PixelRepresentation", name) == 1,
    )
    check_size(height=layout.rows, width=layout.columns, name=name)
    announce_pixels(layout.rows * layout.columns)
    if layout.allocated not in {8, 16} or layout.samples not in {1, 3}:
        raise UnsupportedImage(
            f"{name}: {layout.samples} samples of {layout.allocated} bits per pixel; radiographs have one "
            "sample of 8 or 16 bits, so export the image in that form"
        )
    if not 1 <= layout.stored <= layout.high_bit + 1 <= layout.allocated:
        raise ImageError(
            f"{name}: Bits Allocated {layout.allocated}, Bits Stored {layout.stored} and High Bit "
            f"{layout.high_bit} contradict each other; export the image again from its source"
        )
    return layout


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """An image that fits its header as far as this can be seen without decoding.

    Attributes:
        syntax: Its transfer syntax.
        decoder: What pydicom decodes it with.
        frame: The compressed image, without what decoders stumble over; b"" if it is not compressed.
        codestream: Its own header; None if it has none.
    """

    syntax: UID
    decoder: Decoder
    frame: bytes = b""
    codestream: Codestream | None = None


def check_image(dataset: FileDataset, layout: Layout, name: str) -> EncodedImage:
    """Return the image with its decoder; refuse data unlike the header.

    The data set gets the image without what decoders stumble over.
    """
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnsupportedImage(
            f"{name}: transfer syntax {uid_name(syntax)} is not supported; convert the file to "
            "Explicit VR Little Endian first (for example with gdcmconv --raw)"
        ) from None
    element = dataset["PixelData"]
    data: bytes = element.value or b""
    if decoder.is_native:
        _check_native(dataset, layout, name)
        return EncodedImage(syntax=syntax, decoder=decoder)
    frame = next(generate_frames(data, number_of_frames=1), b"") if element.is_undefined_length else data
    if syntax == RLELossless:
        return EncodedImage(syntax=syntax, decoder=decoder, frame=frame)
    frame = bare(frame, _read_codestream(frame, layout, name))
    codestream = _read_codestream(frame, layout, name)
    if codestream.jpeg is not None:
        _check_jpeg(frame, codestream.jpeg, layout, name)
        if syntax in BY_GDCM and not is_sound(frame, codestream.jpeg):
            raise _unreadable(frame, name)
        if syntax in _JPEG_LS and _END_OF_IMAGE not in frame.rstrip(b"\0")[-8:]:
            raise _truncated(frame, "has no end", name)
    dataset["PixelData"] = encapsulated(frame)
    return EncodedImage(syntax=syntax, decoder=decoder, frame=frame, codestream=codestream)


def encapsulated(frame: bytes) -> DataElement:
    """Return pixel data of one compressed image."""
    element = DataElement("PixelData", "OB", encapsulate([frame]), already_converted=True)
    element.is_undefined_length = True
    return element


def _check_jpeg(frame: bytes, header: JpegHeader, layout: Layout, name: str) -> None:
    """Refuse an image whose data are too few for its pixels, before memory is allocated for them."""
    held, needed = len(frame) - header.data_at, header.least_bytes()
    if held < needed:
        pixels = f"{layout.columns} x {layout.rows} pixels"
        raise _truncated(frame, f"holds {held} bytes of data, where {pixels} take at least {needed}", name)


def _truncated(frame: bytes, what: str, name: str) -> ImageError:
    return ImageError(
        f"{name}: the compressed image ({len(frame)} bytes) {what}: the file is truncated, so send it again"
    )


def _check_native(dataset: FileDataset, layout: Layout, name: str) -> None:
    element = dataset["PixelData"]
    length = len(element.value or b"")
    if element.is_undefined_length:
        raise ImageError(
            f"{name}: Pixel Data has no stated length, as compressed images have, but its transfer syntax is "
            f"{uid_name(dataset.file_meta.TransferSyntaxUID)}; correct the header or export the image again"
        )
    halved = layout.samples > 1 and texts_of(dataset, "PhotometricInterpretation")[:1] == ["YBR_FULL_422"]
    samples = 2 if halved else layout.samples  # two pixels share their color differences
    needed = layout.rows * layout.columns * samples * layout.allocated // 8
    if length < needed:
        raise ImageError(
            f"{name}: Pixel Data holds {length} bytes, but {layout.columns} x {layout.rows} pixels "
            f"take {needed}: the file is truncated or its header is wrong; send the image again"
        )


def _unreadable(frame: bytes, name: str) -> ImageError:
    return ImageError(
        f"{name}: the compressed image has no readable header ({len(frame)} bytes): the file is "
        "damaged or truncated, so send the image again"
    )


def _read_codestream(frame: bytes, layout: Layout, name: str) -> Codestream:
    """Read the header of a compressed image; refuse one that the DICOM header does not describe."""
    inside = read_codestream(frame)
    if inside is None:
        raise _unreadable(frame, name)
    same_size = (inside.height, inside.width) == (layout.rows, layout.columns)
    if not same_size or inside.samples != layout.samples or not 1 < inside.precision <= layout.allocated:
        raise ImageError(
            f"{name}: the header says {layout.columns} x {layout.rows} pixels of {layout.samples} x "
            f"{layout.allocated} bits, the compressed image {inside.width} x {inside.height} of "
            f"{inside.samples} x {inside.precision}; export the image again from its source"
        )
    return inside
