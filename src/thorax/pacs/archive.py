"""Predict the radiographs of an archive that speaks DICOMweb, and store the results in their studies."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from thorax.errors import DataError, ImageError
from thorax.pacs.dicomweb import DicomWeb, WebError, credentials
from thorax.pacs.finishing import encoded
from thorax.pacs.identifiers import ObjectKind, model_key, object_uid
from thorax.pacs.maker import ResultMaker
from thorax.pacs.radiography import SOP_CLASSES
from thorax.prediction import Prediction

__all__ = ["ArchivePlace", "Archived", "predict_archive", "read_place"]

_SCHEMES: Final = {"dicomweb": "https", "dicomweb+http": "http"}
_UID: Final = re.compile(r"[0-9.]{1,64}")
_PAGE: Final = 100
_LEVELS: Final = ("studies", "series", "instances")

_STUDY, _SERIES, _CLASS, _INSTANCE = "0020000D", "0020000E", "00080016", "00080018"
_REPORTS: Final[tuple[ObjectKind, ...]] = ("structured report", "refusal")
_PICTURES: Final[tuple[ObjectKind, ...]] = ("secondary capture",)


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    """A part of an archive.

    Attributes:
        url: Address of the DICOMweb service.
        study: Study Instance UID; "" for those that the query finds.
        series: Series Instance UID; "" for all.
        instance: SOP Instance UID; "" for all.
        query: What studies must match, such as {"PatientID": "17", "StudyDate": "20240131"}.
    """

    url: str
    study: str
    series: str
    instance: str
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """What became of one image.

    Attributes:
        sop_uid: Its SOP Instance UID.
        outcome: "stored": its results are in the archive now; "there": they were already; "held back": the
            input gate holds it back, and a report that says so was stored; "failed": it has none.
        prediction: What was predicted; None without a prediction.
        reason: Why it failed or was held back; "" otherwise.
    """

    sop_uid: str
    outcome: Literal["stored", "there", "held back", "failed"]
    prediction: Prediction | None = None
    reason: str = ""


def read_place(address: str) -> ArchivePlace:
    """Return the part of an archive that an address names.

    Args:
        address: "dicomweb://HOST/PATH/studies?StudyDate=20240131" names the studies that a search finds, and
            ".../studies/UID", ".../studies/UID/series/UID" and so on what they say. The service is asked by
            https; "dicomweb+http://" asks it by http.

    Raises:
        DataError: It is not such an address.
    """
    parts = urlsplit(address)
    before, separator, after = parts.path.partition("/studies")
    steps = ["studies", *(step for step in after.split("/") if step)]
    uids = steps[1::2]
    named = tuple(steps[::2]) == _LEVELS[: len(steps[::2])] and len(steps) in {1, 2, 4, 6}
    if (
        parts.scheme not in _SCHEMES
        or not parts.hostname
        or not separator
        or not named
        or not all(_UID.fullmatch(uid) for uid in uids)
    ):
        raise DataError(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path} does not name studies of an "
            "archive; give an address such as dicomweb://pacs.example.org/dicom-web/studies?StudyDate=20240131"
        )
    if parts.username or parts.password:
        raise DataError(
            "an address with a name or a password is seen by every program of this machine; give "
            "THORAX_DICOMWEB_USER and THORAX_DICOMWEB_PASSWORD in the environment instead"
        )
    study, series, instance = [*uids, "", "", ""][:3]
    return ArchivePlace(
        f"{_SCHEMES[parts.scheme]}://{parts.netloc}{before}",
        study,
        series,
        instance,
        dict(parse_qsl(parts.query)),
    )


def predict_archive(maker: ResultMaker, place: ArchivePlace) -> Iterator[Archived]:
    """Predict the radiographs of a part of an archive, store the results there, and yield what came of each.

    An image whose report is in its study already is left alone, so that the call may be repeated: after an
    interruption it goes on, and a day later it predicts what is new. The environment has the credentials.

    Args:
        maker: Predicts, and makes the results.
        place: The part of the archive.

    Raises:
        NoAnswer: The archive cannot be reached, or has no room.
        WebError: It refuses a search.
    """
    service = DicomWeb(place.url, headers=credentials())
    for study in [place.study] if place.study else _studies(service, place.query):
        instances = list(_pages(service, f"/studies/{study}/instances", {"includefield": _CLASS}))
        for instance in _wanted(instances, place, maker):
            series, uid, there = instance
            if there:
                yield Archived(sop_uid=uid, outcome="there")
            else:
                yield _predicted(service, maker, study, series, uid)


def _studies(service: DicomWeb, query: Mapping[str, str]) -> list[str]:
    """Return the studies that a search finds."""
    return [_text(study, _STUDY) for study in _pages(service, "/studies", query) if _text(study, _STUDY)]


def _pages(service: DicomWeb, what: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield all that a search finds, page by page; services limit what they answer at once."""
    limit = int(query["limit"]) if query.get("limit", "").isdecimal() else None
    offset = int(query["offset"]) if query.get("offset", "").isdecimal() else 0
    seen: set[str] = set()
    while limit is None or len(seen) < limit:
        most = _PAGE if limit is None else min(_PAGE, limit - len(seen))
        page = service.search(what, {**query, "limit": f"{most}", "offset": f"{offset + len(seen)}"})
        new = [one for one in page if _text(one, _INSTANCE) + _text(one, _STUDY) not in seen]
        yield from new
        seen.update(_text(one, _INSTANCE) + _text(one, _STUDY) for one in new)
        if not new or len(page) < most:
            return


def _wanted(
    instances: list[dict[str, Any]], place: ArchivePlace, maker: ResultMaker
) -> Iterator[tuple[str, str, bool]]:
    """Yield series, instance, and whether it has its results, of the radiographs among instances."""
    bundle = maker.predictor.bundle
    key, there = model_key(bundle, bundle.findings), {_text(one, _INSTANCE) for one in instances}
    own = {object_uid(key, uid, kind) for uid in there for kind in _PICTURES}
    for one in instances:
        series, uid = _text(one, _SERIES), _text(one, _INSTANCE)
        if _text(one, _CLASS) not in SOP_CLASSES or not series or not uid or uid in own:
            continue
        if place.series in {"", series} and place.instance in {"", uid}:
            yield series, uid, any(object_uid(key, uid, kind) in there for kind in _REPORTS)


def _predicted(service: DicomWeb, maker: ResultMaker, study: str, series: str, uid: str) -> Archived:
    try:
        results = maker.results(service.retrieve(study, series, uid), uid)
        reasons = service.store([encoded(dataset) for dataset in results.objects], study=study)
    except (ImageError, WebError) as error:
        return Archived(sop_uid=uid, outcome="failed", reason=str(error).removeprefix(f"{uid}: "))
    if reasons:
        said = f"the archive refuses its results (failure reason 0x{reasons[0]:04X})"
        return Archived(sop_uid=uid, outcome="failed", prediction=results.prediction, reason=said)
    if results.refusal:
        return Archived(sop_uid=uid, outcome="held back", reason=results.refusal)
    return Archived(sop_uid=uid, outcome="stored", prediction=results.prediction)


def _text(dataset: Mapping[str, Any], tag: str) -> str:
    """Return a UID of a data set in DICOM JSON; "" if it has none."""
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    text = values[0] if isinstance(values, list) and values else ""
    return text if isinstance(text, str) and _UID.fullmatch(text) else ""
