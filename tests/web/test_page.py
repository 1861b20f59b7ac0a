"""The page without a service in a real browser: predictions, gate, maps, downloads, and without a network."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.page import expect, faults_by_state, settled, shown, upload
from tests.helpers.service import GOLDEN
from tests.web.conftest import Static
from thorax import starter as starter_bundle
from thorax.imaging import read_radiograph
from thorax.inference.gate import check
from thorax.service.answers import explain_upload
from thorax.web import write_site

pytestmark = pytest.mark.slow

IMAGES = [image.path for image in starter_bundle.test_images()]

_PREDICT = """async (content) => {
  const { predict, explain } = await import("/service.js");
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const file = new File([bytes], "it");
  try {
    const prediction = await predict(file);
    const names = Object.keys(prediction.findings);
    const maps = await Promise.all(names.map((name) => explain(file, name)));
    return { prediction, maps: Object.fromEntries(names.map((name, at) => [name, maps[at]])) };
  } catch (error) {
    return { refused: error.message, held: error.held };
  }
}"""


def predicted(tab, content):
    return tab.evaluate(_PREDICT, base64.b64encode(content).decode())


def agree(found, model, content):
    """Compare a prediction with that of Python: probabilities, calls, warnings, and every map."""
    expected = model.predict(content).as_json()
    prediction = found["prediction"]
    for name, finding in expected["findings"].items():
        other = prediction["findings"][name]
        assert other["probability"] == pytest.approx(finding["probability"], abs=1e-3)
        rest = [
            {key: value for key, value in one.items() if key != "probability"} for one in (other, finding)
        ]
        assert rest[0] == rest[1]
    for key in ("operating_point", "model", "warnings"):
        assert prediction[key] == expected[key]
    radiograph = read_radiograph(content)
    assert prediction["image"]["sha256"] == radiograph.pixels_sha256()
    for name in expected["findings"]:
        same_map(found["maps"][name], explain_upload(model, radiograph, name, picture=False))


def same_map(found, expected):
    assert found["method"] == expected["method"]
    assert found["highest"] == pytest.approx(expected["highest"], abs=1e-4)
    # Other methods need weights, which a browser does not have.
    assert found["notes"] == [note.removesuffix("; try method layer-cam") for note in expected["notes"]]
    for name in ("place", "box"):
        assert found[name] == (None if expected[name] is None else pytest.approx(expected[name], abs=0.1))
    one, other = found["map"], expected["map"]
    assert (one["rows"], one["columns"], one["unit"], one["colors"]) == tuple(
        other[key] for key in ("rows", "columns", "unit", "colors")
    )
    assert one["scale"] == pytest.approx(other["scale"], abs=1e-4)
    assert np.allclose(values(one), values(other), atol=1e-3)
    assert len(one["contour"]) == len(other["contour"])
    if one["contour"]:
        points = [np.concatenate([np.array(line) for line in map_["contour"]]) for map_ in (one, other)]
        apart = np.hypot(*(points[0][:, None] - points[1][None]).transpose(2, 0, 1))
        assert max(apart.min(axis=0).max(), apart.min(axis=1).max()) < 0.5


def values(described):
    numbers = np.frombuffer(base64.b64decode(described["values"]), "<u2")
    return np.where(
        numbers == 0,
        0,
        described["least"] + (numbers - 1.0) * (described["most"] - described["least"]) / 65534,
    )


@pytest.fixture(scope="module")
def golden(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden") / "site"
    write_site(GOLDEN / "run", folder, runtime=archive)
    static = Static(folder)
    yield static
    static.close()


def test_the_starter_predicts_and_explains_as_python_does(opened, site, starter):
    tab = opened(site, model="starter")
    for path in IMAGES:
        agree(predicted(tab, path.read_bytes()), starter, path.read_bytes())


def test_another_bundle_predicts_as_python_does(opened, golden, model):
    tab = opened(golden)
    for path in sorted((GOLDEN / "source").glob("*.*g"))[:6]:
        agree(predicted(tab, path.read_bytes()), model, path.read_bytes())


def test_click_an_example_and_see_findings_and_a_map(opened, site, starter):
    tab = opened(site, model="starter")
    expect(tab.locator("#drop-hint")).to_contain_text("Images stay in this browser")
    tab.get_by_role("button", name=starter_title()).click()
    expect(tab.locator(".case")).to_have_count(1)  # it is fetched before it is listed
    (case,) = settled(tab)
    expected = starter.predict(starter_bundle.test_images()[0].path)
    called = sum(finding.decision == "yes" for finding in expected)
    assert case[1].startswith(f"{called} called")
    tab.locator("button.finding").first.click()
    expect(tab.locator("#legend-text")).to_contain_text("(cam)")
    expect(tab.locator("#map-text")).to_contain_text("The map shows what the model used")
    tab.get_by_role("button", name="About starter").click()
    expect(tab.locator("#about-facts")).to_contain_text("onnxruntime-web 1.30.0, float32, in this browser")
    tab.locator("#card-open").click()
    expect(tab.locator("#card-text")).to_contain_text("Intended use")


def starter_title():
    return re.compile(re.escape(starter_bundle.test_images()[0].title))


def test_the_viewer_shows_the_pixels_that_the_service_shows(opened, site):
    tab = opened(site, model="starter")
    upload(tab, {"name": "a.png", "mimeType": "image/png", "buffer": IMAGES[0].read_bytes()})
    tab.get_by_role("button", name="One to one").click()
    picture = shown(tab)[..., 0]
    pixels = read_radiograph(IMAGES[0]).pixels
    rows = min(len(picture), len(pixels)) // 2
    middle, own = len(picture) // 2, len(pixels) // 2
    left, start = picture.shape[1] // 2 - 50, pixels.shape[1] // 2 - 50
    part = picture[middle - rows : middle + rows, left : left + 100]
    assert np.array_equal(part, pixels[own - rows : own + rows, start : start + 100])


def test_the_gate_holds_back_and_the_page_says_why(opened, site, starter):
    tab = opened(site, model="starter")
    turned = np.ascontiguousarray(np.rot90(read_radiograph(IMAGES[0]).pixels))
    content = as_png(turned)
    (case,) = upload(tab, {"name": "turned.png", "mimeType": "image/png", "buffer": content})
    assert case[1] == "held back"
    expect(tab.locator("#failure-text")).to_contain_text("turned by 90 degrees")
    expect(tab.locator("#viewer")).to_be_visible()
    gate = starter.predictor.gate
    least, scores = gate.section.least_upright, check(gate, read_radiograph(content)).scores
    upright, likeness = tab.locator("#failure-measured li").all_inner_texts()
    assert upright == (
        f"Upright frontal chest radiograph: no (score −{-scores['upright']:.1f}; {least:.1f} or more passes)"
    )
    assert f"(distance {scores['unlike']:.3f}; up to {gate.section.most_unlike:.3f} is usual" in likeness


def test_each_failure_has_its_reason_and_no_file_stops_the_others(opened, site):
    tab = opened(site, model="starter")
    files = [
        {"name": "no.txt", "mimeType": "text/plain", "buffer": b"hello"},
        {"name": "half.png", "mimeType": "image/png", "buffer": IMAGES[0].read_bytes()[:9000]},
        {"name": "good.png", "mimeType": "image/png", "buffer": IMAGES[0].read_bytes()},
    ]
    states = dict(case[:2] for case in upload(tab, *files))
    assert states["no.txt"] == states["half.png"] == "not read"
    assert "called" in states["good.png"]
    tab.get_by_role("button", name=re.compile("half.png")).click()
    expect(tab.locator("#failure-text")).to_contain_text("The PNG file is truncated")


def test_downloads_name_the_model(opened, site, starter):
    tab = opened(site, model="starter")
    upload(tab, {"name": "a.png", "mimeType": "image/png", "buffer": IMAGES[0].read_bytes()})
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Findings as JSON").click()
    (image,) = json.loads(Path(download.value.path()).read_text())["images"]
    assert image["origin"]["bundle_sha256"] == starter.bundle.sha256
    assert image["findings"].keys() == {finding.finding.name for finding in starter.predict(IMAGES[0])}


def test_it_works_without_a_network_after_the_first_load_and_sends_nothing(opened, site):
    tab = opened(site, model="starter")
    tab.evaluate("async () => { await navigator.serviceWorker.ready; }")
    tab.context.set_offline(True)
    tab.reload()
    tab.get_by_role("button", name="About starter").wait_for()
    site.requests.clear()
    (case,) = upload(tab, {"name": "a.png", "mimeType": "image/png", "buffer": IMAGES[0].read_bytes()})
    assert "called" in case[1]
    tab.locator("button.finding").first.click()
    expect(tab.locator("#legend-text")).to_contain_text("(cam)")
    assert site.requests == []


def test_what_the_first_answer_needs_is_named_in_the_page_and_fetched_once(opened, site):
    page = (site.folder / "index.html").read_text()
    named = re.findall(r'<link rel="(?:modulepreload|preload)"[^>]* href="([^"]+)"', page)
    tab = opened(site, model="starter")
    upload(tab, {"name": "a.png", "mimeType": "image/png", "buffer": IMAGES[0].read_bytes()})
    fetched = tab.evaluate(
        """performance.getEntriesByType("resource").map(({ name }) => name.slice(document.baseURI.length))"""
    )
    computing = [name for name in fetched if not name.endswith((".png", ".svg", ".css")) and ":" not in name]
    assert sorted(computing) == sorted(named)


def test_no_request_carries_anything(opened, site):
    sent = []
    tab = opened(site, model="starter")
    tab.on("request", lambda request: sent.append((request.method, request.post_data)))
    upload(tab, {"name": "a.png", "mimeType": "image/png", "buffer": IMAGES[0].read_bytes()})
    tab.locator("button.finding").first.click()
    expect(tab.locator("#legend-text")).to_contain_text("(cam)")
    assert set(sent) <= {("GET", None)}
    assert {method for method, _ in site.requests} == {"GET"}
    # What is not of the site cannot be reached, whatever a script tries.
    assert (
        tab.evaluate(
            "fetch('http://127.0.0.1:9/', {method: 'POST', body: 'x'}).then(() => 'sent', () => 'refused')"
        )
        == "refused"
    )
    assert tab.evaluate("window.violations.splice(0)") == ["connect-src"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_no_serious_fault(opened, site, tmp_path, scheme, width):
    bad = tmp_path / "letter.pdf"
    bad.write_bytes(b"%PDF-1.7")
    look = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}, "reduced_motion": "reduce"}
    tab = opened(site, model="starter", **look)
    faults = faults_by_state(tab, IMAGES[:2], bad)
    assert faults == {state: [] for state in faults}


def as_png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
