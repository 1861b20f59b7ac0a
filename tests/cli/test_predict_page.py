"""The page of `thorax predict --out` in a real browser, from the disk: nothing is loaded from elsewhere."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest

import thorax
from tests.helpers.command import command
from tests.helpers.dicom_writing import to_bytes
from tests.helpers.marked import MARKED, marked_dataset, marks_in
from thorax import starter
from thorax.errors import DataError
from thorax.wording import percent

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make install")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

IMAGES = sorted((starter.folder() / "images").glob("*.png"))
LATERAL = "this is a lateral view; the model was trained on frontal views only"


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed, so the page cannot be opened")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def write_disc(folder):
    """Three images, one of them twice; two DICOM files of one study, and one of another, lateral."""
    folder.mkdir()
    for number, image in enumerate([*IMAGES, IMAGES[0]]):
        shutil.copy(image, folder / f"{number} <b>&'.png")
    for name, changes in {
        "IM1": {},
        "XIM2": {"ViewPosition": "LL", "PatientOrientation": ["A", "F"], "StudyInstanceUID": "1.2.3.4"},
        "YIM3": {"SOPInstanceUID": "1.2.3.5"},
    }.items():
        (folder / name).write_bytes(to_bytes(marked_dataset(**changes)))
    return folder


@pytest.fixture(scope="module")
def disc(tmp_path_factory) -> Path:
    return write_disc(tmp_path_factory.mktemp("page") / "disc")


@pytest.fixture(scope="module")
def predicted(disc) -> Path:
    out = disc.parent / "out"
    command("predict", disc, "--out", out)
    return out


@pytest.fixture
def page(browser, predicted):
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    tab.requests, tab.errors = [], []
    tab.on("request", lambda request: tab.requests.append(request.url))
    tab.on("console", lambda message: tab.errors.append(message.text))
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.goto((predicted / "index.html").as_uri())
    yield tab
    assert not tab.errors
    assert all(url.startswith(predicted.as_uri()) for url in tab.requests)
    tab.close()


def rows(predicted):
    return list(csv.DictReader(io.StringIO((predicted / "predictions.csv").read_text())))


def names(page):
    return [re.sub(r"\s+(PA|AP|LL)$", "", text) for text in page.locator(".name").all_inner_texts()]


def test_every_image_is_shown_with_its_picture(page, predicted):
    listed = [row["Image Index"] for row in rows(predicted)]
    assert sorted(names(page)) == sorted(listed)
    assert page.locator(".name small").all_inner_texts() == ["PA", "PA", "LL"]
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert page.locator("output").inner_text() == "7 of 7 images"


def test_one_studys_images_are_together_and_others_are_not(page):
    (title,) = page.locator(".study h2").all_inner_texts()
    assert title == "Study 1: 2 images"
    assert page.locator(".study .name").all_inner_texts() == ["IM1 PA", "YIM3 PA"]


def test_sorting_by_a_finding(page, predicted):
    page.select_option("#sort", label="Pneumonia")
    values = [
        float(text.rstrip(" %"))
        for text in page.locator(".single .image > .finding:nth-of-type(1) b").all_inner_texts()
    ]
    assert values == sorted(values, reverse=True)
    highest = max(rows(predicted), key=lambda row: float(row["Pneumonia"]))
    assert highest["Image Index"] in names(page)[:2]
    assert percent(float(highest["Pneumonia"])) == page.locator(".image .finding b").first.inner_text()


def test_filtering_by_a_warning_and_by_a_finding(page, predicted):
    page.select_option("#show", label=LATERAL)
    assert names(page) == ["XIM2"]
    assert LATERAL in page.locator(".warn").all_inner_texts()
    page.select_option("#show", label="Mass")
    expected = [row["Image Index"] for row in rows(predicted) if row["Mass_decision"] == "yes"]
    assert sorted(names(page)) == sorted(expected) != []


def test_searching_a_name(page):
    page.fill("#search", "2 <B>")
    assert names(page) == ["2 <b>&'.png"]
    page.fill("#search", "nothing like it")
    assert page.locator("output").inner_text() == "0 of 7 images"


def test_one_image_has_every_finding_and_its_maps(page, predicted):
    page.locator(".picture").first.click()
    first = rows(predicted)[0]
    cells = page.locator("dialog tr").all_inner_texts()
    assert len(cells) == 15
    numbers = [percent(float(first[name])) for name in ("Mass", "Mass_threshold")]
    expected = " ".join(["Mass", *numbers, first["Mass_decision"], "show"])
    assert expected in [" ".join(row.split()) for row in cells]
    page.locator("dialog td button").first.click()
    assert "exact class activation map" in page.locator("figcaption").inner_text()
    page.wait_for_function("document.querySelector('dialog img').naturalWidth > 0")
    page.get_by_text("Radiograph without map").click()
    assert "/thumbnails/" in page.locator("dialog img").get_attribute("src") or page.locator(
        "dialog img"
    ).get_attribute("src").startswith("thumbnails/")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_the_heat_maps_can_be_hidden(page):
    assert page.locator("img[src^=overlays]").count() > 0
    page.uncheck("#maps")
    assert page.locator("img[src^=overlays]").count() == 0


@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(".picture").first.click()
    assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('dialog'))")
    tall = page.locator("dialog table th:first-child").evaluate_all(
        "cells => cells.map(cell => cell.clientHeight)"
    )
    assert max(tall) < 60  # two lines at most: no name is broken into letters


def test_five_thousand_images(browser, predicted, tmp_path):
    """A page with each of seven images seven hundred times is ready, sorted and filtered at once."""
    text = (predicted / "index.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    images = data["images"]
    data["images"] = [
        [number, f"{number}.png", *images[number % 7][2:3], 0, *images[number % 7][4:]]
        for number in range(1, 5001)
    ]
    (tmp_path / "index.html").write_text(
        re.sub(
            r'(id="data">).*?(</script>)',
            lambda match: match[1] + json.dumps(data) + match[2],
            text,
            flags=re.DOTALL,
        )
    )
    tab = browser.new_page()
    tab.goto((tmp_path / "index.html").as_uri())
    assert tab.locator("output").inner_text() == "5,000 of 5,000 images"
    assert tab.locator(".image").count() < 200
    tab.select_option("#sort", label="Mass")
    tab.fill("#search", "4999")
    assert names(tab) == ["4999.png"]
    tab.fill("#search", "")
    for _ in range(6):
        tab.mouse.wheel(0, 100_000)
        tab.wait_for_timeout(50)
    assert tab.locator(".image").count() > 200
    tab.close()


def test_identifiers_are_nowhere_unless_they_are_asked_for(disc, predicted, tmp_path):
    written = [path for path in predicted.rglob("*") if path.is_file()]
    assert not [path for path in written if marks_in(path.read_bytes())]
    for form in ([], ["--json"], ["--csv"], ["--wide"]):
        done = command("predict", disc, *form)
        assert not marks_in((done.stdout + done.stderr).encode())
    allowed = {
        MARKED[name]
        for name in ("PatientID", "AccessionNumber", "StudyDate", "StudyInstanceUID", "SOPInstanceUID")
    }
    command("predict", disc, "--ids", "--out", tmp_path / "out")
    for name in ("predictions.csv", "journal.jsonl", "index.html"):
        text = (tmp_path / "out" / name).read_text()
        assert all(value in text for value in allowed)
        for value in allowed:
            text = text.replace(value, "")
        assert not marks_in(text.encode())
    printed = command("predict", disc / "IM1", "--ids", "--json").stdout
    assert json.loads(printed)["ids"]["patient_id"] == MARKED["PatientID"]
    (row, *_) = csv.DictReader(command("predict", disc / "IM1", "--ids", "--csv").stdout.splitlines())
    assert row["Study Instance UID"] == MARKED["StudyInstanceUID"]


def test_a_study_says_whose_it_is_if_asked(browser, disc, tmp_path):
    command("predict", disc, "--ids", "--out", tmp_path / "out")
    tab = browser.new_page()
    tab.goto((tmp_path / "out" / "index.html").as_uri())
    titles = tab.locator(".study h2").all_inner_texts()
    assert [title.splitlines()[0] for title in titles] == ["Study 1: 2 images", "Study 2: 1 image"]
    assert f"Patient ID {MARKED['PatientID']}" in titles[0]
    tab.fill("#search", "1.2.3.5")
    assert names(tab) == ["YIM3"]
    tab.close()


def test_text_has_a_study_together_and_says_whose_it_is_if_asked(disc):
    lines = command("predict", disc).stdout.splitlines()[1:]
    at = lines.index("study 1, 2 images")
    assert [line.split()[0] for line in lines[at + 1 : at + 3]] == [str(disc / "IM1"), str(disc / "YIM3")]
    assert all(line.startswith("  ") for line in lines[at + 1 : at + 3])
    assert lines[-1].startswith(str(disc / "XIM2"))
    line = command("predict", disc, "--ids").stdout.splitlines()[at + 2]
    assert f"Patient ID {MARKED['PatientID']}, Accession Number {MARKED['AccessionNumber']}" in line
    tables = command("predict", disc / "YIM3", disc / "XIM2", disc / "IM1", "--ids").stdout
    assert (
        tables.index("study 1, 2 images") < tables.index(str(disc / "YIM3")) < tables.index(str(disc / "IM1"))
    )
    assert tables.index(str(disc / "IM1")) < tables.index(str(disc / "XIM2"))
    assert f"SOP Instance UID {MARKED['SOPInstanceUID']}" in tables


def test_the_same_from_python(disc, predicted, tmp_path):
    steps = []
    done = thorax.load().predict_folder(disc, tmp_path / "out", progress=steps.append)
    assert (done.tally.predicted, done.tally.failed, done.earlier, done.note) == (7, 0, 0, "")
    assert done.tally.warnings[LATERAL] == 1
    for name in ("predictions.csv", "index.html"):
        assert (tmp_path / "out" / name).read_bytes() == (predicted / name).read_bytes()
    assert thorax.load().predict_folder([disc], tmp_path / "out").earlier == 7
    with pytest.raises(DataError, match="another folder, or set `overwrite`"):
        thorax.load().predict_folder(disc, tmp_path / "out", ids=True)


def test_maps_of_one_image_share_a_scale(predicted):
    """One without a value above 0 has its own, which begins at its mean."""
    lines = (predicted / "journal.jsonl").read_text().splitlines()[1:]
    maps = [row["maps"] for line in lines for row in json.loads(line)]
    assert any(len(scales) > 1 for scales in maps)
    for scales in maps:
        assert len({tuple(scale) for scale in scales.values() if scale[1] > 0}) <= 1
        assert all(low == 0 if high > 0 else low < high for low, high in scales.values())


@pytest.mark.parametrize(("overlays", "count"), [("none", 0), ("all", 14)])
def test_overlays(overlays, count, tmp_path):
    command("predict", IMAGES[0], "--out", tmp_path / "out", "--overlays", overlays)
    assert len(list((tmp_path / "out").glob("overlays/*"))) == count
    assert len(list((tmp_path / "out").glob("thumbnails/*"))) == 1
