"""Who is answered, how much is taken, and what is left behind: nothing."""

import io
import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command import command
from tests.helpers.dicom_writing import written
from tests.helpers.service import GOLDEN, begin, finished, multipart, running
from thorax.errors import MissingExtra, ServiceError

PAGES = (
    "/",
    "/main.js",
    "/style.css",
    "/icon.svg",
    "/v1/models",
    "/v1/models/small-cpu/card",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/no",
)


# ---- who is answered ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "of_local", "of_public"),
    [
        ("localhost", 200, 200), ("LOCALHOST:9000", 200, 200), ("127.0.0.1:1", 200, 200), ("[::1]", 200, 200),
        ("192.168.1.7:8000", 421, 200), ("203.0.113.9", 421, 200), ("[2001:db8::1]:80", 421, 200),
        ("evil.example.org", 421, 421), ("localhost.evil.example.org", 421, 421), ("", 421, 421),
        ("localhost@evil.example.org", 421, 421), ("[", 421, 421),
        ("thorax.example.org", 200, 421), ("demo.example.org:443", 421, 200), ("Demo.Example.org.", 421, 200),
    ],
)  # fmt: skip
def test_only_its_own_names_are_answered(local, public, host, of_local, of_public):
    for path in ("/", "/v1/models", "/health/live"):
        assert local.get(path, Host=host).status == of_local
        assert public.get(path, Host=host).status == of_public


def test_a_foreign_name_is_told_how_to_become_its_own(local):
    answer = local.get("/", Host="evil.example.org")
    assert answer.json["error"] == "WrongHost"
    assert "'evil.example.org'" in answer.json["message"]
    assert "thorax serve --allow-host NAME" in answer.json["message"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200), ("http://127.0.0.1", 200), ("https://thorax.example.org", 200),
        ("https://evil.example.org", 403), ("null", 403), ("", 403), ("https://[", 403),
    ],
)  # fmt: skip
def test_pages_of_other_sites_are_not_answered(local, images, origin, status):
    assert local.post("/v1/predict", images["00.png"], Origin=origin).status == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/predict", 405), ("PUT", "/v1/predict", 405), ("POST", "/", 405),
        ("DELETE", "/v1/models", 405), ("GET", "/docs", 404), ("GET", "/redoc", 404),
        ("GET", "/page/../settings.py", 404), ("GET", "/..%2fsettings.py", 404),
        ("GET", "/test-images/", 404), ("GET", "/index.js", 404),
    ],
)  # fmt: skip
def test_what_is_not_served(local, method, path, status):
    answer = local.ask(method, path)
    assert answer.status == status
    assert answer.json["error"] == "NotServed"


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_has_the_security_headers(local, public, path):
    for service, host in ((local, "localhost"), (local, "evil.example.org"), (public, "localhost")):
        headers = service.get(path, Host=host).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == "'self' blob:"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] in {"no-store", "no-cache"}
        assert "server" not in headers
        if service is local:
            assert (policy["frame-ancestors"], headers["x-frame-options"]) == ("'none'", "DENY")
        else:
            assert policy["frame-ancestors"] == "https://frames.example.org https://*.example.com:8443"
            assert "x-frame-options" not in headers


# ---- how much is taken -------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(public):
    connection = public.connect()
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Length", "20000001")
    connection.endheaders()  # and not a single byte of the file
    answer = finished(connection)
    assert (answer.status, answer.json["error"]) == (413, "TooLarge")
    assert "larger than the 20 MB" in answer.json["message"]


def test_a_file_of_unknown_length_is_refused_as_soon_as_it_is_too_large(public):
    connection = public.connect()
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    chunk = b"\x00" * 1_000_000
    for _ in range(21):
        connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    answer = finished(connection)  # though the file has no end
    assert (answer.status, answer.json["error"]) == (413, "TooLarge")


def test_the_limit_is_the_files_not_the_forms(public):
    largest = b"\x00" * 20_000_000
    assert public.post("/v1/predict", largest).status == 400
    body, kind = multipart(largest)
    assert len(body) > len(largest)
    assert public.post("/v1/predict", body, **{"Content-Type": kind}).status == 400
    body, kind = multipart(largest + b"\x00")
    assert public.post("/v1/predict", body, **{"Content-Type": kind}).status == 413
    assert public.post("/v1/predict", largest + b"\x00").status == 413


def test_a_machine_of_ones_own_takes_more(local):
    assert local.post("/v1/predict", b"\x00" * 20_000_001).status == 400


def test_an_image_of_too_many_pixels_is_refused_by_a_demonstration(public, local):
    """It is a small file, and would be a large answer."""
    pixels = np.tile(np.arange(5001, dtype=np.uint8), (5000, 1))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    assert len(file.getvalue()) < 1_000_000
    for call in ("predict", "explain?finding=Mass", "pixels"):
        answer = public.post(f"/v1/{call}", file.getvalue())
        assert (answer.status, answer.json["error"]) == (413, "TooManyPixels")
        assert "has 25.0 million pixels" in answer.json["message"]
    assert local.post("/v1/predict", file.getvalue()).status == 200


def wait_until_full(service, content):
    """Return the answer to the first request for which there is no place."""
    for _ in range(200):
        answer = service.post("/v1/predict", content)
        if answer.status == 503:
            return answer
    raise AssertionError("the service is never full")


def test_eight_uploads_have_a_place_and_the_next_is_asked_to_come_back(public, model, images):
    contents = list(images.values())[:8]
    begun = [begin(public, content) for content in contents]
    answer = wait_until_full(public, contents[0])
    assert (answer.json["error"], answer.headers["retry-after"]) == ("Busy", "2")
    assert public.get("/health/live").status == 200
    for connection, content in zip(begun, contents, strict=True):
        connection.send(content[-1:])
        answer = finished(connection)
        assert answer.json["findings"] == model.predict(content).as_json()["findings"]
    assert public.post("/v1/predict", contents[0]).status == 200


def test_clients_that_vanish_leave_their_places(public, images):
    begun = [begin(public, images["00.png"]) for _ in range(8)]
    wait_until_full(public, images["00.png"])
    for connection in begun:
        connection.close()
    for _ in range(200):
        if public.post("/v1/predict", images["00.png"]).status == 200:
            return
    raise AssertionError("the places are still taken")


def test_failures_leave_their_places(public, images):
    for content in [b"", b"hello", b"\x00" * 20_000_001] * 5:
        assert public.post("/v1/predict", content).status in {400, 413}
    assert public.post("/v1/predict", images["00.png"]).status == 200


def test_answers_are_not_mixed_up(local, model, images):
    contents = list(images.values())[:24]
    expected = [model.predict(content).as_json()["findings"] for content in contents]
    assert len({json.dumps(findings) for findings in expected}) > 20
    with ThreadPoolExecutor(6) as clients:  # fewer than the places, so that none is refused
        answers = list(clients.map(lambda content: local.post("/v1/predict", content), contents))
    assert [answer.json["findings"] for answer in answers] == expected


# ---- what is left behind -----------------------------------------------------------------------


def test_it_ends_when_asked_and_leaves_no_word_about_images(images):
    """Nothing can be left on a disk: the process is not able to write to a file."""
    pixels = np.random.default_rng(0).integers(0, 256, (700, 700), dtype=np.uint8)
    jane = written(pixels, bits=8, PatientName="Doe^Jane", PatientID="4711", PatientAge="049Y")
    jane = jane.replace(b"049Y", b"Jane")  # a value about which pydicom warns, with the value
    for number in (signal.SIGINT, signal.SIGTERM):
        with running() as service:
            body, kind = multipart(jane * 3, filename="Doe^Jane.dcm")  # 1 MB would go to a disk elsewhere
            service.post("/v1/predict", body, **{"Content-Type": kind})
            assert service.post("/v1/predict?picture=true", jane).status == 200
            service.post("/v1/predict", jane[:-4000])
            service.post("/v1/explain?finding=Doe", jane)
            waiting = begin(service, images["00.png"])
            waiting.close()
            code, output, errors = service.end(number)
        assert service.notice == "For research only, not a medical device. Press Ctrl-C to stop.\n"
        assert (code, output, errors) == (0, "", "")


# ---- starting ----------------------------------------------------------------------------------


def test_a_port_in_use_is_named_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("serve", GOLDEN / "run", "--port", str(port), expect=ServiceError.exit_code)
    assert f"port {port} of 127.0.0.1 is in use by another program; set --port to another one" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--port", "70000"), "there is no port 70000; set --port to a number from 1 to 65535"),
        (("--allow-host", "https://a.org"), "is not the name of a host; set --allow-host to a name alone"),
        (("--allow-host", "*"), "is not the name of a host"),
        (("--frame-ancestors", "a.org; script-src *"), "is not the address of a site; set --frame-ancestors"),
        (("--frame-ancestors", "*"), "is not the address of a site"),
    ],
)
def test_settings_that_would_not_do_what_they_say(options, message):
    done = command("serve", GOLDEN / "run", *options, expect=ServiceError.exit_code)
    assert message in done.stderr


def test_without_the_extra_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['fastapi'] = None; sys.argv = ['thorax', 'serve', 'run'];"
        "from thorax.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == MissingExtra.exit_code
    assert "thorax serve needs fastapi, which is not installed" in done.stderr
    assert "pip install '.[serve]'" in done.stderr


def test_the_page_is_opened_in_a_browser_on_request(tmp_path):
    """Whatever the user's environment says is a browser: here one that makes a folder of that name."""
    with running("--open", environment={"BROWSER": f"mkdir -p {tmp_path}/%s"}) as service:
        assert service.get("/").status == 200
        assert (tmp_path / service.address).is_dir()
