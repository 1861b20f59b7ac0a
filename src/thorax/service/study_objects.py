"""The results of an upload as DICOM objects of its study, in a ZIP archive."""

import io
import zipfile
from typing import Final

from thorax.packages import require
from thorax.service.refusals import UPLOAD, refuse_many_pixels
from thorax.workflows.model import Model

__all__ = ["objects_of_upload"]

_NAMES: Final = {"SR": "report.dcm", "OT": "picture.dcm", "PR": "contours.dcm"}


def objects_of_upload(model: Model, content: bytes, *, max_pixels: int) -> bytes:
    """Return the objects of a DICOM image; for one that the input gate holds back, a report that says so.

    Args:
        model: The model.
        content: The bytes of a DICOM file.
        max_pixels: The most pixels of an image that is answered.

    Raises:
        ImageError: It cannot be read, or no result can refer to it.
        MissingExtra: The extra `pacs` is not installed.
        Refused: It has more pixels.
    """
    require("highdicom", "results as DICOM objects")
    # Imported here: they take 0.7 s, and need the extra.
    from thorax.pacs.finishing import encoded  # noqa: PLC0415
    from thorax.pacs.source import read_source  # noqa: PLC0415

    image = read_source(content, UPLOAD)
    refuse_many_pixels(image.rows * image.columns, most=max_pixels)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as entries:
        for dataset in model.dicom(content, name=UPLOAD).objects:
            entries.writestr(zipfile.ZipInfo(_NAMES[dataset.Modality]), encoded(dataset))
    return archive.getvalue()
