"""DICOMweb over the standard library: what is sent, and what each answer of a service means."""

import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pydicom
import pytest

from tests.helpers.node import image
from thorax.errors import DataError
from thorax.pacs.archive import predict_archive, read_place
from thorax.pacs.dicomweb import DicomWeb, NoAnswer, WebError, credentials


class Service(ThreadingHTTPServer):
    """Answers what a test says, and remembers what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = {}
        self.asked = []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def _answer(self, method):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((method, self.path, dict(self.headers), body))
        answer = self.server.answers.get((method, self.path.partition("?")[0]), (404, "text/plain", b""))
        status, kind, content = answer(self.path, body) if callable(answer) else answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/stolen")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def service():
    server = Service()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "answer", "reasons"),
    [
        (200, {}, []),
        (202, {"00081198": {"Value": [{"00081197": {"Value": [0x0122]}}]}}, [0x0122]),
        (409, {"00081198": {"Value": [{"00081197": {"Value": [0x0111]}}]}}, []),  # it has them already
        (409, {"00081198": {"Value": [{}, {"00081197": {"Value": [43264]}}]}}, [0, 43264]),
    ],
)
def test_what_is_refused_is_what_the_answer_says(status, answer, reasons):
    with service() as (server, url):
        server.answers["POST", "/dicom-web/studies"] = (
            status, "application/dicom+json", json.dumps(answer).encode(),
        )  # fmt: skip
        assert DicomWeb(url).store([b"one", b"two"]) == reasons
        (_, _, headers, body), *_ = server.asked
    boundary = headers["Content-Type"].rpartition("boundary=")[2]
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert body.split(f"--{boundary}".encode())[1:] == [
        b"\r\nContent-Type: application/dicom\r\n\r\none\r\n",
        b"\r\nContent-Type: application/dicom\r\n\r\ntwo\r\n",
        b"--\r\n",
    ]


@pytest.mark.parametrize(
    ("status", "content", "error", "message"),
    [
        (503, b"", NoAnswer, "HTTP status 503"),
        (507, b"", NoAnswer, "HTTP status 507"),
        (401, b"", WebError, "THORAX_DICOMWEB_TOKEN"),
        (302, b"", WebError, "HTTP status 302"),
        (415, b"", WebError, "HTTP status 415"),
        (409, b"", WebError, "HTTP status 409"),
        (200, b"<html>", WebError, "cannot be read"),
        (200, b"[1]", WebError, "cannot be read"),
    ],
)
def test_an_answer_that_is_none_is_an_error(status, content, error, message):
    with service() as (server, url):
        server.answers["POST", "/dicom-web/studies"] = (status, "text/html", content)
        with pytest.raises(error, match=message):
            DicomWeb(url).store([b"one"])


def test_a_service_that_is_away_is_no_answer():
    with pytest.raises(NoAnswer, match=r"127.0.0.1:1 cannot be reached \(Connection refused\)"):
        DicomWeb("http://127.0.0.1:1/dicom-web").search("/studies", {})


def test_credentials_come_from_the_environment_and_go_into_the_header_alone(monkeypatch):
    for name in ("TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv(f"THORAX_DICOMWEB_{name}", raising=False)
    assert credentials() == {}
    monkeypatch.setenv("THORAX_DICOMWEB_USER", "reader")
    monkeypatch.setenv("THORAX_DICOMWEB_PASSWORD", "secret:word")
    assert credentials() == {"Authorization": "Basic cmVhZGVyOnNlY3JldDp3b3Jk"}
    monkeypatch.setenv("THORAX_DICOMWEB_TOKEN", "abc")
    assert credentials() == {"Authorization": "Bearer abc"}
    with service() as (server, url):
        server.answers["GET", "/dicom-web/studies"] = (204, "", b"")
        assert DicomWeb(url, headers=credentials()).search("/studies", {"PatientID": "A 1"}) == []
        ((_, path, headers, _),) = server.asked
    assert path == "/dicom-web/studies?PatientID=A+1"
    assert headers["Authorization"] == "Bearer abc"


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("application/dicom", b"DICM", b"DICM"),
        ('multipart/related; boundary="x y"', b"--x y\r\nA: b\r\n\r\nDI\r\nCM\r\n--x y--", b"DI\r\nCM"),
        ("multipart/related; boundary=x", b"pre\r\n--x\r\n\r\nDICM\r\n--x--\r\n", b"DICM"),
    ],
)  # fmt: skip
def test_an_instance_is_the_part_of_the_answer(kind, content, expected):
    with service() as (server, url):
        server.answers["GET", "/dicom-web/studies/1/series/2/instances/3"] = (200, kind, content)
        assert DicomWeb(url).retrieve("1", "2", "3") == expected


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/html", b"<html>"),
        ("multipart/related", b"--x\r\n\r\nDICM\r\n--x--"),
        ("multipart/related; boundary=x", b"--x\r\n\r\nDICM"),
        ("multipart/related; boundary=x", b""),
    ],
)
def test_an_answer_without_an_instance_is_refused(kind, content):
    with service() as (server, url):
        server.answers["GET", "/dicom-web/studies/1/series/2/instances/3"] = (200, kind, content)
        with pytest.raises(WebError, match="something else than one DICOM object"):
            DicomWeb(url).retrieve("1", "2", "3")


def test_an_address_names_a_search_a_study_or_a_part_of_it():
    place = read_place("dicomweb://pacs.example.org/dicom-web/studies?StudyDate=20240131&PatientID=1%202")
    assert place.url == "https://pacs.example.org/dicom-web"
    assert place.query == {"StudyDate": "20240131", "PatientID": "1 2"}
    place = read_place("dicomweb+http://127.0.0.1:8042/dicom-web/studies/1.2/series/1.3")
    assert (place.url, place.study, place.series, place.instance) == (
        "http://127.0.0.1:8042/dicom-web", "1.2", "1.3", "",
    )  # fmt: skip


@pytest.mark.parametrize(
    "address",
    [
        "dicomweb://pacs.example.org/dicom-web",
        "dicomweb:///studies",
        "dicomweb://pacs.example.org/studies/abc",
        "dicomweb://pacs.example.org/studies/1.2/instances/1.3",
        "https://pacs.example.org/studies",
        "dicomweb://user:word@pacs.example.org/studies",
    ],
)
def test_another_address_is_refused(address):
    with pytest.raises(DataError, match=r"does not name studies|a name or a password"):
        read_place(address)


def element(vr, value):
    return {"vr": vr, "Value": [value]}


def test_an_archive_is_predicted_page_by_page_once_and_a_bad_image_does_not_stop_it(maker):
    """The service is ours, with 120 studies in pages; one of them has an image that is cut."""
    archive = {}
    for number in range(1, 4):
        uid, content = image(number)
        archive[uid] = content
    cut = next(iter(archive))
    archive[cut] = archive[cut][:2000]
    results = []
    with service() as (server, url):
        uids = [uid.replace(".7.", ".8.") for uid in archive]
        others = [f"1.2.3.{number}" for number in range(117)]

        def studies(path, _body):
            offset = int(path.partition("offset=")[2].partition("&")[0])
            page = [{"0020000D": element("UI", uid)} for uid in [*others, *uids][offset : offset + 100]]
            return 200, "application/dicom+json", json.dumps(page).encode()

        def instances(uid):
            def answer(_path, _body):
                listed = [{"00080016": element("UI", "1.2.840.10008.5.1.4.1.1.1.1"),
                           "00080018": element("UI", uid), "0020000E": element("UI", "1.5")}]  # fmt: skip
                listed += [{"00080018": element("UI", dataset.SOPInstanceUID)} for dataset in results]
                return 200, "application/dicom+json", json.dumps(listed).encode()

            return answer

        def stored(_path, body):
            parts = body.split(b"Content-Type: application/dicom\r\n\r\n")[1:]
            results.extend(pydicom.dcmread(io.BytesIO(part.rpartition(b"\r\n--")[0])) for part in parts)
            return 200, "application/dicom+json", b"{}"

        server.answers["GET", "/dicom-web/studies"] = studies
        for study in others:
            server.answers["GET", f"/dicom-web/studies/{study}/instances"] = (204, "", b"")
        for uid, study in zip(archive, uids, strict=True):
            server.answers["GET", f"/dicom-web/studies/{study}/instances"] = instances(uid)
            path = f"/dicom-web/studies/{study}/series/1.5/instances/{uid}"
            server.answers["GET", path] = (200, "application/dicom", archive[uid])
            server.answers["POST", f"/dicom-web/studies/{study}"] = stored
        place = read_place(f"{url.replace('http:', 'dicomweb+http:')}/studies")
        first = list(predict_archive(maker, place))
        count = len(results)
        again = list(predict_archive(maker, place))
    assert [one.outcome for one in first] == ["failed", "stored", "stored"]
    assert [one.outcome for one in again] == ["failed", "there", "there"]
    assert "truncated" in first[0].reason
    assert len(results) == count
    made = [maker.results(archive[uid], uid) for uid in list(archive)[1:]]
    wanted = {dataset.SOPInstanceUID for one in made for dataset in one.objects}
    assert {dataset.SOPInstanceUID for dataset in results} == wanted
