"""Pictures: captions that can be read and say everything, scales, padding, kinds of files."""

import numpy as np
import pytest
from PIL import Image, ImageFont
from PIL.PdfParser import PdfParser

from thorax.explain import lettering
from thorax.explain.canvas import as_png
from thorax.explain.explainers import Explainer
from thorax.explain.lettering import elided, font_of, text_width, wrapped
from thorax.explain.pdf import PdfPages
from thorax.explain.picture import Drawing, Panel, draw_picture, write_picture
from thorax.explain.radiograph import (
    explain_radiograph,
    inside,
    picture_heading,
    side_by_side,
    silent_notes,
)
from thorax.findings import finding_or_new
from thorax.imaging import prepare, read_radiograph
from thorax.prediction import FindingPrediction, ModelIdentity
from thorax.radiograph import Origin, Radiograph, ViewPosition
from thorax.recipe.schema import Preparation

MASS, NODULE = finding_or_new("Mass"), finding_or_new("Nodule")
MODEL = ModelIdentity("small-cpu", "0123456789abcdef", calibrated=True)


def radiograph(height, width):
    rows = np.linspace(0, 255, height).astype(np.uint8)
    pixels = np.broadcast_to(rows[:, None], (height, width)).copy()
    return Radiograph(pixels=pixels, origin=Origin(name="a.png", format="PNG", intensity="", bits=8))


class Fixed:
    """An explainer that returns given maps of the prepared square."""

    library = "none"

    def __init__(self, preparation, **maps):
        self.preparation, self.by_name = preparation, maps

    @property
    def bundle(self):
        return self

    @property
    def manifest(self):
        return self

    def maps(self, pixels, findings, *, method, seed=0):  # noqa: ARG002  (an explainer's)
        return np.stack([self.by_name[finding.name] for finding in findings])[None].astype(np.float32)


def predicted(*findings):
    return [FindingPrediction(finding, 0.531, 0.36) for finding in findings]


def explained(image, *, method="cam", fit="pad", size=64, **maps):
    explainer = Fixed(Preparation(size=size, fit=fit), **maps)
    assert isinstance(explainer, Explainer)
    findings = tuple(finding_or_new(name) for name in maps)
    return explain_radiograph(explainer, image, findings, methods=[method])


def capital_height(size):
    font = ImageFont.load_default(size=size)
    _, top, _, bottom = font.getbbox("H", anchor="ls")
    return bottom - top


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((200, 200), 1), ((200, 200), 4), ((200, 200), 15), ((1024, 1024), 4), ((1024, 900), 15),
        ((7624, 6200), 1), ((64, 900), 4), ((900, 64), 4), ((900, 64), 15),
    ],
)  # fmt: skip
def test_letters_are_tall_enough_and_nothing_is_cut_off(shape, count):
    pixels = np.zeros(shape, dtype=np.uint8)
    caption = ["Effusion 53.1 %, threshold 36.0 %: yes", "cam: highest 1.11 at x 398, y 300"]
    flat = np.zeros(shape, dtype=np.float32)
    flat[0, 0] = 1
    map_ = Panel(caption=caption, attribution=flat, unit="logits per gray value", note="one scale for all")
    panels = [Panel(caption=["Radiograph"], attribution=None), *[map_] * (count - 1)]
    columns = count if count <= 4 else -(-count // 2)
    heading = ["x" * 300 + "-end.dcm", "Model small-cpu. Research use only, not for diagnosis."]
    canvas = draw_picture(
        pixels, panels, drawing=Drawing(columns=columns, largest=500 if count > 4 else 2048), heading=heading
    )
    for words in canvas.words:
        tall = capital_height(words.size) if count <= 4 else words.size
        assert tall >= 0.015 * canvas.height
        assert words.left + text_width(words.text, words.size) <= canvas.width
        assert words.size <= words.baseline + 1
        assert words.baseline + 0.25 * words.size <= canvas.height
    for tile in canvas.tiles:
        height, width = tile.gray.shape
        assert tile.left + width <= canvas.width
        assert tile.top + height <= canvas.height
    text = " ".join(words.text for words in canvas.words)
    assert text.startswith("xxx")
    assert "-end.dcm Model small-cpu" in text
    assert "Research use only, not for diagnosis." in text
    assert text.count("threshold 36.0 %: yes") == count - 1


def test_a_picture_says_what_the_table_says(tmp_path):
    image = radiograph(400, 500)
    bump = np.zeros((64, 64))
    bump[20, 30] = 1.114
    (map_,) = explained(image, Mass=bump)
    assert map_.highest == np.float32(1.114)
    x, y = map_.place
    panels, columns = side_by_side([map_], image, predicted(MASS))
    heading = picture_heading("/patients/Doe/chest.png", MODEL)
    canvas = draw_picture(image.pixels, panels, drawing=Drawing(columns=columns), heading=heading)
    assert [words.text for words in canvas.words] == [
        "chest.png",
        "Model small-cpu, bundle 01234567. Research use only, not for diagnosis.",
        "Radiograph", "500 x 400 pixels",
        "Mass 53.1 %, threshold 36.0 %: yes", f"cam: highest 1.11 at x {x:.0f}, y {y:.0f}",
        "0", "1.11 logits",
    ]  # fmt: skip
    frontal = Radiograph(pixels=image.pixels, origin=image.origin, view=ViewPosition.PA)
    no_threshold = FindingPrediction(MASS, 0.531, None)
    panels, _ = side_by_side([map_], frontal, [no_threshold])
    assert panels[0].caption[1] == "500 x 400 pixels, PA view"
    assert panels[1].caption[0] == "Mass 53.1 %, no threshold"


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (64, 640), (300, 300)])
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_padding_never_wins(height, width, fit):
    """The map is highest in every bar, and still place, box and highest value are the image's."""
    image = radiograph(height, width)
    preparation = Preparation(size=64, fit=fit)
    rows, columns = inside(height, width, preparation)
    white = Radiograph(pixels=np.full((height, width), 255, np.uint8), origin=image.origin)
    shown = prepare(white, preparation) > 0
    assert shown[rows, columns].all()
    assert shown.sum() == shown[rows, columns].size
    attribution = np.where(shown, 0.1, 9.0)
    middle = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
    attribution[middle] = 1.0
    (map_,) = explained(image, fit=fit, Mass=attribution)
    assert map_.highest == 1
    x, y = map_.place
    assert 0 < x < width
    assert 0 < y < height
    left, top, across, down = map_.box
    assert across > 0
    assert down > 0
    assert 0 <= left <= x <= left + across <= width
    assert 0 <= top <= y <= top + down <= height


def test_the_black_image_of_which_only_the_padding_speaks_has_no_place():
    image = Radiograph(
        pixels=np.zeros((300, 400), np.uint8),
        origin=Origin(name="black.png", format="PNG", intensity="", bits=8),
    )
    attribution = np.full((64, 64), -0.5)
    attribution[-1] = 2.0
    (map_,) = explained(image, Mass=attribution)
    assert (map_.place, map_.box, map_.highest) == (None, None, -0.5)
    assert silent_notes([map_], has_weights=False) == ["no location in the image supports Mass (cam)"]


def test_maps_of_one_method_share_their_scale():
    image = radiograph(256, 256)
    weak, strong = np.full((64, 64), 0.01), np.full((64, 64), 0.2)
    weak[10, 10], strong[40, 40] = 0.059, 1.11
    maps = explained(image, Mass=weak, Nodule=strong)
    panels, _ = side_by_side(maps, image, predicted(MASS, NODULE))
    assert [panel.scale.high for panel in panels[1:]] == [np.float32(1.11)] * 2
    assert {panel.note for panel in panels[1:]} == {"one scale for these 2 maps"}
    canvas = draw_picture(image.pixels, panels, drawing=Drawing())
    first, second = (tile.heat.max() for tile in canvas.tiles if tile.heat is not None and tile.lines == [])
    assert first == pytest.approx(0.059 / 1.11, rel=0.2)
    assert second == pytest.approx(1, rel=0.2)
    # Another method has values of another kind, and a scale of its own.
    other = explained(image, method="grad-cam", Mass=10 * strong)
    panels, _ = side_by_side([*maps[:1], *other], image, predicted(MASS))
    assert [panel.scale.high for panel in panels[1:]] == pytest.approx([0.059, 11.1])
    assert [panel.unit for panel in panels[1:]] == ["logits", ""]


def test_a_map_without_evidence_is_drawn_relative_to_its_mean():
    image = radiograph(256, 256)
    falling = -1 - np.broadcast_to(np.linspace(0, 1, 64)[:, None], (64, 64))
    (map_,) = explained(image, Mass=falling)
    assert map_.place is None
    panels, _ = side_by_side([map_], image, predicted(MASS))
    assert panels[1].caption[1] == "cam: no location supports it (highest -1.00)"
    assert (panels[1].scale.low, panels[1].scale.high) == pytest.approx((-1.5, -1))
    assert panels[1].note == "drawn relative to its own mean, at the left end"
    canvas = draw_picture(image.pixels, panels, drawing=Drawing())
    heat = canvas.tiles[-1].heat
    assert heat[0].min() == 1
    assert heat[len(heat) // 2 + 8 :].max() == 0
    (flat,) = explained(image, Mass=np.full((64, 64), -2.0))
    panels, _ = side_by_side([flat], image, predicted(MASS))
    assert panels[1].note == "the same everywhere"


def test_fifteen_panels_take_two_rows():
    image = radiograph(256, 256)
    maps = explained(image, **dict.fromkeys([f"F{number}" for number in range(14)], np.ones((64, 64))))
    panels, columns = side_by_side(maps, image, predicted(*(each.finding for each in maps)))
    assert (len(panels), columns) == (15, 8)
    by_two = [
        map_
        for each in maps[:3]
        for map_ in (each, explained(image, method="rise", Mass=np.ones((64, 64)))[0])
    ]
    panels, columns = side_by_side(by_two, image, predicted(MASS, *(each.finding for each in maps)))
    assert (len(panels), columns) == (9, 6)
    assert [len(panel.caption) > 1 and panel.attribution is None for panel in panels] == [
        True,
        False,
        False,
    ] * 3


def test_long_names_keep_their_ending():
    name = "a-name-that-is-much-too-long-for-its-place.dcm"
    short = elided(name, 20, 200)
    assert short.startswith("a-n")
    assert short.endswith(".dcm")
    assert "…" in short
    assert text_width(short, 20) <= 200 < text_width(name, 20)
    assert elided("short.dcm", 20, 200) == "short.dcm"
    assert wrapped("one two three", 20, text_width("one two", 20)) == ["one two", "three"]


@pytest.mark.parametrize("name", ["легкие.png", "胸部正位.dcm", "\udcff\x1b[31m.png", "Überblähung.png"])
def test_names_in_any_script_are_drawn_without_boxes(tmp_path, name):
    font, text = font_of(name, 20)
    missing = bytes(font.getmask("\uffff"))
    assert all(bytes(font.getmask(letter)) != missing for letter in text)
    assert "?" not in text
    panels = [Panel(caption=["Radiograph"], attribution=None)]
    for ending in (".png", ".svg"):
        path = tmp_path / f"a{ending}"
        write_picture(path, radiograph(100, 100).pixels, panels, drawing=Drawing(), heading=[name])
        assert path.stat().st_size > 1000


@pytest.fixture
def only_own_font(monkeypatch):
    """A machine without fonts, beside Pillow's."""
    monkeypatch.setattr(lettering, "_others", tuple)
    lettering._lettering.cache_clear()
    yield
    lettering._lettering.cache_clear()


@pytest.mark.usefixtures("only_own_font")
def test_letters_that_no_font_has_become_escapes():
    assert font_of("Überblähung 胸.dcm", 20)[1] == r"Uberblahung \u80f8.dcm"


def test_the_kinds_show_the_same_picture(tmp_path):
    pixels = radiograph(300, 400).pixels
    panels = [Panel(caption=["Radiograph"], attribution=None)]
    for name in ("a.png", "a.jpeg", "a.pdf"):
        write_picture(tmp_path / name, pixels, panels, drawing=Drawing(), heading=["a.png"])
    with Image.open(tmp_path / "a.png") as png, Image.open(tmp_path / "a.jpeg") as jpeg:
        assert (png.format, jpeg.format) == ("PNG", "JPEG")
        assert png.size == jpeg.size
        assert np.abs(np.asarray(png).astype(int) - np.asarray(jpeg)).mean() < 1


def test_a_pdf_has_a_page_for_each_picture(tmp_path):
    sizes = [(200, 100), (100, 200), (50, 50)]
    with (tmp_path / "a.pdf").open("wb") as file:
        pages = PdfPages(file)
        for width, height in sizes:
            panels = [Panel(caption=[], attribution=None)]
            canvas = draw_picture(np.zeros((64, 64), np.uint8), panels, drawing=Drawing())
            pages.add(as_png(canvas), width=width, height=height)  # any bytes: the picture is not looked into
        pages.finish()
    with PdfParser(str(tmp_path / "a.pdf")) as parsed:
        assert len(parsed.pages) == 3
        boxes = [parsed.read_indirect(page)[b"MediaBox"] for page in parsed.pages]
        assert [box[2] > box[3] for box in boxes] == [True, False, False]


def test_a_real_radiograph_has_its_caption(shared_data):
    image = read_radiograph(shared_data / "nih-originals" / "00000193_019.png")
    (map_,) = explained(image, Mass=np.eye(64))
    panels, columns = side_by_side([map_], image, predicted(MASS))
    canvas = draw_picture(
        image.pixels, panels, drawing=Drawing(columns=columns), heading=["00000193_019.png"]
    )
    assert min(capital_height(words.size) for words in canvas.words) >= 0.015 * canvas.height
