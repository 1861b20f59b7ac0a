"""Render docs/report.png, docs/page.png and docs/web.png, the pictures of the documentation (`make docs`).

The report is that of a simulated model on phantom patients, whose labels are as common and as correlated as
NIH's. For each finding the model's scores rank images about as well as published models rank NIH's. All draws
come from fixed seeds, so the same code gives the same report. The page is that of `thorax serve`: the
starter with one of its test images and a heat map. That of a site is the same on a telephone, in a dark room;
it needs the archive of onnxruntime-web that `make npm` fetches. Each picture carries the hash of the text
that it shows; `tests/test_docs.py` renders all again and compares.
"""

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import sync_playwright

from thorax.datasets.phantom.cohort import draw_patients
from thorax.findings import NIH14
from thorax.randomness import uniform
from thorax.web import write_site
from thorax.web.packages import RUNTIME

PICTURE: Final = Path(__file__).parents[1] / "docs" / "report.png"
PAGE: Final = Path(__file__).parents[1] / "docs" / "page.png"
SITE: Final = Path(__file__).parents[1] / "docs" / "web.png"
RUNTIME_ARCHIVE: Final = Path(__file__).parents[1] / ".npm" / RUNTIME.archive
TEXT_HASH: Final = "thorax-report-text-sha256"
"""Keyword of the PNG text chunk with the SHA-256 of the text that the picture shows."""

_WIDTH, _MARGIN = 980, 40
_PATIENTS, _SEED = 1000, 11

_TRIED: Final = "Hernia, Infiltration"
"""The test image that the picture of the page shows; the starter was not trained on it."""

_EXPLAINED: Final = "Pneumonia"
"""The finding whose heat map the picture shows."""

_AUC: Final = (0.78, 0.88, 0.83, 0.70, 0.82, 0.76, 0.72, 0.87, 0.74, 0.85, 0.91, 0.80, 0.76, 0.89)
"""The AUC that each finding of NIH14 is simulated with, in its order."""

_TEXT: Final = """forest => {
  const shown = document.createRange();
  shown.setStart(document.body, 0);
  shown.setEndAfter(forest);
  return shown.toString().replace(/\\s+/g, " ").trim();
}"""


def main() -> None:
    """Write the pictures."""
    if chromium() is None:
        sys.exit("Chromium was not found; install it (Debian: apt-get install chromium) and try again")
    with tempfile.TemporaryDirectory() as folder:
        page = write_report(Path(folder))
        text = photograph(page, Path(folder) / "report.png")
        # 128 colors are enough for text and lines, and a third of the bytes; a radiograph needs all.
        keep(Path(folder) / "report.png", text, PICTURE, colors=128)
        text = photograph_page(Path(folder) / "page.png")
        keep(Path(folder) / "page.png", text, PAGE)
        if not RUNTIME_ARCHIVE.is_file():
            sys.exit(f"{RUNTIME_ARCHIVE} was not found; `make npm` fetches it")
        text = photograph_site(Path(folder), Path(folder) / "web.png")
        keep(Path(folder) / "web.png", text, SITE)


def keep(photograph: Path, text: str, picture: Path, *, colors: int | None = None) -> None:
    """Write a photograph with the hash of the text that it shows, if wanted in fewer colors."""
    information = PngInfo()
    information.add_text(TEXT_HASH, text_hash(text))
    with Image.open(photograph) as image:
        kept = image.convert("RGB")
        if colors is not None:
            kept = kept.quantize(colors, dither=Image.Dither.NONE)
        kept.save(picture, pnginfo=information, optimize=True)
    print(f"{picture}: {picture.stat().st_size:,} bytes")


def write_report(folder: Path) -> Path:
    """Draw and prepare phantoms, evaluate the simulated model on their test part; return the page."""
    _thorax(folder, "phantom", "phantoms", "--patients", str(_PATIENTS), "--seed", str(_SEED), "--size", "64")
    _thorax(folder, "prepare", "phantoms", "--size", "64", "--out", "store")
    _write_predictions(folder / "validation.csv", in_test=False)
    _write_predictions(folder / "simulated-model.csv", in_test=True)
    source = ["--predictions", "simulated-model.csv", "--validation", "validation.csv"]
    where = ["--store", "store", "--split", "folder-official", "--out", "report"]
    _thorax(folder, "evaluate", *source, *where)
    return folder / "report" / "report.html"


def photograph(page: Path, picture: Path | None = None) -> str:
    """Return the text from the top of the page to the AUCs of the findings, and picture it if asked to."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            tab = browser.new_page(viewport={"width": _WIDTH, "height": 800}, device_scale_factor=1.5)
            tab.goto(page.as_uri())
            forest = tab.locator(".forest")
            if picture is not None:
                box = forest.bounding_box()
                assert box is not None
                height = box["y"] + box["height"] + _MARGIN
                tab.screenshot(
                    path=picture, full_page=True, clip={"x": 0, "y": 0, "width": _WIDTH, "height": height}
                )
            return str(forest.evaluate(_TEXT))
        finally:
            browser.close()


def photograph_page(picture: Path | None = None) -> str:
    """Return the text of the page of `thorax serve` with a heat map, and picture it if asked to."""
    command = [sys.executable, "-m", "thorax", "serve", "--port", "0"]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    try:
        address = service.stdout.readline().split()[-1]
        look = {"viewport": {"width": 1280, "height": 860}, "device_scale_factor": 1.5}
        return _photograph_map(address, picture, **look)
    finally:
        service.terminate()
        service.wait()
        service.stdout.close()


def photograph_site(folder: Path, picture: Path | None = None) -> str:
    """Return the text of the starter's site with a heat map on a telephone, and picture it if asked to."""
    write_site(None, folder / "site", runtime=RUNTIME_ARCHIVE)
    handler = partial(_Quiet, directory=folder / "site")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        look = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "color_scheme": "dark"}
        try:
            return _photograph_map(f"http://127.0.0.1:{server.server_address[1]}/", picture, **look)
        finally:
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    """A host of static files that does not print."""

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


def _photograph_map(address: str, picture: Path | None, **look: Any) -> str:
    """Open a page, try an image, show a map, and return the text of the page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        tab = browser.new_page(reduced_motion="reduce", **look)
        tab.goto(address)
        tab.get_by_role("button", name=_TRIED).click()
        tab.get_by_role("button", name=re.compile(f"^{_EXPLAINED} ")).click()
        tab.locator("#legend").wait_for()
        tab.evaluate("document.querySelector('#origin-text').textContent = ''")  # it has the time
        if picture is not None:
            tab.screenshot(path=picture)
        text = " ".join(tab.locator("body").inner_text().split())
        browser.close()
        return text


def chromium() -> str | None:
    """Return the path of the system's Chromium, or None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def text_hash(text: str) -> str:
    """Return the SHA-256 of the text that a picture shows."""
    return hashlib.sha256(text.encode()).hexdigest()


def _thorax(folder: Path, *arguments: str) -> None:
    # A state folder of its own, so that looks noted earlier on this machine are not in the picture.
    state = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    command = [sys.executable, "-m", "thorax", *arguments]
    subprocess.run(command, cwd=folder, env=state, check=True, capture_output=True)


def _write_predictions(path: Path, *, in_test: bool) -> None:
    """Write the simulated model's probabilities for the patients inside or outside the test part."""
    visits = [
        (patient, visit)
        for patient in draw_patients(_SEED, _PATIENTS)
        if patient.in_test == in_test
        for visit in patient.visits
    ]
    has = np.array([[finding in visit.findings for finding in NIH14] for _, visit in visits])
    positions = np.arange(len(visits), dtype=np.int64)
    draws = uniform(_SEED, "scores", epoch=int(in_test), positions=positions, count=len(NIH14))
    normal = NormalDist()
    noise = np.vectorize(normal.inv_cdf)(np.clip(draws, 1e-9, 1 - 1e-9))
    # Two normal distributions this far apart have the given AUC; Bayes' rule gives the logit of a finding.
    distance = np.array([2**0.5 * normal.inv_cdf(auc) for auc in _AUC])
    share = has.mean(axis=0)
    logits = distance * (noise + distance * has) - distance**2 / 2 + np.log(share / (1 - share))
    probabilities = 1 / (1 + np.exp(-logits))
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Image Index", *(finding.name for finding in NIH14)])
        for (patient, visit), row in zip(visits, probabilities, strict=True):
            rows.writerow([patient.image_name(visit), *(f"{value:.6f}" for value in row)])


if __name__ == "__main__":
    main()
