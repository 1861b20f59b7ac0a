import base64
import io
import re
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from thorax.errors import DataError
from thorax.explain.overlay import Drawing, Panel, overlay, write_picture
from thorax.imaging import read_radiograph


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
    colors = np.array([mpl.colormaps["inferno"](value)[:3] for value in (1.0, 0.5)]) * 255
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


def test_colours_are_perceptually_uniform():
    """Lightness rises steadily, so that grey prints and colour-blind readers see the same order."""
    rgb = mpl.colormaps["inferno"](np.linspace(0, 1, 33))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    steps = [after - before for before, after in pairwise(lightness)]
    assert min(steps) > 0.25 * max(steps)


def test_a_pixel_is_a_pixel_and_nothing_stands_over_the_anatomy(tmp_path):
    pixels = radiograph()
    panels = [
        Panel(caption="Radiograph", attribution=None),
        Panel(caption="Nothing, grad-cam", attribution=np.zeros(pixels.shape)),
        Panel(caption="Mass, grad-cam", attribution=blob()),
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
    panels = [Panel(caption=str(number), attribution=None) for number in range(5)]
    write_picture(tmp_path / "a.png", pixels, panels, drawing=Drawing(columns=2))
    places = find(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    rows = sorted({row for row, _ in places})
    assert [sum(row == each for row, _ in places) for each in rows] == [2, 2, 1]


def test_contour_and_box_are_drawn_only_where_asked_for(tmp_path):
    pixels = np.full((400, 500), 100, dtype=np.uint8)
    panels = [Panel(caption="Mass", attribution=blob(), box=(300.0, 50.0, 100.0, 80.0))]
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
        tmp_path / "a.png", small, [Panel(caption="Mass", attribution=blob(64, 64))], drawing=Drawing()
    )
    assert np.asarray(Image.open(tmp_path / "a.png")).shape[1] > 384
    write_picture(tmp_path / "b.png", small, [Panel(caption="Mass", attribution=None)], drawing=Drawing())
    enlarged = np.kron(small, np.ones((6, 6), np.uint8))
    assert len(find(np.asarray(Image.open(tmp_path / "b.png")), enlarged)) == 1
    large = np.kron(radiograph(500, 400), np.ones((2, 2), np.uint8))
    write_picture(
        tmp_path / "c.png",
        large,
        [Panel(caption="Mass", attribution=None), Panel(caption="M", attribution=blob(1000, 800))],
        drawing=Drawing(largest=500),
    )
    assert len(find(np.asarray(Image.open(tmp_path / "c.png")), radiograph(500, 400))) == 1


def test_svg_has_text_and_the_whole_image(tmp_path):
    panels = [Panel(caption="Mass, grad-cam", attribution=blob()), Panel(caption="None", attribution=-blob())]
    write_picture(tmp_path / "a.svg", radiograph(), panels, drawing=Drawing(contour=0.5))
    text = (tmp_path / "a.svg").read_text()
    for words in ("Mass, grad-cam", f">{blob().max():.3g}<", ">0<", "nothing speaks for it"):
        assert words in text
    sizes = {
        Image.open(io.BytesIO(base64.b64decode(each))).size
        for each in re.findall(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", text)
    }
    assert (500, 400) in sizes
    assert "date" not in text.lower()


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_the_same_picture_has_the_same_bytes(tmp_path, name):
    panels = [Panel(caption="Mass", attribution=blob(), box=(1.0, 2.0, 30.0, 40.0))]
    content = []
    for font in (10.0, 30.0):
        with mpl.rc_context({"font.size": font}):
            write_picture(tmp_path / name, radiograph(), panels, drawing=Drawing(contour=0.4, boxes=True))
        content.append((tmp_path / name).read_bytes())
    assert content[0] == content[1]


def test_a_name_that_is_no_picture_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a.gif is no name of a picture.*end in .png or .svg"):
        write_picture(
            tmp_path / "a.gif", radiograph(), [Panel(caption="", attribution=None)], drawing=Drawing()
        )
    assert not list(tmp_path.iterdir())


def test_a_real_radiograph_is_drawn_whole(shared_data, tmp_path):
    pixels = read_radiograph(shared_data / "nih-originals" / "00000193_019.png").pixels
    panels = [Panel(caption="Radiograph", attribution=None), Panel(caption="M", attribution=blob(1024, 1024))]
    write_picture(tmp_path / "a.png", pixels, panels, drawing=Drawing())
    assert len(find(np.asarray(Image.open(tmp_path / "a.png")), pixels)) == 1
