"""Parts of the application that a real service does not show: its own failures, slow clients, its files."""

import asyncio
import logging
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from tests.helpers.service import GOLDEN
from thorax.bundle import load_bundle
from thorax.inference.predictor import Predictor
from thorax.service import ServiceSettings, create_app
from thorax.service.admission import Admission, Places
from thorax.service.page_files import page_files
from thorax.service.refusals import Refused
from thorax.service.uploads import discard_upload, read_uploads
from thorax.workflows.model import Model


class FailingEngine:
    """An engine with a fault, whose message quotes an image."""

    def logits(self, pixels: np.ndarray):
        raise RuntimeError(f"Doe^Jane {pixels.shape}")


def test_a_fault_is_logged_by_its_place_alone(images, caplog):
    bundle = load_bundle(GOLDEN / "run")
    model = Model(bundle, Predictor(bundle, FailingEngine()), engine="none", engine_name="auto", device="cpu")
    client = TestClient(create_app(model), base_url="http://localhost")
    with caplog.at_level(logging.DEBUG, logger="thorax"):
        answer = client.post("/v1/predict", content=images["00.png"])
    assert (answer.status_code, answer.json()["error"]) == (500, "InternalError")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert re.fullmatch(r"RuntimeError at test_app\.py:\d+", caplog.messages[0])
    assert "Doe" not in answer.text + caplog.text
    assert client.get("/health/live").status_code == 200


def test_a_service_that_is_ending_lives_but_is_not_ready(model):
    app = create_app(model)
    client = TestClient(app, base_url="http://localhost")
    assert client.get("/health/ready").status_code == 200
    app.state.ending = True
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["error"]) == (503, "Ending")
    assert client.get("/health/live").status_code == 200


def request_of(chunks):
    """A request whose body arrives in these chunks, and then not any more."""
    waiting = list(chunks)

    async def receive():
        if not waiting:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": True}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_a_slow_upload_does_not_hold_its_place_for_ever():
    with pytest.raises(Refused, match="did not arrive within") as refusal:
        asyncio.run(read_uploads(request_of([b"a", b"b"]), ServiceSettings(), seconds=0.05))
    assert refusal.value.status == 408


def test_reading_stops_at_the_limit():
    request = request_of([bytes(8_000_000)] * 4)
    with pytest.raises(Refused, match="larger than") as refusal:
        asyncio.run(read_uploads(request, ServiceSettings(public=True)))
    assert refusal.value.status == 413


def test_memory_for_uploads_is_bounded_and_given_back():
    settings = ServiceSettings()
    places = Places(upload_bytes=settings.upload_bytes - 10)
    statuses = []

    async def app(scope, receive, send):
        await receive()

    async def send(message):
        statuses.append(message["type"])

    def post(size):
        message = {"type": "http.request", "body": bytes(size), "more_body": False}

        async def receive():
            return message

        asyncio.run(Admission(app, settings, places)({"type": "http", "method": "POST"}, receive, send))

    post(10)
    with pytest.raises(Refused, match="busy") as refusal:
        post(11)
    assert refusal.value.status == 503
    assert (places.requests, places.upload_bytes) == (0, settings.upload_bytes - 10)


def test_a_refused_upload_is_taken_to_its_end_but_not_for_ever():
    async def discard(chunks, *, endless=False, **limits):
        waiting = list(chunks)

        async def receive():
            if not waiting:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or endless}

        await discard_upload(receive, **limits)
        return len(waiting)

    assert asyncio.run(discard([b"1234"] * 5, max_bytes=100)) == 0
    assert asyncio.run(discard([b"1234"] * 5, max_bytes=9)) == 2
    assert asyncio.run(discard([b"1234"], endless=True, max_bytes=100, seconds=0.05)) == 0


def test_the_settings_of_the_two_modes():
    assert (ServiceSettings().address, ServiceSettings(public=True).address) == ("127.0.0.1", "0.0.0.0")
    assert ServiceSettings(public=True).at_once == 2


# ---- the files of the page ---------------------------------------------------------------------


class Tags(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


def text_of(name):
    return page_files()[name][1].decode()


def test_the_page_needs_nothing_from_elsewhere_and_nothing_inline():
    elements = Tags(text_of("index.html")).elements
    scripts = [attributes for tag, attributes in elements if tag == "script"]
    assert scripts == [{"type": "module", "src": "main.js"}]
    assert not [tag for tag, _ in elements if tag == "style"]
    for tag, attributes in elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        address = attributes.get("src") or attributes.get("href")
        assert address is None or address in page_files()
    imports = {
        name: re.findall(r'^import .* from "\./(.+)";$', text_of(name), re.MULTILINE)
        for name in page_files()
        if name.endswith(".js")
    }
    assert set().union(*imports.values(), {"main.js"}) == set(imports)
    code = "".join(text_of(name) for name in page_files() if name.endswith((".js", ".css", ".html")))
    assert "://" not in code
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", code)


def test_every_element_that_a_script_asks_for_is_there():
    ids = {attributes["id"] for _, attributes in Tags(text_of("index.html")).elements if "id" in attributes}
    scripts = "".join(text_of(name) for name in page_files() if name.endswith(".js"))
    asked = set(re.findall(r'byId\("([\w-]+)"\)', scripts))
    assert len(asked) > 20
    assert asked <= ids


def test_the_page_is_small():
    sizes = {name: len(content) for name, (_, content) in page_files().items()}
    assert sum(size for name, size in sizes.items() if name.endswith((".js", ".css"))) < 200_000
