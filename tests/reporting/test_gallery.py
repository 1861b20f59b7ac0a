"""The gallery: what stands in it, what it costs, and that it loads nothing."""

import base64
import dataclasses
import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from tests.helpers.assessments import ASSESSMENT, CONTEXT, HOSTILE, assessment_of, shown_text
from thorax.errors import RecipeError
from thorax.evaluation.labeled_images import LabeledImages
from thorax.evaluation.thresholds import ThresholdSet
from thorax.explain.overlay import overlay
from thorax.findings import NIH14, Finding
from thorax.reporting.gallery import MapSource, draw_gallery, pick_examples
from thorax.reporting.report import render_html, write_report


def cohort_of(findings, images=60):
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 2, (images, len(findings))).astype(np.int8)
    probabilities = np.round(0.2 * rng.random(targets.shape) + 0.6 * rng.random(targets.shape) * targets, 3)
    cohort = LabeledImages(
        images=[f"image-{number}.png" for number in range(images)],
        patients=[str(number) for number in range(images)],
        targets=targets,
        findings=findings,
        sexes=[""] * images,
        ages=np.full(images, np.nan),
        views=[""] * images,
        follow_ups=np.full(images, np.nan),
    )
    return cohort, probabilities


def points_of(findings, threshold=0.15):
    return ThresholdSet(
        rule="toy", findings=findings, thresholds=(threshold,) * len(findings), chosen_on=None, origin="a toy"
    )


def noise(rows, side):
    """The image of a row: noise that says which row it is."""
    return np.stack([np.random.default_rng(row).integers(0, 256, (side, side), np.uint8) for row in rows])


def falling(pixels, finding):
    """A map that falls from the left to the right, and is negative for Nodule."""
    side = pixels.shape[1]
    one = np.broadcast_to(np.linspace(3, 0, side, dtype=np.float32), (side, side))
    sign = -1 if finding.name == "Nodule" else 1
    return np.stack([sign * one - (sign < 0)] * len(pixels))[:, None].astype(np.float32)


SOURCE = MapSource(method="cam", maps=falling, notes=("a note of the maps",))
FINDINGS = (NIH14[4], NIH14[5])  # Mass, Nodule


@pytest.fixture(scope="module")
def gallery():
    cohort, probabilities = cohort_of(FINDINGS)
    return draw_gallery(
        cohort, probabilities, points_of(FINDINGS), read=lambda rows: noise(rows, 64), source=SOURCE
    )


def decoded(uri):
    kind, _, content = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")).astype(int)


def test_each_picture_is_its_image_beside_itself_with_its_map(gallery):
    cohort, probabilities = cohort_of(FINDINGS)
    mass, nodule = gallery.findings
    assert mass.finding.name == "Mass"
    assert [each.example for each in mass.pictures] == pick_examples(
        cohort.targets[:, 0], probabilities[:, 0], threshold=0.15
    )
    assert {each.example.outcome for each in mass.pictures} == {
        "true positive", "false positive", "false negative", "true negative",
    }  # fmt: skip
    for each in mass.pictures:
        row = each.example.row
        assert each.image == f"image-{row}.png"
        assert each.probability == probabilities[row, 0]
        assert each.highest == 3
        image = noise([row], 64)[0]
        # JPEG of noise is coarse: far from any other image's all the same.
        assert np.abs(decoded(each.radiograph)[:, :, 0] - image).mean() < 25
        mapped = overlay(image, falling(image[None], mass.finding)[0, 0], opacity=0.6)
        assert np.abs(decoded(each.mapped) - mapped).mean() < 25
        assert np.abs(decoded(each.mapped)[:, :16] - decoded(each.radiograph)[:, :16]).mean() > 40
    for each in nodule.pictures:
        # Highest where it is least against the finding, at the right: relative to its mean.
        assert (each.relative, each.highest, each.lowest) == (True, -1, -2.5)
        assert np.abs(decoded(each.mapped)[:, 48:] - decoded(each.radiograph)[:, 48:]).mean() > 20
        assert np.abs(decoded(each.mapped)[:, :16] - decoded(each.radiograph)[:, :16]).mean() < 15


def test_the_page_shows_it_and_loads_nothing(gallery):
    html = render_html(ASSESSMENT, CONTEXT, gallery=gallery)
    root = ET.fromstring(html.removeprefix("<!DOCTYPE html>"))
    sources = [image.get("src") for image in root.iter("{http://www.w3.org/1999/xhtml}img")]
    pictures = [each for opening in gallery.findings for each in opening.pictures]
    assert sources == [uri for each in pictures for uri in (each.radiograph, each.mapped) if uri]
    assert all(image.get("alt") for image in root.iter("{http://www.w3.org/1999/xhtml}img"))
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:image/jpeg;base64,|#|roc\.(png|svg)["'])""", html)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html
    text = shown_text(html)
    for words in (
        "The most and the least confident image of each outcome at toy",
            "with its cam map", "a note of the maps.",
        "True positive", "False positive", "False negative", "True negative",
        "False negative", "least confident", "Mass, threshold 0.15",
        "maps have no value above 0", "-2.5", "relative to its mean",
    ):  # fmt: skip
        assert words in text, words
    assert all(each.image in text for each in pictures)
    relative, drawn = gallery.num_relative
    assert (relative, drawn) == (len(gallery.findings[1].pictures), len(pictures))
    assert f"{relative} of the {drawn} maps have no value above 0" in text


def flat(pixels, finding):
    return np.zeros((len(pixels), 1, *pixels.shape[1:]), dtype=np.float32)


def test_where_a_map_is_the_same_everywhere_another_method_shows_it():
    cohort, probabilities = cohort_of(FINDINGS[:1])
    source = MapSource(method="grad-cam", maps=flat)
    drawn = [
        draw_gallery(
            cohort, probabilities, points_of(FINDINGS[:1]), read=lambda rows: noise(rows, 64), source=each
        )
        for each in (source, dataclasses.replace(source, instead=MapSource(method="layer-cam", maps=falling)))
    ]
    nothing, shown = (gallery.findings[0].pictures for gallery in drawn)
    assert {(each.mapped, each.highest, each.method) for each in nothing} == {(None, 0, "grad-cam")}
    assert {(each.mapped is None, each.highest, each.method) for each in shown} == {(False, 3, "layer-cam")}
    texts = [shown_text(render_html(ASSESSMENT, CONTEXT, gallery=gallery)) for gallery in drawn]
    assert "The map is the same everywhere: 0." in texts[0]
    assert "by layer-cam" in texts[1]
    assert "have no value above 0" not in texts[1]


def test_the_bars_beside_an_image_have_no_map():
    def right_half(row):
        return slice(0, 64), slice(32, 64)

    cohort, probabilities = cohort_of(FINDINGS[:1])
    gallery = draw_gallery(
        cohort, probabilities, points_of(FINDINGS[:1]), read=lambda rows: 0 * noise(rows, 64),
        source=dataclasses.replace(SOURCE, shown=right_half),
    )  # fmt: skip
    for each in gallery.findings[0].pictures:
        assert each.highest == pytest.approx(3 * 31 / 63)
        assert decoded(each.mapped)[:, :24].max() < 12
        assert decoded(each.mapped)[:, 34:40].max() > 100


def test_without_a_gallery_there_is_no_picture():
    html = render_html(ASSESSMENT, CONTEXT)
    assert "<img" not in html
    assert "img-src" not in html
    assert "Examples" not in shown_text(html)


def test_without_maps_the_images_stand_alone_and_the_page_says_why():
    cohort, probabilities = cohort_of(FINDINGS)
    without = draw_gallery(
        cohort, probabilities, points_of(FINDINGS), read=lambda rows: noise(rows, 64), source=None,
        absent="torch is not installed here",
    )  # fmt: skip
    assert without.method is None
    text = shown_text(render_html(ASSESSMENT, CONTEXT, gallery=without))
    assert "No maps: torch is not installed here." in text
    assert "On the right" not in text
    assert "relative to its mean" not in text


def test_a_finding_without_a_threshold_has_no_examples():
    cohort, probabilities = cohort_of(FINDINGS)
    points = dataclasses.replace(points_of(FINDINGS), thresholds=(None, None))
    empty = draw_gallery(cohort, probabilities, points, read=lambda rows: noise(rows, 64), source=SOURCE)
    assert not empty.findings
    assert "No finding has a threshold" in shown_text(render_html(ASSESSMENT, CONTEXT, gallery=empty))


@pytest.mark.parametrize("num_findings", [14, 40])
def test_the_page_stays_below_five_megabytes_whatever_the_images(tmp_path, num_findings):
    """Noise is the worst that a JPEG can be given."""
    findings = tuple(Finding(f"F{number}") for number in range(num_findings))
    cohort, probabilities = cohort_of(findings)
    shown = noise(range(60), 128).repeat(2, axis=1).repeat(2, axis=2)
    gallery = draw_gallery(
        cohort, probabilities, points_of(findings), read=lambda rows: shown[rows], source=SOURCE
    )
    assert len(gallery.findings) + len(gallery.left_out) == num_findings
    assert gallery.side < 256
    files = write_report(assessment_of(findings), CONTEXT, out=tmp_path, gallery=gallery)
    assert 1_000_000 < files.html.stat().st_size < 5_000_000
    assert ("Left out, to keep the page small: " in files.html.read_text()) == (num_findings == 40)


def test_a_page_of_the_same_gallery_has_the_same_bytes(gallery):
    cohort, probabilities = cohort_of(FINDINGS)
    again = draw_gallery(
        cohort, probabilities, points_of(FINDINGS), read=lambda rows: noise(rows, 64), source=SOURCE
    )
    assert render_html(ASSESSMENT, CONTEXT, gallery=again) == render_html(
        ASSESSMENT, CONTEXT, gallery=gallery
    )


def test_names_cannot_break_out_of_the_gallery():
    findings = (Finding(HOSTILE),)
    cohort, probabilities = cohort_of(findings)
    cohort = dataclasses.replace(
        cohort, images=[f"{HOSTILE}{number}" for number in range(len(cohort.images))]
    )
    source = dataclasses.replace(SOURCE, notes=(HOSTILE,))
    hostile = draw_gallery(
        cohort, probabilities, points_of(findings), read=lambda rows: noise(rows, 64), source=source
    )
    html = render_html(ASSESSMENT, CONTEXT, gallery=hostile)
    assert "<script" not in html
    assert shown_text(html).count(HOSTILE) > 5


def test_a_method_that_does_not_go_with_the_net_is_no_gallery():
    def refuse(pixels, finding):
        raise RecipeError("no such map")

    cohort, probabilities = cohort_of(FINDINGS)
    with pytest.raises(RecipeError, match="no such map"):
        draw_gallery(
            cohort, probabilities, points_of(FINDINGS), read=lambda rows: noise(rows, 64),
            source=MapSource(method="grad-cam", maps=refuse),
        )  # fmt: skip
