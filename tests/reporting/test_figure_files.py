"""Figures of a report as files: which there are, what they say, and that nothing of them is cut off."""

import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from tests.helpers.assessments import ASSESSMENT, CONTEXT
from thorax.errors import DataError
from thorax.reporting.figure_files import FIGURES, write_figures
from thorax.reporting.plotting import figure_kinds
from thorax.reporting.summary import short


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "figures"
    paths = write_figures(ASSESSMENT, CONTEXT, out=out, kinds=("png", "svg", "pdf"))
    assert {path.name for path in paths} == {
        f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg", "pdf")
    }
    assert sorted(paths) == sorted(out.iterdir())
    return out


def test_the_kinds_are_what_their_names_say(folder):
    for name in FIGURES:
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.format == "PNG"
            assert picture.width == 1440  # 9.6 inches
        assert ET.parse(folder / f"{name}.svg").getroot().tag.endswith("svg")
        content = (folder / f"{name}.pdf").read_bytes()
        assert content.startswith(b"%PDF-")
        assert b"/Type /Font" in content  # text, not curves


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(folder, name):
    with Image.open(folder / f"{name}.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert edge.min() == 255


def test_figures_say_the_numbers_of_the_report(folder):
    ranking = ASSESSMENT.ranking
    texts = {name: re.findall(r">([^<>]+)</text>", (folder / f"{name}.svg").read_text()) for name in FIGURES}
    for result in ranking.findings:
        label = result.finding.label
        if not result.auc.exists:
            assert label not in texts["auc"]
            continue
        assert f"{label} {short(result.auc)}" in texts["roc"]
        assert f"{label} {short(result.average_precision)}" in texts["precision-recall"]
        assert {label, short(result.auc)} <= set(texts["auc"])
        assert label in texts["net-benefit"]
    for finding in ASSESSMENT.calibration.findings:
        assert (finding.finding.label in texts["reliability"]) == bool(finding.curve)
    images = f"{ranking.num_images:,} images of {ranking.num_patients:,} patients"
    for text in texts.values():
        assert CONTEXT.model.name in text
        assert f"{CONTEXT.where}, {images}" in text


def test_the_same_numbers_give_the_same_bytes(folder):
    for name in ("auc", "reliability"):
        for kind in ("png", "svg", "pdf"):
            assert FIGURES[name](ASSESSMENT, CONTEXT, kind) == (folder / f"{name}.{kind}").read_bytes()
    assert Image.open(io.BytesIO((folder / "roc.png").read_bytes())).info.get("Software") is None


def test_kinds_are_named_with_commas():
    assert figure_kinds("PDF, .png") == ("png", "pdf")
    assert figure_kinds("") == ()
    with pytest.raises(
        DataError, match=r"figures are not written as 'tiff'; name one or several of png, svg, pdf"
    ):
        figure_kinds("pdf,tiff")
