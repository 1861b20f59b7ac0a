"""The rules of the input gate that need no fitting: contrast, color, and what a file says of itself."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.helpers.dicom_writing import written
from thorax.datasets.phantom import render_phantom
from thorax.datasets.phantom.cohort import draw_patients
from thorax.imaging import read_radiograph
from thorax.imaging.guarded import read_guarded
from thorax.inference.gate import Gate, GateAnswer, check

SIDE = 160


def phantom():
    (patient,) = draw_patients(0, 1)
    return render_phantom(patient, patient.visits[0], seed=0, size=SIDE)[0]


def codes(source, **options):
    return [reason.code for reason in check(Gate(), read_radiograph(source, **options)).reasons]


def as_file(picture, kind):
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def test_a_radiograph_passes():
    answer = check(Gate(), read_radiograph(phantom()))
    assert answer == GateAnswer()
    assert (answer.refused, answer.warnings, answer.text) == (False, (), "")


@pytest.mark.parametrize("gray", [0, 77, 255])
def test_an_image_of_one_gray_has_no_contrast(gray):
    pixels = np.full((SIDE, SIDE), gray, np.uint8)
    pixels[:2, :2] = 255 - gray  # a dead corner changes nothing
    answer = check(Gate(), read_radiograph(pixels))
    assert answer.refused
    assert answer.reasons[0].code == "no-contrast"
    assert answer.reasons[0].score == pytest.approx(1 - 4 / SIDE**2)
    assert "nothing to see" in answer.text
    assert "full range" in answer.text


@pytest.mark.parametrize("scale", [1, 257])
def test_grays_that_fill_a_sixteenth_of_the_range_are_the_least_contrast(scale):
    kind = np.uint8 if scale == 1 else np.uint16
    ramp = np.tile(np.arange(SIDE) % 32, (SIDE, 1))

    def spread(levels):
        return ((150 + ramp * levels // 31) * scale).astype(kind)

    assert codes(spread(14)) == ["no-contrast"]
    assert codes(spread(17)) == []


def in_color(share):
    """A phantom with a share of its rows in red."""
    colors = np.stack([phantom()] * 3, axis=-1)
    colors[: round(share * SIDE)] = [200, 30, 30]
    return colors


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_files_in_color_are_refused(kind):
    assert codes(as_file(Image.fromarray(in_color(1 / 4)), kind)) == ["color"]
    assert codes(as_file(Image.fromarray(in_color(0)), kind)) == []


def test_every_way_of_giving_colors_is_seen():
    colors = in_color(1 / 4)
    picture = Image.fromarray(colors)
    deep = colors.astype(np.uint16) * 257
    for source in (
        colors,
        deep,
        picture,
        picture.quantize(256, dither=0),
        picture.convert("CMYK"),
        picture.convert("RGBA"),
    ):
        radiograph = read_radiograph(source)
        assert radiograph.colored == pytest.approx(1 / 4, abs=0.01)
        assert check(Gate(), radiograph).refused
    palette = as_file(picture.quantize(256, dither=0), "PNG")
    assert read_radiograph(palette).colored == pytest.approx(1 / 4, abs=0.01)


def test_a_small_colored_mark_and_a_slight_tint_pass():
    assert codes(in_color(1 / SIDE)) == []
    tinted = np.stack([phantom()] * 3, axis=-1).astype(int) + np.array([0, 10, 20])
    assert codes(np.clip(tinted, 0, 255).astype(np.uint8)) == []


def test_a_decoder_in_its_own_process_reports_the_color_too():
    assert read_guarded(as_file(Image.fromarray(in_color(1 / 4)), "JPEG")).colored == pytest.approx(
        1 / 4, abs=0.01
    )


def of_dicom(**elements):
    return check(Gate(), read_radiograph(written(phantom(), bits=8, **elements)))


@pytest.mark.parametrize("element", ["SeriesDescription", "StudyDescription", "ProtocolName"])
@pytest.mark.parametrize(
    ("text", "part"), [("Abdomen AP supine", "abdomen"), ("XR L_HAND 2V", "hand"), ("Becken", "pelvis")]
)
def test_a_description_that_names_another_part_is_refused(element, text, part):
    answer = of_dicom(BodyPartExamined=None, **{element: text})
    assert [reason.code for reason in answer.reasons] == ["body-part"]
    assert answer.refused
    assert part in answer.text


@pytest.mark.parametrize(
    "elements",
    [
        {"SeriesDescription": "CHEST/ABDOMEN"},
        {"StudyDescription": "Abdomen", "SeriesDescription": "Thorax PA"},
        {"SeriesDescription": "CXR ERECT"},
        {"SeriesDescription": "PA face, handheld detector"},
        {"SeriesDescription": "Smith^John^Abdomenxy"},
    ],
)
def test_a_description_that_names_the_chest_or_nothing_passes(elements):
    assert of_dicom(BodyPartExamined=None, **elements) == GateAnswer()


def test_a_description_against_the_stated_chest_is_a_warning():
    answer = of_dicom(SeriesDescription="ABDOMEN")
    assert not answer.refused
    assert answer.warnings == (
        "the file states the chest, but a description in it names the abdomen; look at what it shows",
    )


def test_no_description_is_quoted():
    answer = of_dicom(BodyPartExamined=None, SeriesDescription="MILLER^ANN pelvis")
    assert answer.refused
    assert "MILLER" not in answer.text.upper()


def test_a_lateral_view_is_a_warning():
    answer = of_dicom(ViewPosition="LL")
    assert [(reason.code, reason.level) for reason in answer.reasons] == [("lateral", "warn")]


def test_refusals_come_before_warnings():
    reasons = of_dicom(BodyPartExamined=None, StudyDescription="Knee", ViewPosition="LL").reasons
    assert [reason.code for reason in reasons] == ["body-part", "lateral"]
