"""The page in a real browser: what a reader does, sees and hears."""

import re
import shutil

import numpy as np
import pytest

import thorax
from tests.helpers.dicom_writing import written
from tests.helpers.page import press_until, settled, shown, upload
from tests.helpers.service import GOLDEN, begin, running
from thorax.bands import Band, Bands
from thorax.bundle.manifest import Manifest
from thorax.bundle.writing import copy_bundle
from thorax.findings import find_finding
from thorax.imaging import read_radiograph
from thorax.inference.gate import check
from thorax.starter import test_images as starter_images
from thorax.wording import percent

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make install")

pytestmark = pytest.mark.slow

SOURCE = GOLDEN / "source"

BOX = "(node) => { const box = node.getBoundingClientRect(); return [box.width, box.height]; }"


def shown_findings(tab):
    """Return the words of each finding in the order of the page."""
    return [" ".join(text.split()) for text in tab.locator(".finding").all_text_contents()]


def expected_findings(prediction):
    """Return the same by the library, for a bundle that does not keep how often its calls are right."""
    words = {"yes": "Called", "not decided": "Not decided", "no": "Not called", None: "No threshold"}
    ordered = sorted(prediction.ranked(), key=lambda predicted: list(words).index(predicted.decision))
    return [
        f"{label} {words[predicted.decision]} probability {probability} threshold "
        f"{threshold.replace('n/a', 'none')}"
        for predicted in ordered
        for label, probability, threshold, _ in [predicted.as_texts()]
    ]


def description(tab):
    """Return what the image that is shown is called."""
    return tab.locator(".radiograph").first.get_attribute("aria-label")


# ---- images ------------------------------------------------------------------------------------


def test_an_upload_shows_what_the_library_predicts(opened, local, model):
    tab = opened(local)
    assert upload(tab, SOURCE / "03.png") == [["03.png", verdict_of(model.predict(SOURCE / "03.png"))]]
    assert shown_findings(tab) == expected_findings(model.predict(SOURCE / "03.png"))
    assert tab.get_by_role("heading", name="03.png").is_visible()
    sync_api.expect(tab.locator("#image-facts")).to_have_text("72 × 64 pixels, orientation unknown")
    assert tab.locator("#status").inner_text().startswith("03.png: ")


def verdict_of(prediction):
    return f"{sum(bool(predicted.positive) for predicted in prediction.findings)} called"


def test_jpeg_and_dicom_without_an_extension(opened, local, model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4096, (80, 90), dtype=np.uint16)
    dicom = tmp_path / "IM000001"
    dicom.write_bytes(written(pixels, bits=12, ViewPosition="PA"))
    tab = opened(local)
    upload(tab, dicom)
    assert shown_findings(tab) == expected_findings(model.predict(dicom))
    sync_api.expect(tab.locator("#image-facts")).to_have_text("90 × 80 pixels, PA view, orientation unknown")
    upload(tab, SOURCE / "30.jpg")
    tab.get_by_role("button", name="30.jpg").click()
    assert shown_findings(tab) == expected_findings(model.predict(SOURCE / "30.jpg"))


def test_several_files_of_which_some_are_bad(opened, local, model, tmp_path):
    empty, letter = tmp_path / "empty.dcm", tmp_path / "letter.pdf"
    empty.touch()
    letter.write_bytes(b"%PDF-1.7 of Doe^Jane")
    good = sorted(SOURCE.glob("1*.png"))
    words = upload(tab := opened(local), letter, *good, empty)
    assert words[0][-2:] == ["letter.pdf", "not read"]
    assert words[-1][-2:] == ["empty.dcm", "not read"]
    assert words[1:-1] == [[path.name, verdict_of(model.predict(path))] for path in good]
    # The file that was read first is shown, without a click; two are read at once.
    first = tab.locator("[aria-current=true]").inner_text().split("\n")[0]
    assert first in {good[0].name, good[1].name}
    assert shown_findings(tab) == expected_findings(model.predict(SOURCE / first))
    tab.get_by_role("button", name="letter.pdf").click()
    assert tab.get_by_role("heading", name="This file was not read").is_visible()
    reason = tab.locator("#failure-text").inner_text()
    assert reason.startswith("The file is a PDF document; PNG, JPEG and DICOM are read")
    assert "%" not in tab.locator("main").inner_text().replace("%PDF", "")  # no failure looks like 0 %
    tab.get_by_role("button", name="empty.dcm").click()
    assert "The file is empty (0 bytes)" in tab.locator("#failure-text").inner_text()
    assert tab.get_by_role("button", name="Try again").count() == 0
    tab.get_by_role("button", name=good[3].name).click()
    assert shown_findings(tab) == expected_findings(model.predict(good[3]))


def test_files_can_be_dropped_and_removed(opened, local):
    tab = opened(local)
    content = list((SOURCE / "00.png").read_bytes())
    transfer = tab.evaluate_handle(
        """(content) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(content)], "dropped.png"));
          return transfer;
        }""",
        content,
    )
    tab.dispatch_event("main", "drop", {"dataTransfer": transfer})
    assert [words[0] for words in settled(tab)] == ["dropped.png"]
    tab.get_by_role("button", name="Remove all").click()
    assert settled(tab) == []
    assert not tab.get_by_role("heading", name="Findings").is_visible()
    assert tab.get_by_text("Drop chest radiographs here").is_visible()


def test_an_image_to_try(opened, local, model):
    tab = opened(local)
    tab.get_by_role("button", name="Hernia, Infiltration").click()
    tab.locator(".finding").first.wait_for()
    image = local.get("/test-images/hernia-infiltration.png").body
    assert shown_findings(tab) == expected_findings(model.predict(image))
    assert not tab.get_by_text("Or try one of these").is_visible()


# ---- maps --------------------------------------------------------------------------------------


def test_a_finding_shows_its_map(opened, local, model):
    tab = opened(local)
    upload(tab, SOURCE / "03.png")
    plain = shown(tab)
    switch = tab.get_by_role("switch", name="Heat map")
    assert switch.is_disabled()
    mass = tab.get_by_role("button", name=re.compile("^Mass"))
    mass.click()
    sync_api.expect(switch).to_be_checked()
    expected = model.explain(SOURCE / "03.png", "Mass")
    assert mass.get_attribute("aria-pressed") == "true"
    assert description(tab) == "03.png with the heat map of Mass"
    picture = shown(tab)
    assert np.mean(picture != plain) > 0.1
    x, y = (round(value) for value in expected.map.place)
    told = tab.locator("#map-text").inner_text()
    left, top, width, height = (round(value) for value in expected.map.box)
    assert told == (
        f"Highest at x {x}, y {y}, in a box of {width} × {height} pixels at x {left}, y {top}. The map shows "
        "what the model used, not the outline of a lesion; how often the maps of this bundle point at what "
        "they are of was not measured. Mass is not called: it is below its threshold here."
    )
    assert tab.locator("#status").text_content() == told
    assert float(tab.locator("#scale-end").inner_text().removesuffix(" logits")) == pytest.approx(
        expected.map.highest, rel=0.005
    )
    tab.get_by_role("switch", name="Contour").click()
    picture = shown(tab)
    switch.click()
    assert description(tab) == "Radiograph 03.png"
    assert np.array_equal(shown(tab), plain)
    switch.click()
    assert description(tab) == "03.png with the heat map of Mass"
    assert np.array_equal(shown(tab), picture)
    mass.click()
    assert description(tab) == "Radiograph 03.png"
    assert np.array_equal(shown(tab), plain)
    assert mass.get_attribute("aria-pressed") == "false"


def test_a_map_without_evidence_says_so(opened, local, model):
    tab = opened(local)
    upload(tab, SOURCE / "02.png")
    silent = next(
        finding for finding in model.findings if model.explain(SOURCE / "02.png", finding).map.place is None
    )
    plain, switch = shown(tab), tab.get_by_role("switch", name="Heat map")
    tab.get_by_role("button", name=re.compile(f"^{silent.label}")).click()
    words = tab.locator("#map-text")
    sync_api.expect(words).to_contain_text(
        f"No location in this image supports {silent.label}: no value of the map is above 0, so nothing is "
        "drawn."
    )
    assert not switch.is_checked()
    assert np.array_equal(shown(tab), plain)
    assert not tab.locator("#legend").is_visible()
    # Only on request, and then named as what it is; half of such a scale has no contour.
    switch.click()
    sync_api.expect(tab.locator("#legend")).to_contain_text(f"Not evidence for {silent.label}")
    sync_api.expect(words).to_contain_text("the colors show only where it speaks less against it")
    assert not np.array_equal(shown(tab), plain)
    for name in ("Contour", "Box"):
        assert not tab.get_by_role("switch", name=name).is_visible()


def test_maps_are_those_of_the_image_that_is_shown(opened, local):
    tab = opened(local)
    upload(tab, SOURCE / "00.png", SOURCE / "01.png")
    tab.get_by_role("button", name=re.compile("^Mass")).click()
    sync_api.expect(tab.get_by_role("switch", name="Heat map")).to_be_checked()
    first = tab.locator("#map-text").inner_text()
    tab.get_by_role("button", name="01.png").click()
    assert tab.locator("#map-text").inner_text() == ""
    assert description(tab) == "Radiograph 01.png"
    tab.get_by_role("button", name="00.png").click()
    tab.get_by_role("button", name=re.compile("^Mass")).click()
    sync_api.expect(tab.locator("#map-text")).to_have_text(first)


# ---- without a pointer, without color, on a telephone --------------------------------------------


def test_everything_works_from_the_keyboard(opened, local):
    tab = opened(local)
    # From here on, since choosers are caught only some time after they are asked for.
    tab.on("filechooser", lambda chooser: chooser.set_files([SOURCE / "00.png", SOURCE / "01.png"]))
    about, choose = (tab.get_by_role("button", name=name) for name in ("About small-cpu", "Choose files"))
    tab.keyboard.press("Tab")
    sync_api.expect(about).to_be_focused()
    tab.keyboard.press("Tab")
    sync_api.expect(choose).to_be_focused()
    tab.keyboard.press("Enter")
    sync_api.expect(tab.locator(".case")).to_have_count(2)
    settled(tab)
    press_until(tab, "Tab", tab.get_by_role("button", name="01.png"))
    tab.keyboard.press("Enter")
    assert tab.get_by_role("heading", name="01.png").is_visible()
    mass, switch = (
        tab.get_by_role("button", name=re.compile("^Mass")),
        tab.get_by_role("switch", name="Heat map"),
    )
    press_until(tab, "Tab", mass)
    assert mass.evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"
    tab.keyboard.press("Space")
    sync_api.expect(switch).to_be_checked()
    sync_api.expect(mass).to_be_focused()
    press_until(tab, "Shift+Tab", switch)
    tab.keyboard.press("Space")
    assert not switch.is_checked()
    press_until(tab, "Shift+Tab", about)
    tab.keyboard.press("Enter")
    assert tab.get_by_role("dialog", name="The model small-cpu").is_visible()
    assert "Trained by the recipe small-cpu on golden" in tab.locator("#about-text").inner_text()
    tab.keyboard.press("Escape")
    sync_api.expect(about).to_be_focused()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (820, "light"), (2560, "dark")])
def test_it_fits_every_window(opened, local, width, scheme, tmp_path):
    long = [tmp_path / f"{'a-very-long-name-' * 10}{number}.png" for number in range(4)]
    for path in long:
        shutil.copy(SOURCE / "00.png", path)
    bad = tmp_path / f"{'bad' * 60}.txt"
    bad.write_bytes(b"x" * 100)
    tab = opened(local, viewport={"width": width, "height": 844}, color_scheme=scheme)
    steps = (
        lambda: None,
        lambda: upload(tab, *long, bad),
        tab.locator(".finding").first.click,
        tab.locator(".case").last.click,
    )
    for step in steps:
        step()
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for control in tab.locator("button:visible, [role=switch]:visible").all():
        assert min(control.evaluate(BOX)) >= 24


def test_a_long_name_keeps_its_end_in_the_list_and_its_whole_for_who_hears_it(opened, local, tmp_path):
    names = [f"patient-0012345-image-PA-{number}.png" for number in (1, 2)]
    for name in names:
        shutil.copy(SOURCE / "00.png", tmp_path / name)
    tab = opened(local, viewport={"width": 390, "height": 844})
    upload(tab, *(tmp_path / name for name in names))
    for name, label in zip(names, tab.locator(".case .name").all(), strict=True):
        assert label.inner_text() == f"patient-00…{name[-11:]}"
        assert label.evaluate("(node) => node.scrollWidth <= node.clientWidth")  # nothing more is cut
        assert tab.get_by_role("button", name=name).get_attribute("title") == name


def test_text_has_contrast_in_both_schemes(opened, local):
    """WCAG's ratio of 4.5 for the words of findings, states, hints and buttons on what is behind them."""
    for scheme in ("light", "dark"):
        tab = opened(local, color_scheme=scheme)
        upload(tab, SOURCE / "00.png")
        tab.locator(".finding").first.click()
        ratios = tab.evaluate(CONTRASTS)
        assert len(ratios) > 15
        assert min(ratio for _, ratio in ratios) >= 4.5, sorted(ratios, key=lambda pair: pair[1])[:3]


CONTRASTS = """() => {
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).map(Number);
    const linear = parts.slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return [0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2], parts[3] ?? 1];
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [value, alpha] = light(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return value;
    }
    return 1;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const has_words = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  return [...document.querySelectorAll("h1, h2, p, span, a, button, strong, dd, dt")]
    .filter((node) => node.checkVisibility() && has_words(node))
    .map((node) => [node.textContent.trim(), ratio(light(getComputedStyle(node).color)[0], behind(node))]);
}"""


# ---- the service -------------------------------------------------------------------------------


def test_a_public_demonstration_says_so(opened, public, local):
    notice = "Do not upload patients’ images."
    tab = opened(public)
    assert tab.get_by_text(notice).is_visible()
    assert "up to 20 MB each" in tab.locator("#drop-hint").inner_text()
    assert not opened(local).get_by_text(notice).is_visible()
    for page in (tab, opened(local)):
        assert page.get_by_text("Not a medical device").is_visible()


def test_a_file_that_is_too_large_is_not_sent(opened, public, tmp_path):
    large = tmp_path / "large.dcm"
    large.write_bytes(b"\x00" * 20_000_001)
    tab = opened(public)
    sent = []
    tab.on("request", lambda request: sent.append(request.url))
    assert upload(tab, large)[0][-1] == "not read"
    assert "The file has 21 MB, and this page takes 20 MB" in tab.locator("#failure-text").inner_text()
    assert sent == []


def test_the_page_tries_again_where_a_busy_service_refuses(opened, public, model, images):
    """All places are taken until a file of the page was refused."""
    files = sorted(SOURCE.glob("*.png"))[:4]
    tab = opened(public)
    begun = [begin(public, images["00.png"]) for _ in range(8)]
    statuses = []

    def answered(response):
        if "/v1/predict" in response.url:
            statuses.append(response.status)
        if statuses == [503]:
            for connection in begun:
                connection.close()

    tab.on("response", answered)
    words = upload(tab, *files)
    assert words == [[path.name, verdict_of(model.predict(path))] for path in files]
    assert statuses[0] == 503
    assert statuses.count(200) == 4


def test_a_service_that_ended_is_named_and_its_return_noticed(opened):
    with running() as service:
        tab = opened(service)
        upload(tab, SOURCE / "00.png")
        service.end()
        assert upload(tab, SOURCE / "01.png")[1][-1] == "not read"
        tab.get_by_role("button", name="01.png").click()
        assert "The service cannot be reached" in tab.locator("#failure-text").inner_text()
        assert tab.get_by_role("button", name="Try again").is_visible()
        tab.get_by_role("button", name="00.png").click()
        tab.locator(".finding").first.click()
        sync_api.expect(tab.locator("#map-text")).to_contain_text("There is no map of")
    with running("--port", str(service.port)):
        tab.get_by_role("button", name="01.png").click()
        tab.get_by_role("button", name="Try again").click()
        assert settled(tab)[1][-1].endswith("called")


@pytest.fixture(scope="module")
def banded(tmp_path_factory, model):
    """The model with a band around its probability of Infiltration in an image, and one of Mass far above."""
    near = model.predict(SOURCE / "03.png")["Infiltration"].probability
    counts = {"patients_with": 9, "patients_without": 9}
    bands = Bands(
        level=0.9,
        bands={
            "Infiltration": Band(low=near - 0.01, high=near + 0.01, **counts),
            "Mass": Band(low=0.98, high=0.99, **counts),
        },
        absent={"Effusion": "too few"},
        chosen_on=model.bundle.manifest.operating_points.chosen_on,
        chose_checkpoint=False,
    )
    changes = {"format": 2, "bands": bands}
    manifest = Manifest.model_validate(model.bundle.manifest.model_dump() | changes)
    return copy_bundle(model.bundle, tmp_path_factory.mktemp("banded") / "bundle", manifest=manifest)


def test_a_probability_within_its_band_is_not_decided(opened, banded):
    expected = thorax.load(banded).predict(SOURCE / "03.png")
    assert expected["Infiltration"].decision == "not decided"
    with running(bundle=banded.folder) as service:
        tab = opened(service)
        (words,) = upload(tab, SOURCE / "03.png")
        positive = sum(predicted.decision == "yes" for predicted in expected.findings)
        undecided = sum(predicted.decision == "not decided" for predicted in expected.findings)
        assert words == ["03.png", f"{positive} called, {undecided} not decided"]
        assert shown_findings(tab) == expected_findings(expected)
        row = tab.locator(".finding[data-finding=Infiltration]")
        assert row.locator(".decision").inner_text() == "Not decided"
        assert row.get_attribute("data-decision") == "not decided"
        # The band is drawn where the library has it.
        place = expected["Infiltration"].undecided
        assert place is not None
        low, high = place
        drawn = row.locator(".band").evaluate("(band) => [band.style.left, band.style.width].map(parseFloat)")
        assert drawn == pytest.approx([100 * low, 100 * (high - low)], abs=0.051)  # of percent, one digit
        assert tab.locator(".finding[data-finding=Effusion] .band").count() == 0
        assert re.search(rf" {undecided} (is|are) not decided", tab.locator("#summary").inner_text())
        promise = tab.locator("#promise")
        assert promise.is_visible()
        assert promise.inner_text() == f"Not decided: {expected.promise}"
        assert "at another hospital nothing is guaranteed" in promise.inner_text()
        row.click()
        sync_api.expect(tab.locator("#map-text")).to_contain_text("is there is not decided")


def test_without_bands_the_page_does_not_speak_of_them(opened, local):
    tab = opened(local)
    upload(tab, SOURCE / "03.png")
    assert not tab.locator("#promise").is_visible()
    assert "ot decided" not in tab.locator("body").inner_text()


def test_labels_are_those_of_the_vocabulary(opened, local, model):
    tab = opened(local)
    upload(tab, SOURCE / "00.png")
    assert set(tab.locator(".finding .label").all_inner_texts()) == {
        find_finding(finding.name).label for finding in model.findings
    }


def gate_of(model, path):
    """Return the section of the model's gate, and its scores of an image."""
    gate = model.predictor.gate
    return gate.section, check(gate, read_radiograph(path)).scores


def test_the_starter_says_what_it_is_beside_its_findings(opened, of_starter):
    tab = opened(of_starter, model="starter")
    model = thorax.load()
    assert tab.locator("#statement").inner_text().lower() == f"{model.statement.lower()}."
    image = next(image for image in starter_images() if image.seen_by_starter)
    tab.get_by_role("button", name=image.title).click()
    tab.locator(".finding").first.wait_for()
    predictions = model.predict(image.path).ranked()
    called = sorted(
        predictions, key=lambda predicted: (predicted.decision is None, predicted.decision == "no")
    )
    shares = [percent(predicted.prevalence) for predicted in called]
    shown = tab.locator(".finding .prevalence").all_text_contents()
    assert [" ".join(text.split()[-2:]) for text in shown] == shares
    seen = "the starter was trained on this image: an example, not a measurement"
    assert tab.locator("#warnings").inner_text() == f"Note: {seen}."
    section, scores = gate_of(model, image.path)
    measured = tab.locator("#gate-measured")
    assert not measured.is_visible()
    tab.get_by_text("The input gate let this image pass").click()
    lines = measured.locator("li").all_inner_texts()
    upright = f"score {scores['upright']:.1f}; {section.least_upright:.1f} or more passes"
    likeness = (
        f"distance {scores['unlike']:.3f}; up to {section.most_unlike:.3f} is usual, up to "
        f"{section.too_unlike:.3f} passes"
    )
    assert lines == [
        f"Upright frontal chest radiograph: yes ({upright})",
        f"Like the images that the model learned from: yes ({likeness})",
        f"Mirrored: no (score −{-scores['mirrored']:.1f}; more than {section.most_mirrored:.1f} is noted)",
    ]
    assert f"set on the {section.chosen_on}. They hold back {section.held_back}" in measured.inner_text()
    tab.locator(".finding").first.click()
    sync_api.expect(tab.get_by_role("switch", name="Heat map")).to_be_checked()
    assert seen not in tab.locator("#map-text").inner_text().lower()
    tab.get_by_role("button", name="About starter").click()
    for sentence in model.bundle.manifest.stated_in_full:
        assert sentence in tab.locator("#about-text").inner_text()
