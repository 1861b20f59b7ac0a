"""The page as a whole in a real browser: many files, two tabs, and what axe finds."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.helpers.page import faults_by_state, press_until, settled, shown, upload
from tests.helpers.service import GOLDEN

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make install")

pytestmark = pytest.mark.slow

SOURCE = GOLDEN / "source"


def test_twenty_files_are_listed_in_order_and_the_first_is_shown_before_the_last_is_read(
    opened, local, tmp_path
):
    names = [f"{number:02}.png" for number in range(19)] + ["broken.png"]
    for number, name in enumerate(names[:-1]):
        shutil.copy(sorted(SOURCE.glob("*.png"))[number % 5], tmp_path / name)
    (tmp_path / "broken.png").write_bytes((SOURCE / "00.png").read_bytes()[:200])
    tab = opened(local)
    tab.evaluate(
        """() => new MutationObserver(() => {
          const read = document.querySelectorAll(".case[data-state=done]").length;
          if (document.querySelector(".finding")) window.readAtFirst ??= read;
        }).observe(document.body, { subtree: true, childList: true, attributes: true })"""
    )
    words = upload(tab, *(tmp_path / name for name in names))
    assert [lines[-2] for lines in words] == names
    assert [lines[-1] == "not read" for lines in words] == [False] * 19 + [True]
    assert tab.locator("#case-count").inner_text() == "19 of 20 read, 1 could not be read"
    assert tab.evaluate("readAtFirst") < 10
    assert tab.get_by_role("heading", name="00.png").is_visible()


def test_pixels_of_the_last_images_are_kept_and_others_are_asked_for_again(opened, local):
    names = [f"{number:02}.png" for number in range(10)]
    tab = opened(local)
    asked = []
    tab.on("request", lambda request: asked.append(request.url) if "/v1/pixels" in request.url else None)
    upload(tab, *(SOURCE / name for name in names))
    first = shown(tab)
    for name in names[1:]:
        tab.get_by_role("button", name=name).click()
        shown(tab)
    assert len(asked) == 10
    tab.get_by_role("button", name=names[2]).click()
    shown(tab)
    assert len(asked) == 10
    tab.get_by_role("button", name=names[0]).click()
    assert np.array_equal(shown(tab), first)
    assert len(asked) == 11


def test_what_the_input_gate_holds_back_is_shown_with_its_reason_and_without_findings(
    opened, local, tmp_path
):
    flat = tmp_path / "flat.png"
    Image.new("L", (200, 160), 90).save(flat)
    tab = opened(local)
    tab.evaluate(
        """() => {
          window.said = [];
          const status = document.getElementById("status");
          new MutationObserver(() => said.push(status.textContent)).observe(status, { childList: true });
        }"""
    )
    words = upload(tab, SOURCE / "00.png", flat)
    assert words[1][-1] == "held back"
    assert tab.locator("#case-count").inner_text() == "1 of 2 read, 1 held back"
    tab.get_by_role("button", name="flat.png").click()
    assert tab.get_by_role("heading", name="This image was held back").is_visible()
    reason = tab.locator("#failure-text").inner_text()
    assert reason.startswith("Held back by the input gate: ")
    assert tab.evaluate("said").count(f"flat.png: {reason}") == 1
    assert tab.locator("#failure-measured").inner_text().startswith("This model has no fitted gate")
    assert not tab.get_by_role("heading", name="Findings").is_visible()
    screen = shown(tab)
    assert set(np.unique(screen[screen[:, :, 3] == 255][:, 0])) == {90}
    tab.get_by_role("button", name="00.png").click()
    assert tab.get_by_role("heading", name="Findings").is_visible()


def test_two_tabs_know_nothing_of_each_other(opened, local):
    one, other = opened(local), opened(local)
    upload(one, SOURCE / "00.png")
    upload(other, SOURCE / "01.png", SOURCE / "02.png")
    assert [words[0] for words in settled(one)] == ["00.png"]
    other.reload()
    assert settled(other) == []
    assert [words[0] for words in settled(one)] == ["00.png"]
    assert one.locator(".finding").first.is_visible()


def test_from_upload_to_download_without_a_pointer(opened, local):
    tab = opened(local)
    # From here on, since choosers are caught only some time after they are asked for.
    tab.on("filechooser", lambda chooser: chooser.set_files(SOURCE / "03.png"))
    press_until(tab, "Tab", tab.get_by_role("button", name="Choose files"))
    tab.keyboard.press("Enter")
    tab.locator(".finding").first.wait_for()
    first = shown(tab)
    press_until(tab, "Tab", tab.locator(".radiograph").first)
    tab.keyboard.press("+")
    tab.keyboard.press("Shift+ArrowRight")
    assert not np.array_equal(shown(tab), first)
    tab.keyboard.press("r")
    assert np.array_equal(shown(tab), first)
    press_until(tab, "Tab", tab.get_by_role("spinbutton", name="Width"))
    for _ in range(10):
        tab.keyboard.press("ArrowUp")
    assert float(tab.get_by_role("spinbutton", name="Width").input_value()) > 256
    assert not np.array_equal(shown(tab), first)
    press_until(tab, "Tab", tab.locator(".finding").first)
    tab.keyboard.press("Enter")
    sync_api.expect(tab.get_by_role("switch", name="Heat map")).to_be_checked()
    press_until(tab, "Tab", tab.get_by_role("button", name="Findings as CSV"))
    with tab.expect_download() as download:
        tab.keyboard.press("Enter")
    assert download.value.suggested_filename == "findings.csv"


def test_the_model_card_is_shown_as_headings_lists_and_tables(opened, of_starter):
    tab = opened(of_starter, model="starter")
    tab.get_by_role("button", name="About starter").click()
    tab.get_by_role("button", name=re.compile("^Model card: ")).click()
    card = tab.locator("#card-text")
    sync_api.expect(card.get_by_role("heading", name="Intended use")).to_be_visible()
    text = of_starter.get("/v1/models/starter/card").body.decode()
    headings = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    assert card.locator("h3, h4, h5").all_text_contents() == headings
    assert card.locator("li").count() == sum(line.startswith("- ") for line in text.splitlines())
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row.locator("th, td").all_text_contents() for row in card.locator("tr").all()] == cells
    shown = card.inner_text()
    assert not any(mark in shown for mark in ("**", "## ", "| ", "&lt;", "`"))


RENDERED = """async (text) => {
  const { rendered } = await import("./markdown.js");
  const whole = document.createElement("div");
  whole.append(...rendered(text));
  return whole.innerHTML;
}"""


def test_what_a_card_says_never_becomes_html(opened, local):
    tab = opened(local)
    text = (
        "# A &lt;b> <img src=x onerror=alert(1)>\n\n- **bold \\| `code`** &lt;i&gt;\nnot *this*\n| x | y |\n"
    )
    assert tab.evaluate(RENDERED, text) == (
        "<h3>A &lt;b&gt; &lt;img src=x onerror=alert(1)&gt;</h3>"
        "<ul><li><strong>bold | <code>code</code></strong> &lt;i&gt;</li></ul>"
        "<p>not *this* | x | y |</p>"
    )


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_no_serious_fault(opened, local, tmp_path, scheme, width):
    bad = tmp_path / "letter.pdf"
    bad.write_bytes(b"%PDF-1.7")
    tab = opened(
        local, color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )
    faults = faults_by_state(tab, [SOURCE / "00.png", SOURCE / "03.png"], bad)
    assert faults == {state: [] for state in faults}
