"""What the service answers is what the library computes, to the last digit."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

import thorax
from tests.helpers.dicom_writing import written
from tests.helpers.service import GOLDEN, multipart
from thorax.bundle.writing import copy_bundle
from thorax.errors import DataError, ImageError
from thorax.explain.overlay import Scale, color_table, drawn
from thorax.explain.radiograph import Explained
from thorax.findings import NIH14
from thorax.imaging import read_radiograph
from thorax.inference.gate import check
from thorax.rates import FindingRates, MeasuredRates, Share
from thorax.service.answers import describe_gate
from thorax.service.map_values import map_values
from thorax.service.meaning import describe_findings
from thorax.starter import test_images as starter_images


@pytest.fixture(scope="module")
def dicom(images):
    return written(np.asarray(Image.open(io.BytesIO(images["00.png"])).convert("L")), bits=8)


def by_library(model, content):
    answer = model.predict(content).as_json()
    gate = model.predictor.gate
    measured = describe_gate(gate, check(gate, read_radiograph(content)).scores)
    return answer | {"source": "<upload>", "gate": measured}


def decoded(picture):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))


def test_png_jpeg_and_dicom_are_predicted_as_by_the_library(local, model, images, dicom):
    contents = [images["00.png"], images["30.jpg"], images["37.png"], dicom]
    assert len({json.dumps(by_library(model, content)) for content in contents[:3]}) == 3
    for content in contents:
        answer = local.post("/v1/predict", content)
        assert answer.status == 200
        assert answer.json == by_library(model, content)


def test_a_form_is_predicted_as_the_file_in_it(local, model, images):
    body, kind = multipart(images["01.png"], filename="Doe^Jane.png", field="whatever")
    answer = local.post("/v1/predict", body, **{"Content-Type": kind})
    assert answer.json == by_library(model, images["01.png"])


def test_the_picture_is_the_radiograph_in_small(local, images, dicom):
    for content in (images["00.png"], dicom):
        image = local.post("/v1/predict?picture=true", content).json["image"]
        radiograph = read_radiograph(content)
        assert (image["rows"], image["columns"]) == radiograph.pixels.shape
        assert np.array_equal(decoded(image["picture"]), drawn(radiograph.pixels, largest=128)[:, :, 0])
    assert local.post("/v1/predict?picture=true", dicom).json["image"]["view"] == ""


def test_a_large_radiograph_is_shown_reduced(local):
    (content,) = (image.path.read_bytes() for image in starter_images() if "Mass" in image.labels)
    enlarged = Image.open(io.BytesIO(content)).resize((2048, 1536))
    file = io.BytesIO()
    enlarged.save(file, "PNG")
    image = local.post("/v1/predict?picture=true", file.getvalue()).json["image"]
    assert (image["rows"], image["columns"]) == (1536, 2048)
    assert decoded(image["picture"]).shape == (96, 128)


def test_the_map_is_the_librarys(local, model, images):
    for finding in model.findings:
        answer = local.post(f"/v1/explain?finding={finding.name}", images["02.png"]).json
        explanation = model.explain(images["02.png"], finding)
        expected = explanation.map
        assert (answer["finding"], answer["method"]) == (finding.name, "cam")
        assert answer["highest"] == expected.highest
        assert answer["place"] == (None if expected.place is None else list(expected.place))
        assert answer["box"] == (None if expected.box is None else list(expected.box))
        assert answer["notes"] == list(explanation.notes)
        scale = Scale(expected.mean if expected.place is None else 0.0, expected.highest)
        assert answer["map"]["scale"] == {
            "low": scale.low, "high": scale.high, "relative": expected.place is None,
        }  # fmt: skip
        picture = drawn(
            explanation.radiograph.pixels, expected.attribution, opacity=0.6, largest=1024, scale=scale
        )
        assert np.array_equal(decoded(answer["picture"]), picture)
        plain = local.post(f"/v1/explain?finding={finding.name}&picture=false", images["02.png"]).json
        assert plain == {name: value for name, value in answer.items() if name != "picture"}


def test_the_values_of_a_map_are_the_librarys(of_starter):
    model = thorax.load()
    (large,) = (image.path.read_bytes() for image in starter_images() if "Mass" in image.labels)
    file = io.BytesIO()
    Image.open(io.BytesIO(large)).resize((900, 600)).save(file, "PNG")
    for content, shape in ((large, (256, 256)), (file.getvalue(), (171, 256))):
        answer = of_starter.post("/v1/explain?finding=Effusion&picture=false", content).json["map"]
        attribution = model.explain(content, "Effusion").map.attribution
        rows, columns = answer["rows"], answer["columns"]
        assert (rows, columns) == shape
        numbers = np.frombuffer(base64.b64decode(answer["values"]), "<u2").reshape(rows, columns)
        values = answer["least"] + (numbers - 1.0) * (answer["most"] - answer["least"]) / 65534
        expected = np.asarray(
            Image.fromarray(attribution.astype(np.float32)).resize((columns, rows), Image.Resampling.BOX)
        )
        assert np.abs(values - expected).max() <= (answer["most"] - answer["least"]) / 65534
        assert base64.b64decode(answer["colors"]) == np.round(color_table() * 255).astype(np.uint8).tobytes()
        # The contour is where the values are half of the scale.
        low, high = answer["scale"]["low"], answer["scale"]["high"]
        points = np.concatenate([np.array(line) for line in answer["contour"]])
        height, width = attribution.shape
        x = np.clip(points[:, 0] * columns / width - 0.5, 0, columns - 1)
        y = np.clip(points[:, 1] * rows / height - 0.5, 0, rows - 1)
        between = map_coordinates(expected.astype(np.float64), [y, x], order=1)
        assert between == pytest.approx((low + high) / 2, abs=0.02 * (high - low))


def test_places_that_the_network_did_not_see_have_no_value():
    attribution = np.full((4, 6), np.nan, dtype=np.float32)
    attribution[:, 1:5] = np.arange(16).reshape(4, 4) / 5
    explained = Explained(
        finding=NIH14[0],
        method="cam",
        attribution=attribution,
        highest=3.0,
        mean=1.5,
        place=(4.0, 3.0),
        box=None,
    )
    numbers = np.frombuffer(base64.b64decode(map_values(explained)["values"]), "<u2").reshape(4, 6)
    assert np.array_equal(numbers == 0, np.isnan(attribution))
    assert (numbers[0, 1], numbers[3, 4]) == (1, 65535)


def test_findings_differ_in_their_maps(local, images):
    names = ("Effusion", "Infiltration", "Mass")
    answers = [local.post(f"/v1/explain?finding={name}", images["02.png"]).json for name in names]
    assert len({answer["highest"] for answer in answers}) == 3
    shown = drawn(read_radiograph(images["02.png"]).pixels, largest=1024)
    for answer in answers:
        # Without a value above 0 it is drawn as well, relative to its own mean.
        assert not np.array_equal(decoded(answer["picture"]), shown)
        assert (answer["highest"] <= 0) == (answer["place"] is None) == answer["map"]["scale"]["relative"]
    assert {answer["place"] is None for answer in answers} == {True, False}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"hello", b"%PDF-1.7", (GOLDEN / "source" / "00.png").read_bytes()[:200],
        (GOLDEN / "source" / "30.jpg").read_bytes()[:300], b"\x00" * 128 + b"DICM" + b"\xff" * 64,
    ],
)  # fmt: skip
def test_a_bad_file_gets_the_librarys_reason(local, content):
    with pytest.raises(ImageError) as refusal:
        read_radiograph(content, name="x")
    for path in ("/v1/predict", "/v1/explain?finding=Mass"):
        answer = local.post(path, content)
        assert answer.status == 400
        message = str(refusal.value).removeprefix("x: ")
        assert answer.json == {"error": type(refusal.value).__name__, "message": message}


def test_a_finding_that_the_model_does_not_predict(local, model, images):
    with pytest.raises(DataError) as refusal:
        model.explain(images["00.png"], "Efusion")
    answer = local.post("/v1/explain?finding=Efusion", images["00.png"])
    assert (answer.status, answer.json["message"]) == (400, str(refusal.value))
    missing = local.post("/v1/explain", images["00.png"])
    assert (missing.status, missing.json["error"]) == (422, "BadRequest")
    assert missing.json["message"].startswith("the request lacks `finding`")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (multipart(b"x")[0][:-20], "damaged"),
        (b"hello", "damaged"),
        (b'--bound\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--bound--\r\n', "no file"),
    ],
)
def test_a_form_without_one_file(local, body, message):
    answer = local.post("/v1/predict", body, **{"Content-Type": "multipart/form-data; boundary=bound"})
    assert (answer.status, answer.json["error"]) == (400, "BadForm")
    assert message in answer.json["message"]


def test_a_form_without_its_boundary(local):
    answer = local.post("/v1/predict", multipart(b"x")[0], **{"Content-Type": "multipart/form-data"})
    assert (answer.status, answer.json["error"]) == (400, "BadForm")


def test_the_model_says_what_it_is(local, public, model):
    facts = local.get("/v1/models").json
    (described,) = facts["models"]
    assert described["name"] == model.name == "small-cpu"
    assert described["bundle_sha256"] == model.bundle.sha256
    assert [finding["name"] for finding in described["findings"]] == ["Effusion", "Infiltration", "Mass"]
    first, second, third, last = described["origin"]
    assert described["statement"] == ""
    assert first.startswith("Trained by the recipe small-cpu on golden, train part of folder-official (")
    assert second.startswith("Its probabilities are calibrated on the val part of folder-official (")
    assert third.startswith("Its thresholds were chosen by the rule f1-optimal on the val part")
    assert last.startswith("The bundle does not say how well it works")
    assert (facts["public"], facts["max_bytes"]) == (False, 200_000_000)
    assert (public.get("/v1/models").json["public"], public.get("/v1/models").json["max_bytes"]) == (
        True,
        20_000_000,
    )
    assert local.get("/v1/models/small-cpu/card").body.decode() == str(model.card())
    assert local.get("/health/live").json == local.get("/health/ready").json == {"status": "ok"}


def test_the_model_says_how_often_its_calls_are_right(local, of_starter):
    described = of_starter.get("/v1/models").json["models"][0]
    manifest = thorax.load().bundle.manifest
    measured = manifest.operating_points.measured
    for finding in described["findings"]:
        rates = measured.findings[finding["name"]].model_dump(mode="json")
        assert {name: finding[name] for name in ("sensitivity", "specificity")} == rates
        share = manifest.statement.prevalence[finding["name"]]
        assert finding["prevalence"] == {"value": share, "images": "training"}
    assert described["rates"] == {"measured_on": str(measured.measured_on), "chose_thresholds": True}
    # A bundle of before has none.
    golden = local.get("/v1/models").json["models"][0]
    assert golden["rates"] is None
    for finding in golden["findings"]:
        assert [finding[name] for name in ("sensitivity", "specificity", "prevalence")] == [None] * 3


def test_the_prevalence_is_that_of_the_images_that_calibrated(model, tmp_path):
    share = Share(value=0.5, low=0.1, high=0.9, matching=1, images=2, patients=2)
    others = share.model_copy(update={"images": 6})
    manifest = model.bundle.manifest
    fitted = manifest.calibration.fitted_on
    rates = {"Mass": FindingRates(sensitivity=share, specificity=others)}
    points = manifest.operating_points.model_copy(
        update={"measured": MeasuredRates(findings=rates, measured_on=fitted)}
    )
    changed = manifest.model_copy(update={"format": 2, "operating_points": points})
    rated = thorax.load(copy_bundle(model.bundle, tmp_path / "rated", manifest=changed))
    described = {finding["name"]: finding for finding in describe_findings(rated)}
    assert described["Mass"]["prevalence"] == {"value": 0.25, "images": "validation"}
    assert described["Effusion"]["prevalence"] is None


def test_the_images_to_try_are_those_of_the_package(local):
    offered = local.get("/v1/models").json["test_images"]
    for image, expected in zip(offered, starter_images(), strict=True):
        assert (image["name"], image["title"]) == (expected.path.name, expected.title)
        # It is another model than the starter, so nothing is known about what it was trained on.
        assert image["note"] == f"NIH ChestX-ray14, {expected.nih_image}."
        served = local.get(f"/test-images/{image['name']}")
        assert (served.headers["content-type"], served.body) == ("image/png", expected.path.read_bytes())
    assert "provided by the NIH Clinical Center" in local.get("/test-images/README.txt").body.decode()


def test_the_starter_says_what_it_is(of_starter):
    model = thorax.load()
    facts = of_starter.get("/v1/models").json
    assert facts["models"][0]["statement"] == model.statement
    assert model.statement.endswith("for trying Thorax, not for reading")
    assert facts["models"][0]["origin"][:4] == list(model.bundle.manifest.stated_in_full)
    seen = " The starter was trained on this image: an example, not a measurement."
    for offered, image in zip(facts["test_images"], starter_images(), strict=True):
        assert (
            offered["note"].removeprefix(f"NIH ChestX-ray14, {image.nih_image}.")
            == seen * image.seen_by_starter
        )
        answer = of_starter.post("/v1/predict", image.path.read_bytes()).json
        assert answer == by_library(model, image.path.read_bytes())
        assert answer["gate"]["upright"]["score"] > answer["gate"]["upright"]["refused_below"]
        assert bool(answer["warnings"]) == image.seen_by_starter
        assert all(finding["prevalence"] > 0 for finding in answer["findings"].values())


def form_of(*contents):
    """Return a form with several files."""
    return (
        b"".join(multipart(content)[0].removesuffix(b"--bound--\r\n") for content in contents)
        + b"--bound--\r\n"
    )


FORM = {"Content-Type": "multipart/form-data; boundary=bound"}


def test_several_files_are_answered_in_their_order_and_one_that_fails_stops_no_other(local, model, images):
    contents = [images["00.png"], b"hello", images["30.jpg"], images["00.png"]]
    answer = local.post("/v1/predict", form_of(*contents), **FORM)
    assert answer.status == 200
    first, second, third, fourth = answer.json["images"]
    for number, (content, found) in enumerate(zip(contents, (first, second, third, fourth), strict=True)):
        assert found["source"] == f"<upload {number}>"
        if found is not second:
            assert found["findings"] == model.predict(content).as_json()["findings"]
    assert (second["error"], set(second)) == ("UnsupportedImage", {"source", "error", "message"})


def test_a_request_has_as_many_files_as_it_may_and_a_map_is_of_one(local, public, images):
    content = images["00.png"]
    many = local.post("/v1/predict", form_of(*[b"x"] * 33), **FORM)
    assert (many.status, many.json["error"]) == (400, "TooManyFiles")
    assert "more files than one request may have (32)" in many.json["message"]
    assert len(local.post("/v1/predict", form_of(*[b"x"] * 32), **FORM).json["images"]) == 32
    two = public.post("/v1/predict", form_of(content, content), **FORM)
    assert (two.status, two.json["error"]) == (400, "TooManyFiles")
    maps = local.post("/v1/explain?finding=Mass", form_of(content, content), **FORM)
    assert (maps.status, maps.json["error"]) == (400, "TooManyFiles")


def test_what_the_input_gate_holds_back_has_its_code_and_reasons_and_no_probabilities(local, images):
    gray = np.asarray(Image.open(io.BytesIO(images["00.png"])).convert("L"))
    for pixels, code in (
        (np.full_like(gray, 99), "no-contrast"),
        (np.stack([gray] * 2 + [gray // 3], -1), "color"),
    ):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        for call in ("/v1/predict", "/v1/explain?finding=Effusion"):
            answer = local.post(call, stream.getvalue())
            assert answer.status == 400
            assert answer.json["error"] == "not-a-radiograph"
            assert answer.json["reasons"] == [code]
            assert answer.json["message"].startswith("held back by the input gate: ")
            assert answer.json.keys() == {"error", "message", "reasons", "gate"}
            assert answer.json["gate"] is None  # this bundle has no fitted one
