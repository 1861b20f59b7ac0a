"""Nothing of a header that identifies a patient comes out of reading a file, sound or damaged."""

import io
import logging
import random
import traceback
import warnings

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.filewriter import dcmwrite
from pydicom.tag import Tag

from tests.helpers.dicom_writing import DX, to_bytes
from tests.helpers.marked import MARKS, marked_dataset, marked_files, pieces_in
from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging import read_radiograph

LONGEST = 300


def outcome(data, name="img.dcm"):
    """Everything that a caller gets to see of a file but its pixels: the traceback, or the description."""
    refusal = None
    try:
        radiograph = read_radiograph(data, name=name)
    except ImageError as error:
        refusal = error
    if refusal is None:
        return repr([radiograph.origin, radiograph.view, radiograph.laterality, radiograph.spacing_mm])
    assert len(str(refusal).removeprefix(f"{name}: ")) <= LONGEST
    assert "\n" not in str(refusal)
    return "".join(traceback.format_exception(refusal))


def test_the_marks_are_in_the_files():
    for data in marked_files().values():
        text = data.decode("latin-1").upper()
        assert [mark for mark in MARKS if mark not in text] == []


def test_a_sound_file_gives_no_mark_away():
    for data in marked_files().values():
        assert pieces_in(outcome(data)) == []


def with_value(keyword, value):
    """A file with all marks in which an element has a value that does not fit."""
    ds, tag = marked_dataset(), Tag(keyword)
    content = value.encode().ljust(len(value) + len(value) % 2)
    ds[tag] = RawDataElement(tag, "LO", len(content), content, 0, False, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom does not know such a character set
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = DX, "1.2.3"
        file = io.BytesIO()
        dcmwrite(file, ds, enforce_file_format=True)
        return file.getvalue()


# `dicom-name-in-message`: the length of an element is damaged, so that it swallows those after it.
SWALLOWING = [
    "Modality", "SOPClassUID", "PhotometricInterpretation", "WindowCenter", "WindowWidth", "BodyPartExamined",
    "RescaleSlope", "VOILUTFunction", "PatientOrientation", "ViewPosition", "SpecificCharacterSet",
]  # fmt: skip


@pytest.mark.parametrize("keyword", SWALLOWING)
def test_an_element_that_swallows_the_header_is_not_quoted(keyword):
    assert pieces_in(outcome(with_value(keyword, "\\".join(sorted(MARKS))))) == []


@pytest.mark.parametrize("value", ["ZQXWVKFJ^XZQGVNKW", "19370512", "QKZ7391846"])
@pytest.mark.parametrize("keyword", [*SWALLOWING, "NumberOfFrames"])
def test_a_short_value_in_the_wrong_element_is_not_quoted(keyword, value):
    """Such as the patient's name as the modality, which a limit of length would let through."""
    assert pieces_in(outcome(with_value(keyword, value))) == []


def test_a_user_who_logs_everything_gets_no_mark_and_still_has_pydicom(caplog):
    """pydicom logs values that do not fit; while Thorax reads a file, it logs nothing."""
    caplog.set_level(logging.DEBUG)
    data = with_value("SpecificCharacterSet", "ZQXWVKFJ^XZQGVNKW")
    caplog.clear()
    outcome(data)
    assert caplog.text == ""
    logging.getLogger("pydicom").warning("of another program")
    assert "of another program" in caplog.text


def test_what_is_of_a_known_set_is_stated():
    ds = marked_dataset(Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    with pytest.raises(UnsupportedImage, match="modality CT, SOP class CT Image Storage: not a projection"):
        read_radiograph(to_bytes(ds))
    ds = marked_dataset(Modality="TOM", SOPClassUID="1.2.3")
    with pytest.raises(
        UnsupportedImage,
        match="modality an unknown value of 3 characters, SOP class an unknown value of 5 characters",
    ):
        read_radiograph(to_bytes(ds))


SEED = 20261129


def test_five_thousand_damaged_headers_give_no_mark_away(caplog, shapes_unchecked):
    """1 to 6 bytes of the header are changed; messages, tracebacks and logs are searched."""
    draw = random.Random(SEED)
    files = list(marked_files().values())
    ends = [data.index(b"\xe0\x7f\x10\x00") for data in files]
    refused, reasons = 0, set()
    caplog.set_level(logging.DEBUG)
    for number in range(5000):
        data, end = bytearray(files[number % 2]), ends[number % 2] + 8
        for _ in range(draw.randint(1, 6)):
            data[draw.randrange(128, end)] = draw.randrange(256)
        shown = outcome(bytes(data))
        assert pieces_in(shown) == [], f"file {number} of seed {SEED}: {shown}"
        if shown.startswith("Traceback"):
            refused += 1
            reasons.add(shown.splitlines()[-1][:60])
    assert caplog.text == ""
    assert refused > 500  # the changes reach what is read
    assert len(reasons) > 10
