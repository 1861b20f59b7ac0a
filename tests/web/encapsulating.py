"""DICOM files with an image that is already compressed."""

from pydicom.encaps import encapsulate

from tests.helpers.dicom_writing import to_bytes


def encapsulated(image, frame, syntax):
    image.file_meta.TransferSyntaxUID = syntax
    image.PixelData = encapsulate([frame])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    return to_bytes(image)
