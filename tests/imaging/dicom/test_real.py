"""Real DICOM files: exact gray values, worked out by hand from the stored ones, and what each file says."""

from dataclasses import dataclass, field

import numpy as np
import pydicom
import pytest

from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging import read_radiograph
from thorax.imaging.dicom import read_dicom
from thorax.radiograph import Sex, ViewPosition


@dataclass(frozen=True)
class Reference:
    """One file: its size, what it says, and gray values at (row, column)."""

    name: str
    shape: tuple[int, int]
    dtype: type
    intensity: str
    at: dict[tuple[int, int], int]
    tolerance: int = 0  # lossy codecs may differ by a stored level between versions
    view: ViewPosition = ViewPosition.UNKNOWN
    said: dict[str, object] = field(default_factory=dict)


# MONOCHROME1, window 550/1024 on 10 bits: 65535 (1 - ((x - 549.5) / 1023 + 0.5)), for the stored values
# 0, 285, 676, 0, 357.
TEN_BITS = {(0, 0): 65535, (220, 220): 49712, (146, 110): 24664, (439, 439): 65535, (88, 430): 45099}

REFERENCES = [
    Reference(
        "cr_chest_pa_mono1_10bit_implicitLE.dcm",
        (440, 440),
        np.uint16,
        "VOI window 1 (linear), inverted",
        TEN_BITS,
        view=ViewPosition.PA,
        said={"spacing_mm": (0.1, 0.1), "age_years": None},
    ),
    Reference(
        "cr_chest_pa_mono1_10bit_nopreamble",
        (440, 440),
        np.uint16,
        "VOI window 1 (linear), inverted",
        TEN_BITS,
        view=ViewPosition.PA,
    ),
    # Window 15000/30000 on 15 bits; stored 18876, 3342, 14321, 2856, 2160.
    Reference(
        "cr_thorax_pa_mono1_15bit_jpeg2000lossy_RG1.dcm",
        (1955, 1841),
        np.uint16,
        "VOI window 1 (linear), inverted",
        {(0, 0): 24299, (977, 920): 58234, (651, 460): 34250, (1954, 1840): 59296, (391, 1831): 60816},
        tolerance=3,
        view=ViewPosition.PA,
        said={"sex": Sex.FEMALE, "spacing_mm": None},  # the file says 0 \ 0 mm
    ),
    # MONOCHROME1 and INVERSE, inverted once; the window lets all values through: 255 - x.
    Reference(
        "dx_thorax_mono1_8bit_169x211_explicitLE.dcm",
        (169, 211),
        np.uint8,
        "VOI window 1 (linear), inverted",
        {(0, 0): 44, (84, 105): 80, (56, 52): 160, (168, 210): 6, (33, 201): 132},
        said={"laterality": "L", "age_years": 5, "sex": Sex.FEMALE},
    ),
    Reference(
        "nih_dx_mono2_8bit_implicitLE.dcm",
        (1024, 1024),
        np.uint8,
        "8-bit as stored",
        {(0, 0): 199, (512, 512): 229, (341, 256): 137, (1023, 1023): 15, (204, 1014): 173},
        said={"age_years": 81, "sex": Sex.MALE},
    ),
    Reference(
        "rsna_cr_pa_jpegbaseline_mono2_8bit.dcm",
        (1024, 1024),
        np.uint8,
        "8-bit as stored",
        {(0, 0): 0, (512, 512): 208, (341, 256): 124, (1023, 1023): 0, (204, 1014): 162},
        tolerance=1,
        view=ViewPosition.PA,
        said={"age_years": 62, "spacing_mm": (0.168, 0.168)},
    ),
    # A header that was changed, pixels that were not: read as its header says.
    Reference(
        "rsna_cr_pa_jpegbaseline_FAKEmono1_8bit.dcm",
        (1024, 1024),
        np.uint8,
        "8-bit as stored, inverted",
        {(0, 0): 255, (512, 512): 47, (341, 256): 131, (1023, 1023): 255, (204, 1014): 93},
        tolerance=1,
        view=ViewPosition.PA,
    ),
]


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
def test_real_files(reference, shared_data):
    radiograph = read_radiograph(shared_data / "dicom" / reference.name)
    assert radiograph.pixels.shape == reference.shape
    assert radiograph.pixels.dtype == reference.dtype
    assert radiograph.origin.intensity == reference.intensity
    assert radiograph.view is reference.view
    for attribute, value in reference.said.items():
        assert getattr(radiograph, attribute) == value
    found = {place: int(radiograph.pixels[place]) for place in reference.at}
    assert found == pytest.approx(reference.at, abs=reference.tolerance, rel=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("negative_cr_extremity_mono1_10bit_jpegextended_RG3.dcm", "Body Part Examined is EXTREMITY"),
        ("negative_cr_extremity_mono1_10bit_jpegls_lossless_RG3.dcm", "Body Part Examined is EXTREMITY"),
        (
            "negative_ct_chest_jpeglossless.dcm",
            "modality CT, SOP class CT Image Storage: not a projection",
        ),
    ],
)
def test_other_images_are_refused(name, message, shared_data):
    with pytest.raises(UnsupportedImage, match=message):
        read_radiograph(shared_data / "dicom" / name)


def test_a_header_without_image(shared_data):
    with pytest.raises(ImageError, match=r"32x32\.dcm: the DICOM file has no Pixel Data"):
        read_radiograph(shared_data / "dicom" / "tiny_cr_chest_mono1_12bit_32x32.dcm")


def test_twelve_bit_jpeg_is_the_lossless_copy_of_the_same_image_but_for_its_losses(shared_data):
    """The only real pair: the same extremity, its body part changed so that it is read."""
    base = "negative_cr_extremity_mono1_10bit_"
    images = []
    for name in ("jpegextended_RG3.dcm", "jpegls_lossless_RG3.dcm"):
        data = (shared_data / "dicom" / f"{base}{name}").read_bytes()
        images.append(read_dicom(data.replace(b"EXTREMITY ", b"CHEST     "), name).pixels.astype(int))
    difference = np.abs(images[0] - images[1]) / 65535
    assert difference.mean() < 0.003
    # White that wraps round to black, as GDCM does when told of 10 bits, would be a difference of 1.
    assert difference.max() < 0.1


def test_the_ct_itself_decodes_as_pydicom_decodes_it(shared_data):
    """JPEG lossless, signed, with padding: a CT told to be a radiograph, so that it is read."""
    path = shared_data / "dicom" / "negative_ct_chest_jpeglossless.dcm"
    data = path.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.5.1.4.1.1.1\0")
    radiograph = read_dicom(data.replace(b"CS\x02\x00CT", b"CS\x02\x00CR"), "ct.dcm")
    stored = pydicom.dcmread(path).pixel_array.astype(float)
    expected = np.clip((stored - 39.5) / 399 + 0.5, 0, 1)
    assert np.abs(radiograph.pixels / 65535 - expected).max() <= 0.51 / 65535
