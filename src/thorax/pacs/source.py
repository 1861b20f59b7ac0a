"""The image that results belong to: its header on a copy, with every value valid, or a clear refusal.

Only what is listed here is taken over, so that no private tag and no name gets anywhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset, FileDataset

from thorax.atomic_io import StrPath
from thorax.errors import ImageError, UnsupportedImage
from thorax.imaging.dicom.gray_rules import read_gray_rule
from thorax.imaging.dicom.header import refuse_other_images
from thorax.imaging.dicom.parsing import parse
from thorax.imaging.dicom.pixel_data import read_layout
from thorax.imaging.dicom.windowing import GrayRule
from thorax.imaging.quiet import libraries_silenced
from thorax.imaging.read import file_content, image_format, source_name
from thorax.pacs.header_values import Texts, valid_age, valid_date, valid_sex, valid_time, valid_uid

__all__ = ["SourceImage", "read_source"]

_HEAD: Final = 1 << 10

_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_IN_META: Final = {
    "SOPInstanceUID": "MediaStorageSOPInstanceUID",
    "SOPClassUID": "MediaStorageSOPClassUID",
}

_NAME_GROUPS: Final = 3
_LONGEST_GROUP: Final = 64

_SHORT: Final = 16
_LONG: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceImage:
    """What results take over from an image.

    Attributes:
        name: What messages call it.
        header: Patient, study, and the reference to the image; every value is valid, and absent elements of
            type 2 are empty.
        texts: The texts of the header, which know its character set.
        rows: Rows of the image.
        columns: Columns of the image.
        gray: How its stored values become gray; None for an image in color.
        repairs: What was repaired on the copy, sentences without their periods and without any value.
    """

    name: str
    header: Dataset
    texts: Texts
    rows: int
    columns: int
    gray: GrayRule | None
    repairs: tuple[str, ...]

    @property
    def uid(self) -> str:
        """SOP Instance UID of the image."""
        return str(self.header.SOPInstanceUID)


def read_source(source: StrPath | bytes, name: str = "") -> SourceImage:
    """Read the header of a DICOM image for results that belong to it.

    Repaired on a copy: absent elements of type 2 become empty; so do dates, times, sexes, accession numbers
    and study ids that DICOM does not allow, after "2024-01-31", "10:20:30" and "male" were understood;
    an age of "45" becomes "045Y"; a text whose character set is not stated, or wrongly, is read as Latin-1;
    UIDs of the instance are taken from the meta information where the data set has none.

    Args:
        source: Path or content of the file.
        name: What messages call it; "" derives it from a path.

    Raises:
        ImageError: A UID of study, series or instance is absent or invalid, or the patient's id or name
            cannot be taken over unchanged.
        UnsupportedImage: It is not a DICOM image of a chest radiograph.
    """
    name = name or source_name(source)
    content = file_content(source)
    assert content is not None
    if image_format(content[:_HEAD], name) != "DICOM":
        raise UnsupportedImage(
            f"{name}: results as DICOM objects belong to a study, and this image is not a DICOM file; give "
            "the DICOM image"
        )
    try:
        with libraries_silenced():
            return _read(parse(content, name), name)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001  (its text may quote the file: also in a traceback)
        raise ImageError(
            f"{name}: the DICOM header is damaged ({type(error).__name__}), so that no result can refer to "
            "the image; export the image again from its source"
        ) from None


def _read(dataset: FileDataset, name: str) -> SourceImage:
    refuse_other_images(dataset, name)
    texts, header = Texts(dataset), Dataset()
    repairs: list[str] = []
    _copy_uids(dataset, texts, header, name=name, repairs=repairs)
    _copy_patient(texts, header, name=name, repairs=repairs)
    _copy_study(texts, header, repairs=repairs)
    if texts.is_latin:
        repairs.append("its texts do not have the character set that it states, and were read as Latin-1")
    layout = read_layout(dataset, name)
    return SourceImage(
        name=name,
        header=header,
        texts=texts,
        rows=layout.rows,
        columns=layout.columns,
        gray=read_gray_rule(dataset, layout, name) if layout.samples == 1 else None,
        repairs=tuple(repairs),
    )


def _copy_uids(dataset: FileDataset, texts: Texts, header: Dataset, *, name: str, repairs: list[str]) -> None:
    for keyword in _UIDS:
        uid = texts.ascii(keyword)
        if not uid and keyword in _IN_META:
            uid = str(dataset.file_meta.get(_IN_META[keyword], "")).strip(" \0")
            if uid:
                repairs.append(f"it has no {keyword}, and that of its meta information was taken")
        if not valid_uid(uid):
            what = "is not a valid UID" if uid else "is absent"
            raise ImageError(
                f"{name}: {keyword} {what}, so that no result can refer to the image; correct the header, or "
                "export the image again from its source"
            )
        setattr(header, keyword, uid)


def _copy_patient(texts: Texts, header: Dataset, *, name: str, repairs: list[str]) -> None:
    """Copy the patient; the id and the name unchanged, since a result must not be another patient's."""
    for keyword in ("PatientName", "PatientID"):
        text = texts.text(keyword, name=keyword == "PatientName")
        fits = text is not None and (_fits_name(text) if keyword == "PatientName" else _fits(text, _LONG))
        if text is None or not fits:
            raise ImageError(
                f"{name}: {keyword} cannot be taken over unchanged, since it has characters that its "
                "character set lacks, or more of them than DICOM allows; correct the header"
            )
        setattr(header, keyword, text)
    issuer = texts.text("IssuerOfPatientID") or ""
    if issuer and _fits(issuer, _LONG):
        header.IssuerOfPatientID = issuer
    header.PatientBirthDate = _repaired(texts, "PatientBirthDate", valid_date, repairs)
    header.PatientSex = _repaired(texts, "PatientSex", valid_sex, repairs)
    age = _repaired(texts, "PatientAge", valid_age, repairs)
    if age:
        header.PatientAge = age
    if texts.ascii("PatientIdentityRemoved").upper() == "YES":
        method = texts.text("DeidentificationMethod") or ""
        header.PatientIdentityRemoved = "YES"
        header.DeidentificationMethod = method if method and _fits(method, _LONG) else "See the source image"


def _copy_study(texts: Texts, header: Dataset, *, repairs: list[str]) -> None:
    header.StudyDate = _repaired(texts, "StudyDate", valid_date, repairs)
    header.StudyTime = _repaired(texts, "StudyTime", valid_time, repairs)
    for keyword, longest in (("AccessionNumber", _SHORT), ("StudyID", _SHORT), ("StudyDescription", _LONG)):
        text = texts.text(keyword)
        if text is None or not _fits(text, longest):
            repairs.append(f"its {keyword} is not valid, and was left out")
            text = ""
        if text or keyword != "StudyDescription":
            setattr(header, keyword, text)
    physician = texts.text("ReferringPhysicianName", name=True)
    if physician is None or not _fits_name(physician):
        repairs.append("its ReferringPhysicianName is not valid, and was left out")
        physician = ""
    header.ReferringPhysicianName = physician


def _repaired(texts: Texts, keyword: str, valid: Callable[[str], str], repairs: list[str]) -> str:
    stated = texts.ascii(keyword)
    value = valid(stated)
    if texts.raw(keyword) and not value:
        repairs.append(f"its {keyword} is not valid, and was left out")
    elif value != stated:
        repairs.append(f"its {keyword} was not written as DICOM does, and was understood")
    return value


def _fits(text: str, longest: int) -> bool:
    return len(text) <= longest and "\\" not in text


def _fits_name(text: str) -> bool:
    groups = text.split("=")
    return len(groups) <= _NAME_GROUPS and all(_fits(group, _LONGEST_GROUP) for group in groups)
