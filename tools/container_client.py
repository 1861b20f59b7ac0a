"""What `make containers` runs inside the node's image: send a radiograph, and wait for its report.

It is both sides of the node, a modality and an archive, at 127.0.0.1. The radiograph is a test image of the
starter.
"""

import sys
import time

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, StoragePresentationContexts, evt

from thorax import starter

NODE, ARCHIVE = 11112, 11113
SECONDS = 60


def radiograph() -> Dataset:
    """Return a test image as a DICOM image of an invented patient."""
    with Image.open(starter.test_images()[0].path) as picture:
        pixels = np.asarray(picture.convert("L"))
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.SOPInstanceUID, image.StudyInstanceUID, image.SeriesInstanceUID = (generate_uid() for _ in range(3))
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Nobody", "1", "", ""
    image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20260101", "120000", "1", "1"
    image.Modality, image.BodyPartExamined, image.ViewPosition = "DX", "CHEST", "PA"
    image.ReferringPhysicianName, image.SeriesNumber, image.InstanceNumber = "", 1, 1
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.WindowCenter, image.WindowWidth = 128, 256
    image.PixelData = pixels.tobytes()
    return image


def main() -> None:
    """Send it, and end with a message unless a report of its study comes back."""
    image = radiograph()
    came: list[Dataset] = []

    def keep(event: evt.Event) -> int:
        came.append(event.dataset)
        return 0x0000

    archive = AE("ARCHIVE")
    archive.supported_contexts = StoragePresentationContexts
    archive.add_supported_context("1.2.840.10008.5.1.4.1.1.88.34")  # Comprehensive 3D SR
    archive.add_supported_context("1.2.840.10008.1.1")  # Verification
    archive.start_server(("127.0.0.1", ARCHIVE), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    modality = AE("MODALITY")
    modality.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    association = modality.associate("127.0.0.1", NODE, ae_title="THORAX")
    if not association.is_established:
        sys.exit("the node takes no association")
    status = association.send_c_store(image)
    association.release()
    if status.Status != 0:
        sys.exit(f"the node answered with status {status.Status:#06x}")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        reports = [
            one for one in came if one.Modality == "SR" and one.StudyInstanceUID == image.StudyInstanceUID
        ]
        if reports:
            print(f"the node sent a report, {reports[0].SOPClassUID.name}")
            return
        time.sleep(0.2)
    sys.exit(f"no report came back within {SECONDS} s; what came: {[one.Modality for one in came]}")


if __name__ == "__main__":
    main()
