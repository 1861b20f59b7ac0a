"""The reader's word: over HTTP, and in a real browser from reading first to the downloads."""

import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import thorax
from tests.helpers.page import expect, press_until, settled, shown, upload
from tests.helpers.service import GOLDEN, running
from thorax.evaluation.inputs.assessments import read_assessments
from thorax.service.assessments import Assessments

SOURCE = GOLDEN / "source"
TOKEN = "a-token-of-the-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("readers") / "readers.sqlite"


@pytest.fixture(scope="module")
def keeping(file):
    with running("--assessments", file, environment={"THORAX_TOKEN": TOKEN}, may_write=True) as service:
        yield service


def entry(model, **changes):
    values = {
        "reader": "ana",
        "image": "chest.png",
        "image_sha256": "1f" * 32,
        "bundle_sha256": model.bundle.sha256,
        "finding": "Mass",
        "verdict": "read",
        "present": True,
        "ai_shown": "before",
        "comment": "",
        "probability": 0.5,
        "decision": "yes",
    }
    return json.dumps(values | changes).encode()


def post(service, body, **headers):
    return service.post("/v1/assessments", body, **{"Content-Type": "application/json", **headers})


def test_assessments_need_the_token(keeping, model):
    body = entry(model)
    assert post(keeping, body).status == 401
    for path in ("/v1/assessments.csv", "/v1/agreement"):
        assert keeping.get(path).status == 401
        assert keeping.get(path, **BEARER).status == 200


def test_what_is_kept_is_in_the_csv_and_bad_words_are_refused(keeping, model):
    before = len(keeping.get("/v1/assessments.csv", **BEARER).body.splitlines())
    assert post(keeping, entry(model, reader="ben"), **BEARER).status == 201
    bad = [
        (entry(model, bundle_sha256="0" * 64), 404),
        (entry(model, finding="Edema"), 400),
        (entry(model, verdict="agree"), 422),
        (entry(model, image="x" * 301), 422),
        (b"{", 422),
        (b"x" * 100_000, 422),
    ]
    for body, status in bad:
        answer = post(keeping, body, **BEARER)
        assert answer.status == status, body[:80]
        assert answer.json["message"]
    answer = keeping.get("/v1/assessments.csv", **BEARER)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert len(rows) == before  # which counts the header
    assert (rows[-1]["reader"], rows[-1]["model"]) == ("ben", "small-cpu")


def test_several_are_kept_together_or_not_at_all(keeping, model, file):
    several = [json.loads(entry(model, reader="dora", finding=name)) for name in ("Effusion", "Mass")]
    assert post(keeping, json.dumps(several).encode(), **BEARER).status == 201
    assert [kept.finding for kept in Assessments(file).all() if kept.reader == "dora"] == ["Effusion", "Mass"]
    for change, status in (({"finding": "Edema"}, 400), ({"verdict": "agree"}, 422)):
        bad = [several[0] | {"reader": "eve"}, several[1] | {"reader": "eve"} | change]
        assert post(keeping, json.dumps(bad).encode(), **BEARER).status == status
    assert post(keeping, b"[]", **BEARER).status == 422
    assert not [kept for kept in Assessments(file).all() if kept.reader == "eve"]


def test_without_a_token_of_yours_the_address_has_one(tmp_path, model):
    with running("--assessments", tmp_path / "a.sqlite", may_write=True) as service:
        _, _, fragment = service.address.partition("#token=")
        assert len(fragment) == 43
        assert service.get("/v1/models").status == 401
        bearer = {"Authorization": f"Bearer {fragment}"}
        assert service.get("/v1/models", **bearer).json["assessments"] is True
        assert post(service, entry(model), **bearer).status == 201
    assert len(Assessments(tmp_path / "a.sqlite").all()) == 1


def test_they_are_off_by_default(local, model):
    assert local.get("/v1/models").json["assessments"] is False
    assert post(local, entry(model)).status == 404
    assert local.get("/v1/assessments.csv").status == 404


# ---- in the browser ------------------------------------------------------------------------------


@pytest.mark.slow
def test_read_first_then_say_and_export(opened, keeping, file, model, tmp_path):
    tab = opened(keeping, fragment=f"#token={TOKEN}")
    tab.get_by_role("switch", name=re.compile("^Read first")).click()
    assert upload(tab, SOURCE / "03.png") == [["03.png", "read; result hidden"]]
    assert tab.locator("#status").text_content() == "03.png: read; what the model says is hidden"
    assert not tab.locator("#results").is_visible()
    assert "%" not in tab.locator("#findings").inner_text()
    # A reader has a name before anything is kept.
    tab.get_by_label("Mass").select_option("present")
    tab.get_by_role("button", name="Mark the others as absent").click()
    tab.get_by_role("button", name="Show what the model says").click()
    expect(tab.locator("#own-state")).to_have_text(re.compile("^Enter your name or a code first"))
    assert tab.locator("#reader").get_attribute("required") is not None
    tab.get_by_label("Reader (required)", exact=True).fill("cleo")
    tab.get_by_role("button", name="Show what the model says").click()
    tab.locator(".finding").first.wait_for()
    predicted = model.predict(SOURCE / "03.png")
    called = {name: predicted[name].decision for name in ("Effusion", "Infiltration", "Mass")}
    for name, verdict in (("Mass", "Disagree"), ("Effusion", "Agree")):
        tab.locator(f".finding[data-finding={name}]").click()
        tab.get_by_role("button", name=verdict, exact=True).click()
        expect(tab.get_by_role("button", name=verdict, exact=True)).to_have_attribute("aria-pressed", "true")
    tab.locator(".finding[data-finding=Infiltration]").click()
    tab.get_by_role("button", name="Amend").click()
    tab.locator(".amended select").select_option("uncertain")
    tab.get_by_label(re.compile("^Comment")).fill("perhaps old")
    tab.get_by_label(re.compile("^Comment")).blur()
    expect(tab.locator(".word [role=status]")).to_have_text("Kept: amended, uncertain.")
    kept = [one for one in Assessments(file).all() if one.reader == "cleo"]
    read = [(one.finding, one.present, one.verdict, one.ai_shown) for one in kept[:3]]
    assert read == [
        (name, int(name == "Mass"), "read", "before") for name in ("Effusion", "Infiltration", "Mass")
    ]
    disagreed = next(one for one in kept if one.verdict == "disagree")
    assert (disagreed.finding, disagreed.present) == ("Mass", int(called["Mass"] == "no"))
    agreed = next(one for one in kept if one.verdict == "agree")
    assert (agreed.finding, agreed.present) == ("Effusion", int(called["Effusion"] == "yes"))
    last = kept[-1]
    assert (last.finding, last.present, last.verdict, last.comment) == (
        "Infiltration", None, "amended", "perhaps old",
    )  # fmt: skip
    for one in kept:
        assert one.bundle_sha256 == model.bundle.sha256
        assert one.probability == predicted[one.finding].probability
        assert one.image == "03.png"
    # The agreement, and the CSV that evaluate reads.
    tab.get_by_role("button", name="Agreement").click()
    expect(tab.locator("#readers-rows")).to_contain_text("cleo and the model small-cpu")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="All assessments as CSV").click()
    download.value.save_as(tmp_path / "labels.csv")
    assert "03.png" in read_assessments(tmp_path / "labels.csv").table.images


@pytest.mark.slow
def test_downloads_say_where_they_come_from(opened, local, model, tmp_path):
    tab = opened(local)
    upload(tab, SOURCE / "03.png", SOURCE / "01.png")
    tab.get_by_role("button", name="03.png").click()
    tab.locator(".finding[data-finding=Mass]").click()
    expect(tab.get_by_role("switch", name="Heat map")).to_be_checked()
    points = model.bundle.manifest.operating_points
    origin = f"{points.rule}, chosen on the {points.chosen_on}"
    line = tab.locator("#origin-text").inner_text()
    for part in ("Model small-cpu", model.bundle.sha256[:12], f"Thorax {thorax.__version__}", origin):
        assert part in line
    saved = {}
    for name in ("Image as PNG", "Findings as JSON", "Findings as CSV"):
        with tab.expect_download() as download:
            tab.get_by_role("button", name=name).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        saved[path.name] = path
    assert set(saved) == {"03-thorax.png", "findings.json", "findings.csv"}
    found = json.loads(saved["findings.json"].read_text())
    assert [image["file"] for image in found["images"]] == ["03.png", "01.png"]
    rows = list(csv.DictReader(io.StringIO(saved["findings.csv"].read_text())))
    assert len(rows) == 6
    for image in found["images"]:
        prediction = model.predict(SOURCE / image["file"])
        assert image["findings"] == prediction.as_json()["findings"]
        assert image["origin"]["bundle_sha256"] == model.bundle.sha256
        assert image["origin"]["thresholds_from"] == origin
        for one in prediction.findings:
            (row,) = (
                row for row in rows if (row["file"], row["finding"]) == (image["file"], one.finding.name)
            )
            assert float(row["probability"]) == one.probability
            assert (row["decision"], row["bundle_sha256"]) == (one.decision, model.bundle.sha256)
            assert (row["thresholds_from"], row["thorax_version"]) == (origin, thorax.__version__)
    # The picture is what is shown, above lines of text.
    picture = np.asarray(Image.open(saved["03-thorax.png"]).convert("RGB"))
    canvas = shown(tab)
    height, width = canvas.shape[:2]
    assert picture.shape[0] > height + 60
    left = (picture.shape[1] - width) // 2
    inside = canvas[..., 3] == 255
    assert np.array_equal(picture[:height, left : left + width][inside], canvas[..., :3][inside])


@pytest.mark.slow
def test_marks_are_there_again_after_another_image(opened, local):
    tab = opened(local)
    tab.get_by_role("switch", name=re.compile("^Read first")).click()
    upload(tab, SOURCE / "03.png", SOURCE / "01.png")
    tab.get_by_role("button", name="03.png").click()
    tab.get_by_label("Mass").select_option("present")
    tab.get_by_role("button", name="01.png").click()
    assert tab.get_by_label("Mass").input_value() == "unmarked"
    tab.get_by_role("button", name="03.png").click()
    assert tab.get_by_label("Mass").input_value() == "1"


@pytest.mark.slow
def test_from_the_file_to_the_download_without_a_pointer(opened, local, model, tmp_path):
    tab = opened(local)
    tab.on("filechooser", lambda chooser: chooser.set_files([SOURCE / "03.png"]))
    press_until(tab, "Tab", tab.get_by_role("button", name="Choose files"))
    tab.keyboard.press("Enter")
    settled(tab)
    tab.locator(".finding").first.wait_for()
    press_until(tab, "Shift+Tab", tab.get_by_role("button", name="Findings as CSV"))
    with tab.expect_download() as download:
        tab.keyboard.press("Enter")
    download.value.save_as(tmp_path / "findings.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "findings.csv").read_text())))
    assert [row["finding"] for row in rows] == [finding.name for finding in model.findings]


@pytest.mark.slow
def test_reading_first_works_without_keeping_anything(opened, local, model):
    tab = opened(local)
    assert not tab.locator("#readers").is_visible()
    tab.get_by_role("switch", name=re.compile("^Read first")).click()
    upload(tab, SOURCE / "03.png")
    tab.get_by_role("button", name="Show what the model says").click()
    tab.locator(".finding").first.wait_for()
    assert settled(tab)[0][1].endswith("called")
    tab.locator(".finding").first.click()
    assert tab.get_by_role("button", name="Agree").count() == 0
    # From the findings, the card and the limits of the model are one stop of the Tab key away.
    tab.locator("#summary").focus()
    tab.keyboard.press("Shift+Tab")
    expect(tab.get_by_role("button", name="Model card and limits")).to_be_focused()
    tab.keyboard.press("Enter")
    assert tab.get_by_role("dialog", name="The model small-cpu").is_visible()
