"""The maps of a prediction over the radiograph, as a color image that every viewer shows."""

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage

from thorax.explain.canvas import as_jpeg
from thorax.explain.overlay import eight_bit, resized
from thorax.explain.picture import Drawing, draw_picture
from thorax.explain.radiograph import Explained, side_by_side
from thorax.pacs.codes import public_code
from thorax.pacs.facts import PURPOSE
from thorax.pacs.finishing import Issue, finish
from thorax.pacs.presentation_state import CONTOUR
from thorax.prediction import Prediction
from thorax.radiograph import Radiograph

__all__ = ["secondary_capture"]

_LARGEST: Final = 1024
"""Longest side of one radiograph in the picture, in pixels."""

_SOURCE_IMAGE: Final = ("121322", "DCM", "Source image for image processing operation")


def secondary_capture(
    issue: Issue, prediction: Prediction, radiograph: Radiograph, maps: Sequence[Explained]
) -> Dataset:
    """Return the radiograph and its maps side by side as a Secondary Capture image, JPEG with a caption.

    The caption names the model, never the patient nor the file: Burned In Annotation is NO, by which DICOM
    means that the pixels do not identify the patient.

    Args:
        issue: The image and the model.
        prediction: The prediction.
        radiograph: The image.
        maps: Maps of some findings at its resolution or reduced, at least one.
    """
    panels, columns = side_by_side(maps, radiograph, [prediction[mapped.finding] for mapped in maps])
    height, width = radiograph.pixels.shape
    factor = max(maps[0].attribution.shape) / max(height, width)
    pixels = resized(eight_bit(radiograph.pixels), factor)
    drawing = Drawing(columns=min(columns, 2), largest=_LARGEST, contour=CONTOUR)
    heading = _heading(prediction, len(maps))
    canvas = draw_picture(pixels, panels, drawing=drawing, heading=heading)
    jpeg = as_jpeg(canvas, dark=True, halved_colors=True)
    return finish(_image(issue, jpeg), issue)


def _heading(prediction: Prediction, num_maps: int) -> tuple[str, ...]:
    """Return what the picture says of the model, and of the findings that have no map in it."""
    model = prediction.model
    others = sum(predicted.decision in {"yes", "not decided"} for predicted in prediction) - num_maps
    are = "finding is" if others == 1 else "findings are"
    more = (f"{others} more {are} present or not decided: see the report.",) if others > 0 else ()
    identity = f"Thorax, model {model.name}, bundle {model.bundle_sha256[:8]}. {PURPOSE}."
    stated = (f"{model.statement[0].upper()}{model.statement[1:]}.",) if model.statement else ()
    return (identity, *stated, *more)


def _image(issue: Issue, jpeg: bytes) -> Dataset:
    dataset, source = issue.reference(), issue.source.header
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    identification = issue.identification("secondary capture")
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = identification["sop_instance_uid"]
    dataset.SeriesInstanceUID = identification["series_instance_uid"]
    dataset.SeriesNumber = identification["series_number"]
    dataset.SeriesDescription = identification["series_description"]
    dataset.InstanceNumber = identification["instance_number"]
    for keyword, value in _general(issue).items():
        setattr(dataset, keyword, value)
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [public_code(*_SOURCE_IMAGE)]
    dataset.SourceImageSequence = [reference]
    _add_pixels(dataset, jpeg)
    return dataset


def _general(issue: Issue) -> dict[str, object]:
    equipment = issue.equipment()
    return {
        "Modality": "OT",
        "BodyPartExamined": "CHEST",
        "ConversionType": "SYN",
        "Manufacturer": equipment["manufacturer"],
        "ManufacturerModelName": equipment["manufacturer_model_name"],
        "DeviceSerialNumber": equipment["device_serial_number"],
        "SoftwareVersions": equipment["software_versions"],
        "SecondaryCaptureDeviceManufacturer": equipment["manufacturer"],
        "SecondaryCaptureDeviceManufacturerModelName": equipment["manufacturer_model_name"],
        "SecondaryCaptureDeviceSoftwareVersions": equipment["software_versions"],
        "DateOfSecondaryCapture": issue.created.strftime("%Y%m%d"),
        "TimeOfSecondaryCapture": issue.created.strftime("%H%M%S"),
        "ContentDate": issue.created.strftime("%Y%m%d"),
        "ContentTime": issue.created.strftime("%H%M%S"),
        "ImageType": ["DERIVED", "SECONDARY"],
        "PatientOrientation": "",
        "BurnedInAnnotation": "NO",
        "RecognizableVisualFeatures": "NO",
        "ImageComments": f"{PURPOSE}.",
        "DerivationDescription": "Radiograph and maps of findings side by side, with captions",
    }


def _add_pixels(dataset: Dataset, jpeg: bytes) -> None:
    with Image.open(BytesIO(jpeg)) as picture:
        dataset.Columns, dataset.Rows = picture.size
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    ratio = 3 * dataset.Rows * dataset.Columns / len(jpeg)
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = f"{ratio:.2f}"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.PixelData = encapsulate([jpeg])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
