"""DICOM files that the tests write: a valid DX image, and whatever a test changes about it."""

import io
import tempfile
from pathlib import Path

import gdcm
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

DX = "1.2.840.10008.5.1.4.1.1.1.1"
CR = "1.2.840.10008.5.1.4.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def dataset(pixels, *, bits, **elements):
    """Return a DX image of `pixels` (uint8, uint16 or int16; h, w or h, w, 3); None removes an element."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = DX, generate_uid(entropy_srcs=["test"])
    ds.Modality, ds.BodyPartExamined = "DX", "CHEST"
    ds.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    ds.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 * pixels.itemsize, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def to_bytes(ds, *, preamble=True, **options):
    """Write a data set; without preamble and meta information, as it lies on some archives' disks."""
    stream = io.BytesIO()
    if preamble:
        stated = ds.file_meta.get("MediaStorageSOPClassUID", DX)
        ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", stated)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
        dcmwrite(stream, ds, enforce_file_format=True, **options)
    else:
        meta, ds.file_meta = ds.file_meta, FileMetaDataset()
        dcmwrite(stream, ds, enforce_file_format=False, **options)
        ds.file_meta = meta
    return stream.getvalue()


def written(pixels, *, bits, **elements):
    """Return the bytes of a file of `dataset`."""
    return to_bytes(dataset(pixels, bits=bits, **elements))


def lut(entries, *, first, bits, count=None):
    """Return an item of a modality or VOI LUT sequence."""
    item = Dataset()
    item.add_new(
        "LUTDescriptor", "US", [len(entries) % 65536 if count is None else count, first % 65536, bits]
    )
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return item


def every_value(dtype=np.uint16, bits=12):
    """Return an image in which each value of `bits` bits occurs."""
    low = -(2 ** (bits - 1)) if np.dtype(dtype).kind == "i" else 0
    count = max(2**bits, 64 * 64)
    return (np.arange(count) % 2**bits + low).astype(dtype).reshape(64, -1)


def jpeg_lossless(data):
    """Compress a file with GDCM, for pydicom writes no JPEG lossless."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.dcm").write_bytes(data)
        reader, writer, change = gdcm.ImageReader(), gdcm.ImageWriter(), gdcm.ImageChangeTransferSyntax()
        reader.SetFileName(str(folder / "in.dcm"))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(folder / "out.dcm"))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return (folder / "out.dcm").read_bytes()
