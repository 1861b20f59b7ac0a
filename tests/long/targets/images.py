"""PNG, JPEG and DICOM files."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGLSLossless, RLELossless

from tests.helpers.dicom_writing import dataset, to_bytes
from tests.long.targets.case import Context, Reader, tried
from thorax.imaging import prepare, read_radiograph
from thorax.recipe.schema import Preparation


def write_samples(folder: Path) -> None:
    """Write images of 72 by 64 pixels of every format that is read."""
    draws = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(72) * 20, np.arange(64) * 30) + draws.integers(0, 200, (72, 64))
    twelve = np.clip(smooth, 0, 4095).astype(np.uint16)
    eight = (twelve >> 4).astype(np.uint8)
    color = np.stack([eight] * 3, axis=-1)
    for name, pixels in (("gray", eight), ("color", color), ("sixteen", twelve * 16)):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    Image.fromarray(eight).convert("P").save(folder / "palette.png")
    for name, pixels, settings in (
        ("gray", eight, {}),
        ("color", color, {"progressive": True}),
        ("restart", eight, {"restart_marker_blocks": 2}),
    ):
        Image.fromarray(pixels).save(folder / f"{name}.jpg", **settings)
    (folder / "plain.dcm").write_bytes(
        to_bytes(dataset(twelve, bits=12, WindowCenter=2000, WindowWidth=3000))
    )
    (folder / "color.dcm").write_bytes(to_bytes(dataset(color, bits=8)))
    (folder / "bare.dcm").write_bytes(
        to_bytes(dataset(twelve, bits=12), preamble=False, implicit_vr=False, little_endian=True)
    )
    for name, syntax, ratios in (
        ("jpeg2000", JPEG2000Lossless, None),
        ("jpeg2000-lossy", JPEG2000, [8]),
        ("jpegls", JPEGLSLossless, None),
        ("rle", RLELossless, None),
    ):
        packed = dataset(twelve, bits=12)
        packed.compress(syntax, **({"j2k_cr": ratios} if ratios else {}))
        (folder / f"{name}.dcm").write_bytes(to_bytes(packed))
    stream = io.BytesIO()
    Image.fromarray(eight).save(stream, "jpeg")
    _write_jpeg_dicom(folder / "jpeg.dcm", eight, stream.getvalue())


def _write_jpeg_dicom(path: Path, pixels: np.ndarray, content: bytes) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    packed = dataset(pixels, bits=8)
    packed.PixelData = encapsulate([content])
    packed["PixelData"].is_undefined_length = True
    packed.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    path.write_bytes(to_bytes(packed))


def run(context: Context, number: int) -> tuple[dict[str, str], bytes]:
    """Read a case: a task of a `DecodePool`."""
    return tried(context, number, _read), b""


def _read(sample: str) -> tuple[str, Reader]:
    return sample, lambda path: prepare(read_radiograph(path), Preparation(size=32))
