"""The viewer in a real browser: every gray on the screen, and every way to change what is seen."""

import re

import numpy as np
import pytest
from PIL import Image

import thorax
from tests.helpers.dicom_writing import lut, written
from tests.helpers.page import settled, shown, upload
from tests.helpers.service import GOLDEN, running
from thorax.imaging import read_radiograph

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make install")

pytestmark = pytest.mark.slow

SOURCE = GOLDEN / "source"
ROWS, COLUMNS = 90, 110
NOISE = np.random.default_rng(1).integers(0, 4096, (ROWS, COLUMNS), dtype=np.uint16)
RAMP = np.tile(np.linspace(300, 3800, COLUMNS).astype(np.uint16), (ROWS, 1))


@pytest.fixture
def dicom(tmp_path):
    """Writes a DICOM file."""

    def write(pixels=NOISE, name="image.dcm", **elements):
        path = tmp_path / name
        path.write_bytes(written(pixels, bits=12, **elements))
        return path

    return write


def eight_bit(path):
    pixels = read_radiograph(path).pixels
    return pixels if pixels.dtype == np.uint8 else np.round(pixels / 257).astype(np.uint8)


def one_to_one(tab):
    """Show pixels of the image on pixels of the screen, and return the grays of the image."""
    tab.get_by_role("button", name="One to one").click()
    return in_the_middle(shown(tab), ROWS, COLUMNS)


def in_the_middle(screen, rows, columns):
    opaque = np.argwhere(screen[:, :, 3] == 255)
    (top, left), (bottom, right) = opaque.min(axis=0), opaque.max(axis=0)
    assert (bottom - top + 1, right - left + 1) == (rows, columns)
    part = screen[top : bottom + 1, left : right + 1]
    assert np.array_equal(part[:, :, 0], part[:, :, 1])
    assert np.array_equal(part[:, :, 0], part[:, :, 2])
    return part[:, :, 0].astype(int)


def field(tab, name):
    return tab.get_by_role("spinbutton", name=name)


def numbers(tab):
    return field(tab, "Center").input_value(), field(tab, "Width").input_value()


KINDS = {
    "range": {},
    "window": {"WindowCenter": 1500, "WindowWidth": 1000},
    "inverted": {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 1500, "WindowWidth": 1000},
    "sigmoid": {"WindowCenter": 1500, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},
    "table": {"VOILUTSequence": [lut(np.arange(0, 4096, 4), first=700, bits=12)]},
    "padding": {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 500},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_view_shows_what_the_model_received(opened, local, dicom, kind):
    path = dicom(**KINDS[kind])
    tab = opened(local)
    upload(tab, path)
    first = shown(tab)
    expected = eight_bit(path)
    assert np.array_equal(one_to_one(tab), expected)
    tab.get_by_role("button", name="Invert").click()
    padded = NOISE <= 500 if kind == "padding" else np.zeros_like(NOISE, bool)
    inverted = in_the_middle(shown(tab), ROWS, COLUMNS)
    assert np.array_equal(inverted, np.where(padded, 0, 255 - expected.astype(int)))
    field(tab, "Width").fill("333")
    tab.get_by_role("button", name="Reset").click()
    assert np.array_equal(shown(tab), first)


def test_png_of_16_bits_and_jpeg_are_shown_as_read(opened, local, tmp_path):
    deep = tmp_path / "deep.png"
    Image.fromarray((NOISE * 16).astype(np.uint16)).save(deep)
    jpeg = tmp_path / "a.jpg"
    Image.fromarray((RAMP // 16).astype(np.uint8)).save(jpeg)
    tab = opened(local)
    upload(tab, deep, jpeg)
    assert np.array_equal(one_to_one(tab), eight_bit(deep))
    tab.get_by_role("button", name="a.jpg").click()
    assert np.array_equal(one_to_one(tab), eight_bit(jpeg))


def test_center_and_width_are_numbers_in_the_unit_of_the_file(opened, local, dicom):
    path = dicom(RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=2000, WindowWidth=4000)
    tab = opened(local)
    upload(tab, path)
    shown(tab)
    assert numbers(tab) == ("2000", "4000")
    field(tab, "Center").fill("1500")
    field(tab, "Width").fill("2500")
    values = 2.0 * NOISE - 1000
    share = np.clip((values - (1500 - 0.5)) / (2500 - 1) + 0.5, 0, 1)
    assert np.abs(one_to_one(tab) - np.floor(share * 255 + 0.5)).max() == 0
    # PS3.3: inversion comes after the window.
    tab.get_by_role("button", name="Invert").click()
    assert np.array_equal(
        in_the_middle(shown(tab), ROWS, COLUMNS), 255 - np.floor(share * 255 + 0.5).astype(int)
    )
    assert numbers(tab) == ("1500", "2500")


def test_presets_are_measured_on_the_image(opened, local, dicom):
    tab = opened(local)
    upload(tab, dicom(RAMP, WindowCenter=100, WindowWidth=100, RescaleIntercept=-100))
    first = shown(tab)
    preset = tab.get_by_role("combobox", name="Window preset")
    expected = {"Full range": (200, 3700), "Middle 90 %": (375, 3525), "Darker half": (270, 1950)}
    for name, (low, high) in expected.items():
        preset.select_option(label=name)
        center, width = map(float, numbers(tab))
        assert (center - width / 2, center + width / 2) == pytest.approx((low, high), abs=40)
    assert not np.array_equal(shown(tab), first)
    preset.select_option(label="As received")
    assert np.array_equal(shown(tab), first)


def test_dragging_changes_the_window_by_the_extent_of_the_values(opened, local, dicom):
    """A drag over half of the canvas moves the center by half of the values: neither dead nor wild."""
    tab = opened(local)
    low_contrast = (2000 + NOISE % 100).astype(np.uint16)
    upload(tab, dicom(low_contrast))
    shown(tab)
    center, width = map(float, numbers(tab))
    assert (center, width) == pytest.approx((2050, 99), abs=1)
    box = tab.locator(".radiograph").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4
    tab.get_by_role("radio", name="Window").check(force=True)
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x, y + box["height"] / 2, steps=5)
    tab.mouse.up()
    moved = float(numbers(tab)[0])
    assert moved - center == pytest.approx(49.5, abs=1.5)
    # The right button does it whatever the tool, and nothing leaves the values altogether.
    tab.get_by_role("radio", name="Move").check(force=True)
    tab.mouse.move(x, y)
    tab.mouse.down(button="right")
    tab.mouse.move(x, y + 3000, steps=5)
    tab.mouse.up(button="right")
    assert 2050 <= float(numbers(tab)[0]) <= 2150


def test_zoom_and_place_by_buttons_keys_wheel_and_dragging(opened, local, dicom):
    tab = opened(local)
    upload(tab, dicom(RAMP))
    first = shown(tab)
    readout = tab.locator(".readout").first
    fit = readout.inner_text()
    canvas = tab.locator(".radiograph").first
    for enlarge, move in (
        (tab.get_by_role("button", name="Zoom in").click, tab.get_by_role("button", name="Look right").click),
        (lambda: canvas.press("+"), lambda: canvas.press("ArrowRight")),
        (lambda: wheel(tab, canvas), lambda: drag(tab, canvas, -100)),
    ):
        for _ in range(4):
            enlarge()
        larger = shown(tab)
        assert readout.inner_text() != fit
        middle = larger.shape[0] // 2, larger.shape[1] // 2
        move()
        # To the right of the ramp it is brighter.
        assert int(shown(tab)[(*middle, 0)]) > int(larger[(*middle, 0)])
        canvas.press("f")
        assert np.array_equal(shown(tab), first)
        assert readout.inner_text() == fit
    for _ in range(40):
        canvas.press("-")
    assert readout.inner_text().startswith("100 %")  # not smaller than its own pixels


def wheel(tab, canvas):
    canvas.hover()
    tab.mouse.wheel(0, -100)


def drag(tab, canvas, across):
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + across, y, steps=4)
    tab.mouse.up()


def test_a_point_stays_under_the_pointer_while_zooming(opened, local, dicom):
    marked = RAMP.copy()
    marked[20:23, 30:33] = 4095
    tab = opened(local)
    upload(tab, dicom(marked))
    screen = shown(tab)[:, :, 0]
    y, x = np.argwhere(screen > 250).mean(axis=0)
    box = tab.locator(".radiograph").first.bounding_box()
    tab.mouse.move(box["x"] + x, box["y"] + y)
    for _ in range(5):
        tab.mouse.wheel(0, -100)
    enlarged = shown(tab)[:, :, 0]
    assert enlarged[round(y), round(x)] > 250
    assert np.mean(enlarged > 250) > 2 * np.mean(screen > 250)


def test_a_large_image_is_averaged_to_fit(opened, local, dicom):
    """Lines one pixel wide become their mean, not a pattern."""
    lines = np.zeros((2000, 2400), np.uint16)
    lines[:, ::2] = 4000
    tab = opened(local)
    upload(tab, dicom(lines))
    screen = shown(tab)
    seen = screen[screen[:, :, 3] == 255][:, 0]
    assert np.abs(seen.astype(int) - 128).max() <= 2


@pytest.mark.parametrize(
    ("orientation", "left", "right"), [("L\\F", "R", "L"), ("R\\F", "L", "R"), (None, "", "")]
)
def test_sides_are_those_of_the_header(opened, local, dicom, orientation, left, right):
    elements = {} if orientation is None else {"PatientOrientation": orientation}
    tab = opened(local)
    upload(tab, dicom(**elements))
    shown(tab)
    edges = tab.locator(".pane").first.locator(".edge").all_inner_texts()
    assert edges[:2] == [left, right]
    unknown = "orientation unknown" in tab.locator("#image-facts").inner_text()
    assert unknown == (orientation is None)


def test_what_the_model_received_is_said(opened, local, dicom):
    tab = opened(local)
    upload(tab, dicom(RAMP, PhotometricInterpretation="MONOCHROME1", WindowCenter=1500, WindowWidth=1000))
    shown(tab)
    assert tab.locator("#received").inner_text() == (
        "The model received: VOI window 1 (linear), center 1500, width 1000, inverted; the values of this "
        "image go from 300 to 3800."
    )


# ---- two images --------------------------------------------------------------------------------


def test_two_images_side_by_side_move_together(opened, local, dicom):
    tab = opened(local)
    upload(tab, dicom(RAMP, "prior.dcm"), dicom(RAMP[:, ::-1].copy(), "current.dcm"))
    tab.get_by_role("button", name="Side by side").click()
    assert tab.locator(".pane-title:visible").all_inner_texts() == ["prior.dcm", "current.dcm"]
    sync_api.expect(tab.locator("[aria-current=true] .name")).to_have_text("current.dcm")
    before = [shown(tab, pane) for pane in (0, 1)]
    readouts = tab.locator(".readout")
    assert readouts.nth(0).inner_text().split(" ·")[0] == readouts.nth(1).inner_text().split(" ·")[0]
    right = tab.locator(".radiograph").nth(1)
    for _ in range(4):
        right.press("+")
    right.press("ArrowRight")
    left_seen, right_seen = shown(tab, 0), shown(tab, 1)
    assert not np.array_equal(left_seen, before[0])
    # The ramps run against each other, and both panes show the same part.
    total = left_seen[..., 0].astype(int) + right_seen[..., 0]
    assert np.abs(total - 255).max() <= 2
    right.press("i")  # the window is each image's own
    assert np.array_equal(shown(tab, 0), left_seen)
    tab.get_by_role("switch", name="Linked").click()
    right.press("f")
    assert np.array_equal(shown(tab, 0), left_seen)
    assert not np.array_equal(shown(tab, 1), right_seen)
    tab.get_by_role("button", name="Side by side").click()
    assert tab.locator(".pane:visible").count() == 1
    assert tab.get_by_role("heading", name="current.dcm").is_visible()


def test_the_findings_are_those_of_the_pane_in_use(opened, local):
    tab = opened(local)
    upload(tab, SOURCE / "00.png", SOURCE / "01.png")
    tab.get_by_role("button", name="Side by side").click()
    second = tab.locator("#finding-list").inner_text()
    tab.locator(".radiograph").nth(0).click()
    assert tab.get_by_role("heading", name="00.png").is_visible()
    assert tab.locator("#finding-list").inner_text() != second
    tab.get_by_role("button", name="01.png").click()  # into the pane in use
    assert tab.locator(".pane-title:visible").all_inner_texts() == ["01.png", "01.png"]


def test_two_models_read_one_image(opened, model):
    starter = thorax.load()
    path = SOURCE / "00.png"
    with running(str(starter.bundle.folder)) as service:
        tab = opened(service)
        upload(tab, path)
        first = shown(tab)
        tab.get_by_role("button", name="Side by side").click()
        titles = tab.locator(".pane-title:visible")
        assert titles.all_inner_texts() == ["00.png, small-cpu", "00.png, starter"]
        sync_api.expect(tab.locator(".finding")).to_have_count(len(starter.findings))
        assert tab.get_by_role("button", name="About starter").is_visible()
        assert np.array_equal(shown(tab, 0), shown(tab, 1))
        tab.locator(".radiograph").nth(0).focus()
        sync_api.expect(tab.locator(".finding")).to_have_count(len(model.findings))
        assert tab.get_by_role("button", name="About small-cpu").is_visible()
        tab.get_by_role("button", name="Side by side").click()
        tab.get_by_role("combobox", name="Model").select_option("starter")
        sync_api.expect(tab.locator(".finding")).to_have_count(len(starter.findings))
        assert np.array_equal(shown(tab), first)
        assert len(settled(tab)) == 1


# ---- keys, fingers, memory ---------------------------------------------------------------------


def test_keys_are_listed_and_work_only_in_the_viewer(opened, local):
    tab = opened(local)
    upload(tab, SOURCE / "00.png", SOURCE / "01.png")
    first = shown(tab)
    canvas = tab.locator(".radiograph").first
    canvas.press("?")
    keys = tab.get_by_role("dialog", name="Keys and gestures")
    assert keys.is_visible()
    assert len(keys.locator("dt").all()) == len(keys.locator("dd").all()) >= 15
    tab.keyboard.press("Escape")
    canvas.press("]")
    assert tab.get_by_role("heading", name="01.png").is_visible()
    canvas.press("[")
    assert tab.get_by_role("heading", name="00.png").is_visible()
    canvas.press("Shift+ArrowRight")
    assert tab.locator("#status").text_content().startswith("Center ")
    canvas.press("1")
    assert np.array_equal(shown(tab), first)
    tab.get_by_role("button", name="00.png").press("i")
    assert np.array_equal(shown(tab), first)


def test_two_fingers_zoom_on_a_telephone(opened, local, dicom):
    tab = opened(local, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    upload(tab, dicom(RAMP))
    before = shown(tab)
    canvas = tab.locator(".radiograph").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = tab.context.new_cdp_session(tab)

    def touch(kind, apart):
        points = [{"x": x - apart, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}] if apart else []
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 20)
    for apart in range(25, 85, 5):
        touch("touchMove", apart)
    touch("touchEnd", 0)
    percent = int(re.match(r"\d+", tab.locator(".readout").first.inner_text())[0])
    assert percent > 3 * 100 * canvas.evaluate("(canvas) => canvas.width") / COLUMNS
    assert not np.array_equal(shown(tab), before)


def test_a_folder_is_read_in_order_without_what_is_about_it(opened, local, tmp_path):
    folder = tmp_path / "study"
    (folder / "b").mkdir(parents=True)
    for name in ("b/01.png", "a.png"):
        (folder / name).write_bytes((SOURCE / "00.png").read_bytes())
    for name in (".DS_Store", "README.txt", "b/LICENSE"):
        (folder / name).write_text("not an image")
    (folder / "notes.txt").write_text("not an image")
    tab = opened(local)
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(folder)
    words = settled(tab)
    assert [lines[-2] for lines in words] == ["study/a.png", "study/b/01.png", "study/notes.txt"]
    assert words[-1][-1] == "not read"
    assert tab.locator("#case-count").inner_text() == "2 of 3 read, 1 could not be read"


def test_after_a_reload_the_page_says_why_it_is_empty(opened, local):
    tab = opened(local)
    upload(tab, SOURCE / "00.png", SOURCE / "01.png")
    tab.reload()
    note = tab.locator("#reload-note")
    sync_api.expect(note).to_have_text(
        "The 2 images of before the reload are no longer here: nothing is kept, neither in this browser nor "
        "elsewhere. Choose them again."
    )
    assert tab.locator(".case").count() == 0
    tab.reload()
    tab.get_by_role("button", name="About").wait_for()
    assert not note.is_visible()
