import base64
import io
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

import thorax.explain
from thorax.boxes import Box
from thorax.errors import DataError
from thorax.explain.overlay import overlay
from thorax.explain.picture import Drawing, Panel, write_picture
from thorax.imaging import read_radiograph

INFERNO = np.loadtxt(Path(thorax.explain.__file__).with_name("inferno.txt"))


def radiograph(height=400, width=500, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def blob(height=400, width=500):
    y, x = np.mgrid[:height, :width]
    return np.maximum(1 - np.hypot(y - height / 2, x - width / 3) / 100, 0).astype(np.float32) * 7


def find(picture, pixels):
    """Where the radiograph stands in a picture to the pixel: rows and columns of its top left corners."""
    height, width = pixels.shape
    gray = np.repeat(pixels[:, :, None], 3, axis=2)
    corner = np.all(picture[:, :, :3] == gray[0, 0], axis=2)
    return [
        (row, column)
        for row, column in np.argwhere(corner)
        if np.array_equal(picture[row : row + height, column : column + width, :3], gray)
    ]


def test_overlay_by_hand():
    pixels = np.array([[10, 200], [90, 30]], dtype=np.uint8)
    attribution = np.array([[0.0, 2.0], [1.0, -3.0]])
    found = overlay(pixels, attribution, opacity=0.5)
    colors = INFERNO[[255, 128]] * 255
    assert found[0, 0].tolist() == [10] * 3
    assert found[1, 1].tolist() == [30] * 3
    assert found[0, 1].tolist() == np.round(0.5 * 200 + 0.5 * colors[0]).tolist()
    assert found[1, 0].tolist() == np.round(0.75 * 90 + 0.25 * colors[1]).tolist()


def test_without_evidence_the_anatomy_stays():
    pixels = radiograph()
    for attribution in (np.zeros(pixels.shape), np.full(pixels.shape, -1.0), np.full(pixels.shape, np.nan)):
        assert np.array_equal(overlay(pixels, attribution, opacity=1.0), np.stack([pixels] * 3, axis=2))


def test_deep_radiographs_keep_their_greys():
    deep = np.array([[0, 65535], [257 * 100, 257 * 3]], dtype=np.uint16)
    found = overlay(deep, np.zeros((2, 2)), opacity=0.6)
    assert found[:, :, 0].tolist() == [[0, 255], [100, 3]]


def test_colors_are_those_of_matplotlib():
    mpl = pytest.importorskip("matplotlib")
    assert np.array_equal(INFERNO, mpl.colormaps["inferno"].colors)


def test_colours_are_perceptually_uniform():
    """Lightness rises steadily, so that grey prints and colour-blind readers see the same order."""
    rgb = INFERNO[np.linspace(0, 255, 33).round().astype(int)]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    steps = [after - before for before, after in pairwise(lightness)]
    assert min(steps) > 0.25 * max(steps)


def test_a_pixel_is_a_pixel_and_nothing_stands_over_the_anatomy(tmp_path):
    pixels = radiograph()
    panels = [
        Panel(caption=["Radiograph"], attribution=None),
        Panel(caption=["Nothing, grad-cam"], attribution=np.zeros(pixels.shape)),
        Panel(caption=["Mass, grad-cam"], attribution=blob()),
    ]
    write_picture(tmp_path / "a.png", pixels, panels, drawing=Drawing())
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    places = find(picture, pixels)
    assert len(places) == 2
    (row, first), (_, second) = places
    third = second + (second - first)
    shown = picture[row : row + 400, third : third + 500, :3]
    assert np.array_equal(shown, overlay(pixels, blob(), opacity=0.6))


def test_panels_are_broken_into_lines(tmp_path):
    pixels = radiograph()
    panels = [Panel(caption=[str(number)], attribution=None) for number in range(5)]
    write_picture(tmp_path / "a.png", pixels, panels, drawing=Drawing(columns=2))
    places = find(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    rows = sorted({row for row, _ in places})
    assert [sum(row == each for row, _ in places) for each in rows] == [2, 2, 1]


def test_contour_and_box_are_drawn_only_where_asked_for(tmp_path):
    pixels = np.full((400, 500), 100, dtype=np.uint8)
    panels = [Panel(caption=["Mass"], attribution=blob(), box=Box(300.0, 50.0, 100.0, 80.0))]
    plain, drawn = tmp_path / "plain.png", tmp_path / "drawn.png"
    write_picture(plain, pixels, panels, drawing=Drawing())
    write_picture(drawn, pixels, panels, drawing=Drawing(contour=0.5, boxes=True))
    difference = np.any(np.asarray(Image.open(plain)) != np.asarray(Image.open(drawn)), axis=2)
    (top, left), (bottom, right) = (
        find_color(difference).min(axis=0), find_color(difference).max(axis=0)
    )  # fmt: skip
    # The caption's strip is three lines of text high, and the gap one: see the plain panel's corner.
    row, column = np.argwhere(np.all(np.asarray(Image.open(plain))[:, :, :3] == 100, axis=2))[0]
    assert abs(right - column - 400) <= 3  # the box's right edge
    assert abs(top - row - 50) <= 3  # its upper edge
    assert abs(left - column - (500 / 3 - 50)) <= 3  # the contour at half the height of the blob
    assert abs(bottom - row - 250) <= 3


def find_color(mask):
    return np.argwhere(mask)


def test_small_radiographs_are_enlarged_and_large_ones_shrunk(tmp_path):
    small = radiograph(64, 64)
    write_picture(
        tmp_path / "a.png", small, [Panel(caption=["Mass"], attribution=blob(64, 64))], drawing=Drawing()
    )
    assert np.asarray(Image.open(tmp_path / "a.png")).shape[1] > 384
    write_picture(tmp_path / "b.png", small, [Panel(caption=["Mass"], attribution=None)], drawing=Drawing())
    enlarged = np.kron(small, np.ones((6, 6), np.uint8))
    assert len(find(np.asarray(Image.open(tmp_path / "b.png")), enlarged)) == 1
    large = np.kron(radiograph(500, 400), np.ones((2, 2), np.uint8))
    write_picture(
        tmp_path / "c.png",
        large,
        [Panel(caption=["Mass"], attribution=None), Panel(caption=["M"], attribution=blob(1000, 800))],
        drawing=Drawing(largest=500),
    )
    assert len(find(np.asarray(Image.open(tmp_path / "c.png")), radiograph(500, 400))) == 1


def test_svg_has_text_and_the_whole_image(tmp_path):
    panels = [
        Panel(caption=["Mass, grad-cam"], attribution=blob()),
        Panel(caption=["None"], attribution=-blob(), note="no evidence for it"),
    ]
    write_picture(tmp_path / "new" / "a.svg", radiograph(), panels, drawing=Drawing(contour=0.5))
    text = (tmp_path / "new" / "a.svg").read_text()
    for words in ("Mass, grad-cam", f">{blob().max():.3g}<", ">0<", "no evidence for it"):
        assert words in text
    images = [
        Image.open(io.BytesIO(base64.b64decode(image)))
        for image in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    ]
    gray = [np.asarray(image) for image in images if image.mode == "L" and image.size == (500, 400)]
    assert len(gray) == 1  # once for both panels
    assert np.array_equal(gray[0], radiograph())
    # A viewer blends the layer of the map with the gray: the same picture as the PNG's.
    layer = next(image for image in images if image.mode == "P" and image.size == (500, 400))
    shown = Image.alpha_composite(Image.fromarray(gray[0]).convert("RGBA"), layer.convert("RGBA"))
    mapped = overlay(gray[0], blob(), opacity=0.6)
    assert np.abs(np.asarray(shown)[:, :, :3].astype(int) - mapped).max() <= 4


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.svg", "a.pdf"])
def test_the_same_picture_has_the_same_bytes(tmp_path, name):
    panels = [Panel(caption=["Mass"], attribution=blob(), box=Box(1.0, 2.0, 30.0, 40.0))]
    content = []
    for _ in range(2):
        write_picture(tmp_path / name, radiograph(), panels, drawing=Drawing(contour=0.4, boxes=True))
        content.append((tmp_path / name).read_bytes())
    assert content[0] == content[1]


def test_a_name_that_is_no_picture_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"a.gif is not the name of a picture.*ends in .png, .jpg, .svg or .pdf"
    ):
        write_picture(
            tmp_path / "a.gif", radiograph(), [Panel(caption=[""], attribution=None)], drawing=Drawing()
        )
    assert not list(tmp_path.iterdir())


def test_a_real_radiograph_is_drawn_whole(shared_data, tmp_path):
    pixels = read_radiograph(shared_data / "nih-originals" / "00000193_019.png").pixels
    panels = [
        Panel(caption=["Radiograph"], attribution=None),
        Panel(caption=["M"], attribution=blob(1024, 1024)),
    ]
    write_picture(tmp_path / "a.png", pixels, panels, drawing=Drawing())
    assert len(find(np.asarray(Image.open(tmp_path / "a.png")), pixels)) == 1


def test_pictures_need_no_matplotlib(tmp_path):
    code = """
import sys
from pathlib import Path

import numpy as np

sys.modules["matplotlib"] = None  # an import of it fails
from thorax.boxes import Box
from thorax.explain.picture import Drawing, Panel, write_picture

attribution = np.add.outer(np.arange(40.0), np.arange(50.0))
panel = Panel(caption=["Mass"], attribution=attribution, box=Box(5.0, 5.0, 20.0, 10.0))
for name in ("a.png", "a.svg"):
    path = Path(sys.argv[1]) / name
    pixels = np.full((40, 50), 90, np.uint8)
    write_picture(path, pixels, [panel], drawing=Drawing(contour=0.5, boxes=True))
"""
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    assert np.asarray(Image.open(tmp_path / "a.png")).shape[1] > 384
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_an_svg_has_the_contour_and_the_box_as_paths(tmp_path):
    panels = [Panel(caption=["Mass & more"], attribution=blob(), box=Box(10.0, 20.0, 30.0, 40.0))]
    write_picture(tmp_path / "a.svg", radiograph(), panels, drawing=Drawing(contour=0.5, boxes=True))
    root = ET.parse(tmp_path / "a.svg").getroot()
    paths = [path.get("d") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    assert paths[-1] == "M10.00,20.00 40.00,20.00 40.00,60.00 10.00,60.00Z"
    (contour,) = (np.array(re.findall(r"[\d.]+", path), np.float64).reshape(-1, 2) for path in paths[:-1])
    distances = np.hypot(*(contour - (500 / 3 + 0.5, 200.5)).T)
    assert np.allclose(distances, 50, atol=0.5)
    assert next(root.iter("{http://www.w3.org/2000/svg}text")).text == "Mass & more"


def test_a_caption_that_is_too_long_is_written_smaller(tmp_path):
    pixels = np.zeros((400, 400), dtype=np.uint8)
    panels = [Panel(caption=["Hernia " * 14], attribution=None), Panel(caption=[""], attribution=None)]
    write_picture(tmp_path / "a.png", pixels, panels, drawing=Drawing())
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    first, second = find(picture, pixels)
    assert np.all(picture[: first[0], second[1] :] == 255)
    assert np.any(picture[: first[0], : first[1] + 400] < 200)
