"""A service with a token, encryption, several models and an audit log; and who is asked to wait."""

import hashlib
import http.client
import io
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import thorax
from tests.helpers.command import command
from tests.helpers.service import GOLDEN, begin, finished, running
from thorax.errors import ServiceError
from thorax.service import ServiceSettings, create_app
from thorax.service.clients import RateLimit, client_address

TOKEN = "qZ7.m4xv9Lr2-Tc8kWd1"
CALLS = ("/v1/models", "/v1/models/starter/card", "/metrics", "/v1/nothing")
OPEN = ("/", "/main.js", "/test-images/README.txt", "/openapi.json", "/health/live", "/health/ready")


# ---- a token -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Two models for other machines, with a token and an audit log that is allowed to grow."""
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "token").write_text(f"{TOKEN}\n")
    shutil.copytree(GOLDEN / "run", folder / "run")
    options = ("--listen", "0.0.0.0", "--token-file", folder / "token", "--audit-log", folder / "audit.jsonl")
    with running("starter", *options, bundle=folder / "run", may_write=True) as service:
        service.folder = folder
        yield service


def bearer(token=TOKEN, scheme="Bearer"):
    return {"Authorization": f"{scheme} {token}"}


def test_every_call_needs_the_token_and_the_page_does_not(hospital, images):
    wrong = (
        {},
        bearer(""),
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer(TOKEN.lower()),
        bearer(scheme="Basic"),
    )
    for headers in wrong:
        for path in CALLS:
            answer = hospital.get(path, **headers)
            assert (answer.status, answer.json["error"]) == (401, "WrongToken")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert hospital.post("/v1/predict", images["00.png"], **headers).status == 401
        assert {hospital.get(path, **headers).status for path in OPEN} == {200}
    assert hospital.post("/v1/predict", bytes(50_000_000)).status == 401  # it is read before the refusal
    assert [hospital.get(path, **bearer()).status for path in CALLS] == [200, 200, 200, 404]
    assert hospital.post("/v1/predict", images["00.png"], **bearer(scheme="bearer")).status == 200


def test_its_description_says_which_calls_need_the_token(hospital):
    described = hospital.get("/openapi.json").json
    assert described["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    for path, calls in described["paths"].items():
        for call in calls.values():
            is_open = path.startswith("/health/")
            assert call["security"] == ([] if is_open else [{"token": []}])
            assert ("401" in call["responses"]) is not is_open


def test_a_service_for_other_machines_answers_to_every_address_and_to_no_foreign_name(hospital):
    assert hospital.get("/health/live", Host="192.0.2.7:8000").status == 200
    assert hospital.get("/health/live", Host="evil.example.org").status == 421


def test_several_models_are_served_by_name_and_the_first_without_one(hospital, images):
    described = hospital.get("/v1/models", **bearer()).json["models"]
    assert [model["name"] for model in described] == ["small-cpu", "starter"]
    content = images["00.png"]
    expected = {
        "": thorax.load(GOLDEN / "run"), "small-cpu": thorax.load(GOLDEN / "run"), "starter": thorax.load(),
    }  # fmt: skip
    with ThreadPoolExecutor(6) as clients:
        for name, model in expected.items():
            answers = clients.map(
                lambda _, name=name: hospital.post(f"/v1/predict?model={name}", content, **bearer()), range(6)
            )
            findings = model.predict(content).as_json()["findings"]
            assert [answer.json["findings"] for answer in answers] == [findings] * 6
    none = hospital.post("/v1/predict?model=other", content, **bearer())
    assert (none.status, none.json["error"]) == (404, "NoSuchModel")
    assert "small-cpu, starter" in none.json["message"]
    assert "Thorax" in hospital.get("/v1/models/starter/card", **bearer()).body.decode()
    assert hospital.get("/v1/models/other/card", **bearer()).status == 404


def test_the_audit_log_has_a_line_for_every_image_and_names_it_by_its_hash(hospital, images):
    log = hospital.folder / "audit.jsonl"
    assert oct(log.stat().st_mode)[-3:] == "600"
    before = len(log.read_text().splitlines())
    content = images["01.png"]
    hospital.post("/v1/predict?model=starter", content, **bearer())
    hospital.post("/v1/predict", b"not an image", **bearer())
    hospital.post("/v1/explain?finding=Mass", content, **bearer())
    hospital.post("/v1/predict", content)  # without the token
    lines = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    assert [(line["call"], line["model"], line["outcome"]) for line in lines] == [
        ("predict", "starter", "predicted"),
        ("predict", "small-cpu", "UnsupportedImage"),
        ("explain", "small-cpu", "explained"),
    ]
    assert {line["client"] for line in lines} == {"127.0.0.1"}
    digest = hashlib.sha256(content).hexdigest()
    assert [line["image_sha256"] == digest for line in lines] == [True, False, True]
    assert lines[0]["bundle_sha256"] == thorax.load().bundle.sha256
    assert set(lines[0]) == {"time", "client", "call", "model", "bundle_sha256", "image_sha256", "outcome"}


def test_what_was_counted_is_what_was_asked(hospital, images):
    def counted(pattern):
        text = hospital.get("/metrics", **bearer()).body.decode()
        return float(re.search(rf"^{pattern} ([\d.]+)$", text, re.MULTILINE)[1])

    predicted = r'thorax_images_total\{model="starter",outcome="predicted"\}'
    answers = r'thorax_answers_total\{call="predict",status="200"\}'
    seconds, batches = "thorax_answer_seconds_count", "thorax_batch_images_sum"
    hospital.post("/v1/predict?model=starter", images["00.png"], **bearer())
    before = [counted(pattern) for pattern in (predicted, answers, seconds, batches)]
    for _ in range(3):
        hospital.post("/v1/predict?model=starter", images["00.png"], **bearer())
    assert [counted(pattern) for pattern in (predicted, answers, seconds, batches)] == [n + 3 for n in before]
    assert counted("thorax_requests_held") == counted("thorax_upload_bytes_held") == 0


def test_an_audit_log_that_cannot_be_written_stops_the_answers(tmp_path, images):
    """The process may write no byte to any file."""
    with running("--audit-log", tmp_path / "audit.jsonl") as service:
        answer = service.post("/v1/predict", images["00.png"])
        assert (answer.status, answer.json["error"]) == (500, "AuditFailed")
        assert "findings" not in answer.json


@pytest.mark.parametrize(
    ("options", "token", "message"),
    [
        (("--listen", "0.0.0.0"), "", "without a token everyone could use the model; set --token-file"),
        (("--listen", "hospital"), TOKEN, "'hospital' is not an address; set --listen"),
        (("--listen", "0.0.0.0"), "short", "the token has 5 characters"),
        (("--listen", "0.0.0.0"), f"{TOKEN} {TOKEN}", "the token has"),
        (("--public",), TOKEN, "a public demonstration has no token, and there is one"),
        (("--public", "--audit-log", "log"), "", "a public demonstration keeps nothing"),
        (("--token-file", "nowhere"), "", "the token in nowhere cannot be read (No such file or directory)"),
        (("--certificate", "nowhere.pem"), "", "nowhere.pem cannot be read (No such file or directory)"),
        (("--listen", "192.0.2.99"), TOKEN, "192.0.2.99 is not an address of this machine; set --listen"),
        (("--key", "key.pem"), "", "key.pem is a key without a certificate; set --certificate"),
        (("--trusted-proxy", "proxy"), "", "'proxy' is not an address or a network; set --trusted-proxy"),
        (("--audit-log", "nowhere/log"), "", "the audit log nowhere/log cannot be written (No such file"),
    ],
)  # fmt: skip
def test_what_is_not_safe_does_not_start(monkeypatch, options, token, message):
    if token:
        monkeypatch.setenv("THORAX_TOKEN", token)
    done = command("serve", GOLDEN / "run", "--port", "0", *options, expect=ServiceError.exit_code)
    assert message in " ".join(done.stderr.split())
    assert not token or token not in done.stderr


def test_the_token_is_in_no_message_and_in_no_description_of_the_settings():
    settings = ServiceSettings(listen="0.0.0.0", token=TOKEN)
    assert TOKEN not in repr(settings)


def test_one_bundle_twice_is_refused():
    model = thorax.load()
    with pytest.raises(ServiceError, match="the bundle of starter is named twice"):
        create_app([model, thorax.load()])
    with pytest.raises(ServiceError, match="no model to serve"):
        create_app([])


# ---- encryption --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def test_a_certificate_encrypts_and_nothing_is_answered_in_the_clear(certificate, images):
    options = ("--certificate", certificate / "certificate.pem", "--key", certificate / "key.pem")
    with running(*options) as service:
        assert service.address.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=certificate / "certificate.pem")
        connection = http.client.HTTPSConnection("localhost", service.port, context=trusting, timeout=60)
        connection.request("POST", "/v1/predict", images["00.png"])
        response = connection.getresponse()
        assert (response.status, response.version) == (200, 11)
        assert connection.sock.version() in {"TLSv1.2", "TLSv1.3"}
        connection.close()
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            service.get("/health/live")


def test_a_key_that_does_not_fit_or_has_a_password_is_refused(certificate, tmp_path):
    subprocess.run(
        ["openssl", "ec", "-in", certificate / "key.pem", "-aes256", "-passout", "pass:secret", "-out",
         tmp_path / "locked.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    for key, problem in (
        (tmp_path / "locked.pem", "locked.pem has a password"),
        (certificate / "certificate.pem", "does not hold the private key of the certificate; set --key"),
    ):
        done = command(
            "serve", GOLDEN / "run", "--port", "0", "--certificate", certificate / "certificate.pem",
            "--key", key, expect=ServiceError.exit_code,
        )  # fmt: skip
        assert problem in " ".join(done.stderr.split())


# ---- how often a client may ask ----------------------------------------------------------------


def test_a_client_may_send_so_many_at_once_and_then_so_many_a_minute(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limit = RateLimit(60)
    assert [limit.seconds_to_wait("192.0.2.1") for _ in range(60)] == [0.0] * 60
    assert limit.seconds_to_wait("192.0.2.1") == pytest.approx(1.0)
    assert limit.seconds_to_wait("192.0.2.2") == 0.0
    now[0] += 0.5
    assert limit.seconds_to_wait("192.0.2.1") == pytest.approx(0.5)
    now[0] += 0.5
    assert [limit.seconds_to_wait("192.0.2.1") > 0 for _ in range(2)] == [False, True]
    now[0] += 3600
    assert [limit.seconds_to_wait("192.0.2.1") > 0 for _ in range(61)] == [False] * 60 + [True]
    network = [limit.seconds_to_wait(f"2001:db8::{number:x}") for number in range(61)]
    assert network[60] > 0
    assert limit.seconds_to_wait("2001:db8:0:1::1") == 0
    assert RateLimit(0).seconds_to_wait("") == 0


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.9", ["198.51.100.1"], "192.0.2.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"), ("testclient", ["198.51.100.1"], ""),
        ("2001:DB8::1", [], "2001:db8::1"), ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"), ("10.0.0.1", ["10.0.0.7"], "10.0.0.7"),
    ],
)  # fmt: skip
def test_only_a_trusted_proxy_names_the_client(peer, forwarded, client):
    settings = ServiceSettings(public=True, trusted_proxies=("10.0.0.0/8",))
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    assert client_address({"type": "http", "client": (peer, 1), "headers": headers}, settings) == client


def test_a_client_that_asks_too_often_is_asked_to_wait_and_another_is_not(model):
    settings = ServiceSettings(public=True, trusted_proxies=("192.0.2.1",))
    client = TestClient(create_app(model, settings), base_url="http://localhost", client=("192.0.2.1", 1))

    def ask(address):
        return client.post("/v1/predict", content=b"x", headers={"X-Forwarded-For": address})

    often = [ask("198.51.100.1") for _ in range(60)]
    assert {answer.status_code for answer in often} == {400}
    while (refused := ask("198.51.100.1")).status_code == 400:  # a slow machine has earned more meanwhile
        pass
    assert (refused.status_code, refused.json()["error"]) == (429, "TooOften")
    assert refused.headers["retry-after"] == "1"
    assert ask("198.51.100.2").status_code == 400
    assert client.get("/v1/models").status_code == 200


def test_a_demonstration_has_no_metrics(public):
    assert public.get("/metrics").status == 404


# ---- the end -----------------------------------------------------------------------------------


def test_what_was_taken_is_answered_before_the_end(images):
    with running() as service:
        waiting = begin(service, images["00.png"])
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(ConnectionError):
            service.get("/health/live")
        waiting.send(images["00.png"][-1:])
        answer = finished(waiting)
        assert (answer.status, len(answer.json["findings"])) == (200, 3)
        output, errors = service.process.communicate(timeout=20)
    assert (service.process.returncode, output, errors) == (0, "", UNDER_WAY)


UNDER_WAY = "finishing 1 request; Ctrl-C again ends at once\n"


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_between_the_first_line_and_the_first_request_is_not_lost(number):
    code = (
        "import asyncio, os, signal, sys; from thorax.cli.main import main; run = asyncio.Runner.run\n"
        f"def late(*args): os.kill(os.getpid(), signal.{number}); return run(*args)\n"
        "asyncio.Runner.run = late; sys.argv = ['thorax', *sys.argv[1:]]; main()"
    )
    with running(program=(sys.executable, "-c", code)) as service:
        output, errors = service.process.communicate(timeout=20)
    assert (service.process.returncode, output, errors) == (0, "", "")


def test_a_second_signal_cuts_what_is_under_way_and_says_so_without_a_traceback(images):
    with running() as service:
        waiting = begin(service, images["00.png"])
        time.sleep(0.2)
        service.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert service.process.poll() is None
        code, output, errors = service.end()
        answer = finished(waiting)
    assert (code, output, errors) == (0, "", UNDER_WAY)
    assert (answer.status, answer.json["error"]) == (503, "Ending")


def sent(service, request, *, cut):
    """Send bytes, end the sending side if it is cut, and return status and body of what comes back."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(request)
        if cut:
            connection.shutdown(socket.SHUT_WR)
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_a_request_that_is_cut_off_gets_the_services_own_failure(images):
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
    whole = images["00.png"]
    length = f"Content-Length: {len(whole)}\r\n\r\n".encode()
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    with running() as service:
        for request in (
            head + length + whole[:-1],
            head + length,
            head + chunked + b"a0\r\n" + whole[:100],
        ):
            status, body = sent(service, request, cut=True)
            assert (status, body["error"]) == (400, "CutOff")
        for request in (head + chunked + b"not a length\r\n", b"not HTTP at all\r\n\r\n"):
            status, body = sent(service, request, cut=False)
            assert (status, body["error"]) == (400, "CutOff")
        # A client may end its side once it has sent everything.
        status, body = sent(service, head + length + whole, cut=True)
        assert (status, len(body["findings"])) == (200, 3)
        assert b'status="500"' not in service.get("/metrics").body
        assert service.end() == (0, "", "")


# ---- what it says at the start -----------------------------------------------------------------


def test_for_other_machines_the_addresses_are_theirs_and_missing_encryption_is_said(certificate):
    files = ("--certificate", certificate / "certificate.pem", "--key", certificate / "key.pem")
    options = ("--listen", "0.0.0.0", *files)
    with running("--public") as service:
        host = urlsplit(service.address).hostname
        said = [service.process.stdout.readline() for _ in range(1 if host == "localhost" else 2)]
        assert host == "localhost" or not ip_address(host).is_loopback
        assert host == "localhost" or said[0] == f"also at http://localhost:{service.port}/\n"
        assert said[-1].startswith("Not encrypted: whoever is on the way can read images and results. Use")
    with running(*options, environment={"THORAX_TOKEN": TOKEN}) as service:
        assert service.address.startswith("https://")
        assert "Not encrypted" not in service.end()[1]


def is_closed(connection):
    """Whether the other side ends the connection, within the time that the socket waits."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_connection_that_sends_no_request_is_closed():
    code = (
        "import thorax.service.connections as c; c._HEAD_SECONDS = 0.3;"
        "from thorax.cli.main import main; import sys; sys.argv = ['thorax', *sys.argv[1:]]; main()"
    )
    with running(program=(sys.executable, "-c", code)) as service:
        address = ("127.0.0.1", service.port)
        with socket.create_connection(address, 20) as silent, socket.create_connection(address, 20) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost: local")
            assert is_closed(silent)
            assert is_closed(slow)
        assert service.get("/health/live").status == 200


def test_an_answer_that_is_not_read_gives_its_place_back():
    code = (
        "import thorax.service.connections as c; c._READ_SECONDS = 0.5;"
        "from thorax.cli.main import main; import sys; sys.argv = ['thorax', *sys.argv[1:]]; main()"
    )
    pixels = np.random.default_rng(0).integers(0, 2**16, (2500, 2500), dtype=np.uint16)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    head = f"POST /v1/pixels HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(file.getvalue())}\r\n\r\n"

    def held(service):
        (line,) = re.findall(
            r"^thorax_requests_held (\d+)$", service.get("/metrics").body.decode(), re.MULTILINE
        )
        return int(line)

    with running(program=(sys.executable, "-c", code)) as service, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(60)
        deaf.connect(("127.0.0.1", service.port))
        deaf.sendall(head.encode() + file.getvalue())
        assert deaf.recv(15) == b"HTTP/1.1 200 OK"
        end = time.monotonic() + 60
        while held(service) and time.monotonic() < end:
            time.sleep(0.1)
        assert held(service) == 0
        received = 0
        with suppress(ConnectionError):
            while chunk := deaf.recv(1 << 20):
                received += len(chunk)
        assert received < pixels.nbytes
