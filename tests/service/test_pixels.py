"""The pixel answer: what the page's viewer gets of a file."""

import gzip
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.helpers.dicom_writing import every_value, written
from thorax.imaging import read_radiograph

VALUES = np.random.default_rng(5).integers(0, 4096, (80, 90), dtype=np.uint16)


def deep_png():
    file = io.BytesIO()
    Image.fromarray(VALUES * 16).save(file, "PNG")
    return file.getvalue()


def read(body):
    """Read an answer as the page does, but slowly: the facts, one gray for each value, and the values."""
    line, _, rest = body.partition(b"\n")
    facts = json.loads(line)
    grays, stored = rest[: facts["grays"]], rest[facts["grays"] :]
    rows, columns, size = facts["rows"], facts["columns"], facts["bytes"]
    assert len(stored) == rows * columns * size
    values = np.zeros((rows, columns), int)
    for row in range(rows):
        for column in range(columns):
            at = row * columns + column
            if facts["coding"] == "raw":
                values[row, column] = int.from_bytes(stored[size * at : size * (at + 1)], "little")
            else:
                step = sum(stored[rows * columns * byte + at] << 8 * byte for byte in range(size))
                left = values[row, column - 1] if column else 0
                values[row, column] = (left + step) % 256**size
    return facts, np.frombuffer(grays, np.uint8), values


FILES = {
    "png": lambda images: images["00.png"],
    "deep png": lambda _: deep_png(),
    "jpeg": lambda images: images["30.jpg"],
    "dicom": lambda _: written(
        VALUES, bits=12, PhotometricInterpretation="MONOCHROME1", WindowCenter=1800, WindowWidth=900
    ),
    "signed dicom": lambda _: written(every_value(np.int16, bits=12), bits=12, PatientOrientation="L\\F"),
}


@pytest.mark.parametrize("kind", FILES)
def test_values_and_grays_give_the_radiograph(local, images, kind):
    content = FILES[kind](images)
    expected = read_radiograph(content, name="x").pixels
    gray = expected if expected.dtype == np.uint8 else np.round(expected / 257).astype(np.uint8)
    raw = local.post("/v1/pixels", content)
    assert (raw.status, raw.headers["content-type"]) == (200, "application/octet-stream")
    packed = local.post("/v1/pixels?packed=true", content)
    assert packed.headers["content-encoding"] == "gzip"
    for body in (raw.body, gzip.decompress(packed.body)):
        facts, grays, values = read(body)
        assert np.array_equal(grays[values], gray)
        assert (facts["rows"], facts["columns"]) == expected.shape


def test_the_facts_are_those_of_the_file(local, images):
    facts, _, _ = read(local.post("/v1/pixels", FILES["dicom"](images)).body)
    assert facts["window"] == {"center": 1800.0, "width": 900.0, "function": "LINEAR"}
    assert (facts["inverted"], facts["orientation"], facts["bits"]) == (True, None, 12)
    assert facts["intensity"] == "VOI window 1 (linear), inverted"
    facts, _, values = read(local.post("/v1/pixels", FILES["signed dicom"](images)).body)
    assert facts["orientation"] == ["L", "F"]
    assert np.array_equal(facts["slope"] * values + facts["intercept"], every_value(np.int16, bits=12))


def test_a_file_that_cannot_be_read_has_no_pixels(local):
    answer = local.post("/v1/pixels", b"%PDF-1.7 of Doe^Jane")
    assert (answer.status, answer.json["error"]) == (400, "UnsupportedImage")
    assert answer.json["message"].startswith("the file is a PDF document")
