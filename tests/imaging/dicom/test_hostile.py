"""Damaged and hostile DICOM: a Radiograph or an ImageError, never anything else, and soon."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from tests.helpers.dicom_writing import dataset, lut, to_bytes
from thorax.errors import ImageError
from thorax.imaging import read_radiograph
from thorax.radiograph import Radiograph


def small_files():
    image = (np.arange(64 * 64) % 4096).astype(np.uint16).reshape(64, 64)
    elements = {
        "WindowCenter": ["2048", "5"],
        "WindowWidth": ["4096", "9"],
        "RescaleSlope": "1",
        "RescaleIntercept": "-5",
        "PixelPaddingValue": 0,
        "PatientAge": "044Y",
        "ViewPosition": "PA",
        "ImagerPixelSpacing": ["0.1", "0.1"],
    }
    plain = dataset(image, bits=12, **elements)
    files = [to_bytes(plain), to_bytes(plain, preamble=False, implicit_vr=True, little_endian=True)]
    tables = dataset(image, bits=12, VOILUTSequence=[lut(np.arange(50), first=0, bits=10)], **elements)
    for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        tables.file_meta.TransferSyntaxUID = syntax
        files.append(to_bytes(tables))
    plain.compress(RLELossless)
    return [*files, to_bytes(plain)]


FILES = small_files()


def read_or_refuse(data):
    try:
        radiograph = read_radiograph(data, name="hostile.dcm")
    except ImageError as error:
        return str(error)
    assert isinstance(radiograph, Radiograph)
    return ""


@settings(max_examples=400, deadline=2000)
@given(
    data=st.sampled_from(FILES),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4),
    header_only=st.booleans(),
)
def test_flipped_bytes(data, flips, header_only):
    changed = bytearray(data)
    for place, flip in flips:
        reach = min(len(data), 1100) if header_only else len(data)
        changed[int(place * reach)] ^= flip
    message = read_or_refuse(bytes(changed))
    assert not message or message.startswith("hostile.dcm: ")


@settings(max_examples=200, deadline=2000)
@given(data=st.sampled_from(FILES), keep=st.floats(0, 1, exclude_max=True))
def test_truncation_is_always_refused(data, keep):
    kept = data[: int(len(data) * keep)]
    # The last bytes may be filling, or say no more than that a sequence of fragments ends.
    spare = 8 if data.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0") else 2
    if len(data) - len(kept) > spare:
        assert read_or_refuse(kept)


@settings(max_examples=200, deadline=2000)
@given(data=st.sampled_from(FILES), place=st.floats(0, 1), inserted=st.binary(min_size=1, max_size=30))
def test_inserted_bytes(data, place, inserted):
    at = int(len(data) * place)
    read_or_refuse(data[:at] + inserted + data[at:])


@settings(max_examples=100, deadline=2000)
@given(garbage=st.binary(max_size=300))
def test_garbage_after_a_valid_start(garbage):
    assert read_or_refuse(FILES[0][:350] + garbage)


def test_deep_sequences_do_not_crash():
    start = FILES[2][: 144 + int.from_bytes(FILES[2][140:144], "little")]
    item = struct.pack("<HHI", 0x0008, 0x1140, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    assert read_or_refuse(start + item * 20_000)


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
def test_lengths_that_lie(length):
    data = FILES[0]
    at = data.index(b"\xe0\x7f\x10\x00OW\0\0") + 8
    read_or_refuse(data[:at] + struct.pack("<I", length) + data[at + 4 :])
    implicit = FILES[1]
    read_or_refuse(implicit[:4] + struct.pack("<I", length) + implicit[8:])
