"""DICOM files with a mark in every element that may identify a patient, and a search for these marks."""

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from tests.helpers.chest import chest_12_bits
from tests.helpers.dicom_writing import dataset, to_bytes

ROOT = "1.2.826.0.1.3680043.8.498."

MARKED = {
    "PatientName": "Zqxwvkfj^Xzqgvnkw",
    "PatientID": "QKZ7391846",
    "IssuerOfPatientID": "Vwxsszqr",
    "OtherPatientIDs": "QKZ5520917",
    "OtherPatientNames": "Zqjxthwr^Jvknqmwx",
    "PatientBirthDate": "19370512",
    "PatientBirthName": "Jvkbrxqh",
    "PatientMotherBirthName": "Jvkmthqz",
    "PatientAddress": "Wjxstrqq 7",
    "PatientTelephoneNumbers": "+49 8817264",
    "PatientComments": "Qvjcmmqz",
    "MedicalRecordLocator": "Xkqrcrdz",
    "AccessionNumber": "QKZ6648203",
    "StudyID": "QKZ3351",
    "StudyDescription": "Vqzstdyx",
    "SeriesDescription": "Vqzsrxqs",
    "InstitutionName": "Wqkhsptz",
    "InstitutionAddress": "Wqkrdqxz 12",
    "InstitutionalDepartmentName": "Wqkdprtq",
    "ReferringPhysicianName": "Xvqrfrzg^Doc",
    "PerformingPhysicianName": "Xvqprfqz^Doc",
    "OperatorsName": "Xvqprtrz^Op",
    "StationName": "Wqkstnzx",
    "DeviceSerialNumber": "QKZ990817",
    "StudyDate": "20310917",
    "StudyInstanceUID": f"{ROOT}7364519.1",
    "SeriesInstanceUID": f"{ROOT}7364519.2",
    "SOPInstanceUID": f"{ROOT}7364519.3",
    "FrameOfReferenceUID": f"{ROOT}7364519.4",
}
"""Elements with values of which no part is a word."""

PRIVATE = "Qvjprvzt"

MARKS = {
    *("ZQXWVKFJ", "XZQGVNKW", "QKZ7391846", "VWXSSZQR", "QKZ5520917", "ZQJXTHWR", "JVKNQMWX", "19370512"),
    *("JVKBRXQH", "JVKMTHQZ", "WJXSTRQQ", "8817264", "QVJCMMQZ", "XKQRCRDZ", "QKZ6648203", "QKZ3351"),
    *("VQZSTDYX", "VQZSRXQS", "WQKHSPTZ", "WQKRDQXZ", "WQKDPRTQ", "XVQRFRZG", "XVQPRFQZ"),
    *("XVQPRTRZ", "WQKSTNZX", "QKZ990817", "20310917", "7364519", "QVJPRVZT"),
}

_PIECE = 5
PIECES = sorted({mark[at : at + _PIECE] for mark in MARKS for at in range(len(mark) - _PIECE + 1)})
"""Every five characters in a row of a mark: a message must not hold a part of it either."""


def marked_dataset(side=64, **elements):
    """A radiograph with all marks, also in private elements and in a sequence."""
    ds = dataset(chest_12_bits(side), bits=12, **MARKED, WindowCenter="2048", WindowWidth="4096")
    ds.PatientSex, ds.PatientAge, ds.ViewPosition, ds.RescaleSlope = "F", "058Y", "PA", "1"
    ds.SpecificCharacterSet, ds.PatientOrientation, ds.VOILUTFunction = "ISO_IR 100", ["L", "F"], "LINEAR"
    ds.private_block(0x0011, "Thorax test", create=True).add_new(0x01, "LO", PRIVATE)
    item = Dataset()
    item.PatientID, item.InstitutionName = MARKED["PatientID"], MARKED["InstitutionName"]
    ds.RequestAttributesSequence = Sequence([item])
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def marked_files():
    """The same header in explicit and implicit VR."""
    implicit = marked_dataset()
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return {"explicit": to_bytes(marked_dataset()), "implicit": to_bytes(implicit)}


def pieces_in(text):
    """Pieces of marks that occur in a text, whatever their case."""
    upper = text.upper()
    return [piece for piece in PIECES if piece in upper]


def marks_in(text):
    """Whole marks that occur in a text or in bytes: figures may have the same five digits by chance."""
    if isinstance(text, bytes):
        upper = text.upper()
        return [mark for mark in MARKS if mark.encode() in upper or mark.encode("utf-16-le") in upper]
    return marks_in(text.encode())
