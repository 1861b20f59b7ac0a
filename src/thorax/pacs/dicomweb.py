"""A small client of DICOMweb: QIDO-RS, WADO-RS and STOW-RS over the standard library, within bounds."""

import base64
import http.client
import os
import secrets
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from thorax.atomic_io import parse_json
from thorax.errors import ServiceError
from thorax.pacs.reaching import reason_of

__all__ = ["DicomWeb", "NoAnswer", "WebError", "credentials"]

_SECONDS: Final = 60.0
_LARGEST_JSON: Final = 64 << 20
_LARGEST_OBJECT: Final = 256 << 20

_STORED: Final = {200, 202}
_DUPLICATE: Final = 0x0111
"""Failure Reason of an instance that the archive has already (PS3.7 C.5.x, Duplicate SOP Instance)."""


class WebError(ServiceError):
    """A DICOMweb service refuses a request, or its answer cannot be read.

    Attributes:
        status: The HTTP status; 0 for an answer that cannot be read.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NoAnswer(ServiceError):  # noqa: N818  (an event)
    """A DICOMweb service cannot be reached, or has no room."""


def credentials() -> dict[str, str]:
    """Return the header that the environment gives for DICOMweb services; {} if it gives none.

    THORAX_DICOMWEB_TOKEN is a bearer token; THORAX_DICOMWEB_USER and THORAX_DICOMWEB_PASSWORD are those of
    basic authentication.
    """
    token = os.environ.get("THORAX_DICOMWEB_TOKEN", "").strip()
    if token:
        return {"Authorization": f"Bearer {token}"}
    user = os.environ.get("THORAX_DICOMWEB_USER", "")
    if user:
        password = os.environ.get("THORAX_DICOMWEB_PASSWORD", "")
        both = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {both}"}
    return {}


class DicomWeb:
    """One DICOMweb service.

    Redirects are not followed: they could lead credentials and patients elsewhere.

    Args:
        url: Its address, such as "https://pacs.example.org/dicom-web".
        encryption: TLS, for https; None: with the authorities of this machine.
        headers: Sent with every request, such as `credentials()`.
    """

    def __init__(
        self, url: str, *, encryption: ssl.SSLContext | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        parts = urlsplit(url.rstrip("/"))
        self._host = parts.hostname or ""
        self._port = parts.port
        self._place = parts.netloc.rpartition("@")[2]
        self._path = parts.path
        self._encryption = (encryption or ssl.create_default_context()) if parts.scheme == "https" else None
        self._headers = dict(headers or {})

    def search(self, what: str, parameters: Mapping[str, str | Sequence[str]]) -> list[dict[str, Any]]:
        """Return what QIDO-RS finds, as data sets in DICOM JSON.

        Args:
            what: What to search, such as "/studies" or "/studies/UID/instances".
            parameters: The query, such as {"PatientID": "1", "limit": "10"}.

        Raises:
            NoAnswer: The service cannot be reached.
            WebError: It refuses the query, or its answer is not DICOM JSON.
        """
        query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
        status, content, _ = self._request("GET", f"{what}{query}", accept="application/dicom+json")
        if status == http.client.NO_CONTENT:
            return []
        self._refuse(status, "the search")
        try:
            found = parse_json(content)
        except ValueError as error:
            raise WebError(f"{self._host} answers a search with something else than JSON") from error
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise WebError(f"{self._host} answers a search with something else than a list of data sets")
        return found

    def retrieve(self, study: str, series: str, instance: str) -> bytes:
        """Return an instance as the bytes of a DICOM file, in its own transfer syntax if the service agrees.

        Raises:
            NoAnswer: The service cannot be reached.
            WebError: It does not have it, or its answer is not an object.
        """
        place = f"/studies/{quote(study)}/series/{quote(series)}/instances/{quote(instance)}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        status, content, kind = self._request("GET", place, accept=accept, most=_LARGEST_OBJECT)
        self._refuse(status, "an instance")
        part = _only_part(content, kind)
        if part is None:
            raise WebError(f"{self._host} answers with something else than one DICOM object")
        return part

    def store(self, files: Sequence[bytes], *, study: str = "") -> list[int]:
        """Store objects by STOW-RS, and return the failure reasons of those that were refused.

        Args:
            files: The bytes of DICOM files.
            study: Their Study Instance UID, for services that want it; "": not stated.

        Raises:
            NoAnswer: The service cannot be reached, or has no room.
            WebError: It refuses the request, or its answer cannot be read.
        """
        boundary = secrets.token_hex(16)
        body = b"".join(
            b"".join((f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(), content, b"\r\n"))
            for content in files
        )
        status, content, _ = self._request(
            "POST",
            f"/studies/{quote(study)}" if study else "/studies",
            accept="application/dicom+json",
            kind=f'multipart/related; type="application/dicom"; boundary={boundary}',
            body=body + f"--{boundary}--\r\n".encode(),
        )
        if status not in {*_STORED, http.client.CONFLICT}:
            self._refuse(status, "results")
        reasons = _failures(content)
        if status == http.client.CONFLICT and not reasons:
            raise WebError(f"{self._host} refuses results (HTTP status {status})", status)
        return [reason for reason in reasons if reason != _DUPLICATE]

    def _refuse(self, status: int, what: str) -> None:
        if status == http.client.OK or status in _STORED:
            return
        if status in {401, 403}:
            advice = "; give THORAX_DICOMWEB_TOKEN, or THORAX_DICOMWEB_USER and THORAX_DICOMWEB_PASSWORD"
        else:
            advice = ""
        message = f"{self._host} refuses {what} (HTTP status {status}){advice}"
        if status in {429, 500, 502, 503, 504, 507}:
            raise NoAnswer(message)
        raise WebError(message, status)

    def _request(
        self,
        method: str,
        place: str,
        *,
        accept: str,
        kind: str = "",
        body: bytes | None = None,
        most: int = _LARGEST_JSON,
    ) -> tuple[int, bytes, str]:
        """Return status, content and media type of an answer."""
        headers = {**self._headers, "Accept": accept, **({"Content-Type": kind} if kind else {})}
        with self._connected() as connection:
            connection.request(method, f"{self._path}{place}", body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read(most + 1)
            if len(content) > most:
                raise WebError(f"{self._host} answers with more than {most:,} bytes")
            return answer.status, content, answer.headers.get("Content-Type", "")

    @contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=_SECONDS, context=self._encryption)
            if self._encryption
            else http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)
        )
        try:
            yield connection
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(
                f"{self._place} cannot be reached ({reason_of(error)}); check the address, and that the "
                "service runs"
            ) from error
        finally:
            connection.close()


def _only_part(content: bytes, kind: str) -> bytes | None:
    """Return the first part of a multipart message, or an object that came as it is; None: neither came."""
    media, *parameters = (piece.strip() for piece in kind.split(";"))
    if media.lower() == "application/dicom":
        return content
    named = {
        name.strip().lower(): value.strip().strip('"')
        for name, _, value in (parameter.partition("=") for parameter in parameters)
    }
    boundary = f"--{named.get('boundary', '')}".encode()
    begin = content.find(boundary)
    head = content.find(b"\r\n\r\n", begin)
    end = content.find(b"\r\n" + boundary, head)
    if not media.lower().startswith("multipart/") or len(boundary) == len("--") or -1 in {begin, head, end}:
        return None
    return content[head + 4 : end]


def _failures(content: bytes) -> list[int]:
    """Return the failure reasons in an answer of STOW-RS; 0 for one that is not stated."""
    if not content.strip():
        return []
    try:
        answer = parse_json(content)
        failed = answer.get("00081198", {}).get("Value", [])
        return [int(one.get("00081197", {}).get("Value", [0])[0]) for one in failed]
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise WebError("the answer to the results that were sent cannot be read") from error
