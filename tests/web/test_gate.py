"""The input gate in the browser says what it says in Python, of pictures, turned copies and headers."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.helpers.dicom_writing import written
from tests.helpers.service import GOLDEN
from thorax import starter as starter_bundle
from thorax.imaging import read_radiograph
from thorax.inference.gate import check
from thorax.service.answers import describe_gate

_CHECK = """async (content) => {
  const [{ readRadiograph }, { besideLimits, check }, { readTensors }] = await Promise.all(
    ["reading", "gate", "safetensors"].map((name) => import(`/library/${name}.js`)));
  const model = await (await fetch("/model/model.json")).json();
  const numbers = readTensors(await (await fetch("/model/gate.safetensors")).arrayBuffer());
  const rules = async () => (await fetch("/model/rules.json")).json();
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const gate = { fit: model.preparation.fit, section: model.gate, numbers };
  const { reasons, text, refused, scores } = check(gate, await readRadiograph(bytes, rules));
  return { reasons, text, refused, measured: besideLimits(model.gate, scores) };
}"""


@pytest.fixture(scope="module")
def answered(browser, pages):
    tab = browser.new_page()
    tab.goto(pages.address)
    yield lambda content: tab.evaluate(_CHECK, base64.b64encode(content).decode())
    tab.close()


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pictures():
    """Radiographs, each as it is, turned, inverted and mirrored; and what is none."""
    for image in starter_bundle.test_images():
        pixels = read_radiograph(image.path).pixels
        yield from ((f"{image.title} turned {turns}", np.rot90(pixels, turns)) for turns in range(4))
        yield f"{image.title} inverted", 255 - pixels
        yield f"{image.title} inverted and turned", 255 - np.rot90(pixels)
        yield f"{image.title} mirrored", pixels[:, ::-1]
        yield f"{image.title} cropped", pixels[: len(pixels) // 3]
    rng = np.random.default_rng(3)
    yield "noise", rng.integers(0, 256, (300, 200)).astype(np.uint8)
    yield "black", np.zeros((100, 100), np.uint8)
    yield "narrow", rng.integers(100, 110, (100, 100)).astype(np.uint8)
    yield "gradient", np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    color = np.asarray(Image.open(GOLDEN / "source" / "00.png").convert("RGB")).copy()
    color[:40, :, 0] = 255
    yield "color", color


PICTURES = dict(pictures())


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(answered, starter, name):
    content = png(np.ascontiguousarray(PICTURES[name]))
    same(answered(content), read_radiograph(content), starter.predictor.gate)


def test_the_kinds_of_reasons_occur(starter):
    codes = {
        reason.code
        for pixels in PICTURES.values()
        for reason in check(starter.predictor.gate, read_radiograph(np.ascontiguousarray(pixels))).reasons
    }
    assert codes >= {"no-contrast", "color", "turned-90", "turned-180", "turned-270", "inverted"}
    assert codes & {"not-a-chest-radiograph", "unlike-training"}


HEADERS = (
    {"PatientAge": "004Y"},
    {"PatientAge": "099Y"},
    {"PatientAge": "050Y"},
    {"StudyDescription": "Hand links", "BodyPartExamined": None},
    {"StudyDescription": "Hand links"},
    {"ViewPosition": "LL"},
)


@pytest.mark.parametrize("header", HEADERS, ids=json.dumps)
def test_headers(answered, starter, header):
    content = written(read_radiograph(starter_bundle.test_images()[0].path).pixels, bits=8, **header)
    same(answered(content), read_radiograph(content), starter.predictor.gate)


def same(found, radiograph, gate):
    expected = check(gate, radiograph)
    measured = describe_gate(gate, expected.scores)
    assert found["measured"] == (measured and {name: near(limits) for name, limits in measured.items()})
    assert (found["text"], found["refused"]) == (expected.text, expected.refused)
    assert [reason["code"] for reason in found["reasons"]] == [reason.code for reason in expected.reasons]
    for one, other in zip(found["reasons"], expected.reasons, strict=True):
        assert (one["text"], one["level"]) == (other.text, other.level)
        assert one["score"] == (None if other.score is None else pytest.approx(other.score, abs=2e-3))
        assert one["limit"] == other.limit


def near(limits):
    return limits | {"score": pytest.approx(limits["score"], abs=2e-3)}
