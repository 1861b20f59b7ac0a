"""The starter as a site, served by a plain server of static files, and what its modules make of bytes."""

import base64
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import thorax
from tests.service.conftest import browser, model, opened  # noqa: F401  (fixtures)
from thorax.web import write_site
from thorax.web.packages import DECODERS, RUNTIME, unpack
from thorax.web.site import site_files, write_files

FETCHED = Path(__file__).parents[2] / ".npm"
"""Where .ci/run puts the archives of npm."""

_READ = """async ([content, preparation, changed]) => {
  const [{ readRadiograph }, { prepare }, { thumbnail, features }, { packed }] = await Promise.all(
    ["reading", "resize", "gate_features", "pixels"].map((name) => import(`/library/${name}.js`)));
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const base64 = (values) => {
    const bytes = new Uint8Array(values.buffer ?? values, values.byteOffset ?? 0, values.byteLength);
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) {
      text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    }
    return btoa(text);
  };
  const rules = async () => ({ ...(await (await fetch("/model/rules.json")).json()), ...changed });
  try {
    const { stored, pixels, ...image } = await readRadiograph(bytes, rules);
    const whole = { ...image, stored, pixels };
    const small = thumbnail(whole, preparation.fit);
    return {
      ...image,
      deep: pixels.BYTES_PER_ELEMENT === 2,
      pixels: base64(pixels),
      prepared: base64(prepare(whole, preparation)),
      thumbnail: base64(small),
      features: base64(features(small)),
      packed: base64(packed(whole)),
    };
  } catch (error) {
    return { refused: error.message, kind: error.constructor.name };
  }
}"""


class Static:
    """A folder served as any host of static files does."""

    def __init__(self, folder):
        self.folder = folder
        self.requests = []
        handler = partial(Handler, self.requests, directory=folder)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, requests, *arguments, **settings):
        self.requests = requests
        super().__init__(*arguments, **settings)

    def log_message(self, *_arguments):
        self.requests.append((self.command, self.path))


@pytest.fixture(scope="session")
def starter():
    return thorax.load()


@pytest.fixture(scope="session")
def archive():
    """The runtime as npm packs it, which is not part of the repository."""
    path = Path(os.environ.get("THORAX_ONNXRUNTIME_WEB") or FETCHED / RUNTIME.archive)
    if not path.is_file():
        pytest.skip(
            f"needs {RUNTIME.archive} in .npm, or its path in THORAX_ONNXRUNTIME_WEB: {RUNTIME.command}"
        )
    return path


@pytest.fixture(scope="session")
def decoders():
    """The folder with the archives of all decoders; None without them."""
    folder = Path(os.environ.get("THORAX_ONNXRUNTIME_WEB") or FETCHED / RUNTIME.archive).parent
    there = all((folder / package.archive).is_file() for package in DECODERS.values())
    return folder if there else None


@pytest.fixture(scope="session")
def pages(starter, decoders, tmp_path_factory):
    """A site without the runtime, with decoders if they are there: everything but probabilities works."""
    folder = tmp_path_factory.mktemp("pages") / "site"
    programs = {}
    for package in DECODERS.values() if decoders else ():
        programs |= unpack(decoders / package.archive, package)
    write_files(folder, site_files(starter, programs))
    static = Static(folder)
    yield static
    static.close()


@pytest.fixture(scope="session")
def site(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    write_site(None, folder, runtime=archive)
    static = Static(folder)
    yield static
    static.close()


@pytest.fixture(scope="module")
def read(browser, pages):  # noqa: F811
    """Read bytes as the site's modules do."""
    tab = browser.new_page()
    tab.goto(pages.address)

    def in_browser(content, *, size=112, fit="pad", **changed):
        preparation = {"size": size, "fit": fit}
        answer = tab.evaluate(_READ, [base64.b64encode(content).decode(), preparation, changed])
        if "refused" in answer:
            return answer
        shape = answer["rows"], answer["columns"]
        arrays = {
            "pixels": decoded(answer["pixels"], "<u2" if answer["deep"] else "u1", shape),
            "prepared": decoded(answer["prepared"], "u1", (size, size)),
            "thumbnail": decoded(answer["thumbnail"], "u1", (64, 64)),
            "features": decoded(answer["features"], "<f4", (1, 768)),
            "packed": base64.b64decode(answer["packed"]),
        }
        return answer | arrays

    yield in_browser
    tab.close()


def decoded(text, kind, shape):
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)
