"""Files that crash or stop a decoder, made by code.

`DAMAGED` did so with GDCM, OpenJPEG and CharLS before our own checks refused or mended them. The files of
`HOSTILE` do so in the processes that `faulty_decoders` gives a faulty decoder.
"""

import io
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

from tests.helpers.dicom_writing import dataset, jpeg_lossless, to_bytes
from thorax.imaging import decoders

__all__ = ["DAMAGED", "HOSTILE", "crashes_gdcm", "faulty_decoders", "gray", "jpeg", "jpeg_dicom"]

_FAULTY = Path(__file__).with_name("faulty")

_JFIF_VERSION_2 = b"\xff\xe0\x00\x10JFIF\0\x02\x01\0\0\x01\0\x01\0\0"


def gray(height=72, width=80, *, seed=0):
    """Return an image of 8 bits without two equal ones."""
    smooth = np.add.outer(np.arange(height) * 100 // height, np.arange(width) * 100 // width)
    return (smooth + np.random.default_rng(seed).integers(0, 40, (height, width))).astype(np.uint8)


def jpeg(height=72, width=80, *, seed=0):
    """Return a JPEG file."""
    stream = io.BytesIO()
    Image.fromarray(gray(height, width, seed=seed)).save(stream, "JPEG")
    return stream.getvalue()


def _compressed(syntax, change):
    """Return a DICOM file whose codestream was changed."""
    ds = dataset(gray(), bits=8)
    ds.compress(syntax)
    return _with_frame(ds, change(next(generate_frames(ds.PixelData, number_of_frames=1))))


def _with_frame(ds, frame):
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    ds["PixelData"].is_undefined_length = True
    return to_bytes(ds)


def jpeg_dicom(height=72, width=80):
    """Return a sound DICOM file that holds a JPEG."""
    ds = dataset(gray(height, width), bits=8)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return _with_frame(ds, jpeg(height, width))


def hangs_in_jpeg_2000():
    """A JP2 box of length 0 in front of the codestream: OpenJPEG reads it for ever."""

    def boxed(codestream):
        header = b"\0\0\0\x16ihdr" + bytes([0, 0, 0, 72, 0, 0, 0, 80, 0, 1, 7, 7, 0, 0])
        color = b"\0\0\0\x0fcolr\x01\0\0\0\0\0\x11"
        start = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
        length = (len(codestream) + 8).to_bytes(4, "big")
        return start + b"\0\0\0\0jp2h" + header + color + length + b"jp2c" + codestream

    return _compressed(JPEG2000Lossless, boxed)


def hangs_in_jpeg_ls():
    """JPEG-LS that ends early."""
    return _compressed(JPEGLSLossless, lambda codestream: codestream[:-100])


def crashes_gdcm():
    """JPEG lossless with a JFIF segment of a version that GDCM does not know: it ends the process."""
    ds = dcmread(io.BytesIO(jpeg_lossless(to_bytes(dataset(gray(), bits=8)))))
    codestream = next(generate_frames(ds.PixelData, number_of_frames=1))
    return _with_frame(ds, codestream[:2] + _JFIF_VERSION_2 + codestream[2:])


DAMAGED = {
    "crash.dcm": crashes_gdcm,
    "hang-2000.dcm": hangs_in_jpeg_2000,
    "hang-ls.dcm": hangs_in_jpeg_ls,
}
HOSTILE = {"crash.jpg": lambda: jpeg(101, 97), "hang.jpg": lambda: jpeg(97, 101)}


@contextmanager
def faulty_decoders():
    """Give the decode processes that start in the meantime, and those of programs, a faulty decoder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(_FAULTY)
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(filter(None, [str(_FAULTY), os.environ.get("PYTHONPATH")]))
        )
        _end_decoders()
        yield
    _end_decoders()


def _end_decoders():
    for process in list(decoders._decoders._all):
        process.close()
