"""The page's viewer with a DICOM file of 3,000 x 3,000 pixels of 16 bits, in Chromium.

    python bench/viewer.py [--bundle BUNDLE] [--rounds 5] [--seconds 3]

Prints, for the file without compression and in JPEG 2000, the medians of the seconds from the drop until the
image is on the screen and until its findings are; the frames per second while the window changes in each
frame, in a canvas of 1,600 x 1,000 pixels; and the bytes of the scripts and styles that the service sends,
uncompressed. Each round opens a new page of a service that has answered before.
"""

import argparse
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from thorax.starter import test_images

SIDE = 3000
VIEW: ViewportSize = {"width": 2200, "height": 1300}
CANVAS = (1600, 1000)

WATCH = """
window.marks = {};
const mark = (name) => { marks[name] ??= performance.now(); };
addEventListener("DOMContentLoaded", () => {
  document.getElementById("files").addEventListener("change", () => mark("drop"), true);
  new MutationObserver(() => {
    const readout = document.querySelector(".readout");
    if (readout?.textContent) requestAnimationFrame(() => requestAnimationFrame(() => mark("image")));
    if (document.querySelector(".finding")) requestAnimationFrame(() => mark("findings"));
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
});
"""

WINDOWING = """([width, height, seconds]) => new Promise((done) => {
  const stage = document.querySelector(".stage");
  const canvas = stage.querySelector("canvas");
  stage.style.width = `${width}px`;
  stage.style.height = `${height}px`;
  const send = (type, x, y) => canvas.dispatchEvent(
    new PointerEvent(type, { pointerId: 1, button: 2, clientX: x, clientY: y, bubbles: true }));
  canvas.setPointerCapture = () => {};
  setTimeout(() => {
    send("pointerdown", 400, 400);
    const start = performance.now();
    const shown = new Set();
    const step = () => {
      const now = performance.now();
      shown.add(document.querySelector(".readout").textContent);
      if (now - start > 1000 * seconds) {
        send("pointerup", 0, 0);
        done([shown.size / ((now - start) / 1000), canvas.width, canvas.height]);
        return;
      }
      send("pointermove", 400 + 300 * Math.sin(now / 300), 400 + 300 * Math.cos(now / 300));
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }, 500);
})"""


def large_image() -> np.ndarray:
    """Return a radiograph enlarged to 3,000 x 3,000 pixels, in 16 bits with the noise of a detector."""
    with Image.open(test_images()[0].path) as image:
        smooth = np.asarray(image.convert("F").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(0).normal(0, 60, smooth.shape)
    return np.clip(smooth * 240 + 2000 + noise, 0, 65535).astype(np.uint16)


def write_dicom(path: Path, pixels: np.ndarray, *, jpeg_2000: bool) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", generate_uid()
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    if jpeg_2000:
        dataset.compress(JPEG2000Lossless)
    dcmwrite(path, dataset, enforce_file_format=True)


def open_page(browser: Browser, address: str) -> Page:
    tab = browser.new_page(viewport=VIEW)
    tab.add_init_script(WATCH)
    tab.goto(address)
    tab.get_by_role("button", name=re.compile("^About ")).wait_for()
    return tab


def dropped(browser: Browser, address: str, file: Path) -> tuple[float, float]:
    """Return the seconds from the drop until the image and until the findings are on the screen."""
    tab = open_page(browser, address)
    tab.set_input_files("#files", file)
    marks: dict[str, float] = {}
    while not {"image", "findings"} <= marks.keys():
        tab.wait_for_timeout(50)
        marks = tab.evaluate("marks")
    tab.close()
    return tuple((marks[name] - marks["drop"]) / 1000 for name in ("image", "findings"))  # type: ignore[return-value]


def windowing(browser: Browser, address: str, file: Path, seconds: float) -> tuple[float, int, int]:
    """Return the frames per second while the window changes, and the size of the canvas."""
    tab = open_page(browser, address)
    tab.set_input_files("#files", file)
    tab.locator(".finding").first.wait_for()
    tab.wait_for_timeout(1000)
    frames, width, height = tab.evaluate(WINDOWING, [*CANVAS, seconds])
    tab.close()
    return frames, width, height


def script_bytes(browser: Browser, address: str) -> int:
    sizes = []
    tab = browser.new_page()
    tab.on(
        "response",
        lambda answer: sizes.append(len(answer.body())) if answer.url.endswith((".js", ".css")) else None,
    )
    tab.goto(address)
    tab.get_by_role("button", name=re.compile("^About ")).wait_for()
    tab.close()
    return sum(sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "thorax", "serve", *filter(None, [arguments.bundle]), "--port", "0"]
    service = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    try:
        address = service.stdout.readline().split()[-1]
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            files = {"uncompressed": Path(folder) / "plain.dcm", "JPEG 2000": Path(folder) / "j2k.dcm"}
            pixels = large_image()
            for name, path in files.items():
                write_dicom(path, pixels, jpeg_2000=name == "JPEG 2000")
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            print(f"{platform.machine()}, medians of {arguments.rounds} rounds (slowest)")
            for name, path in files.items():
                dropped(browser, address, path)
                times = [dropped(browser, address, path) for _ in range(arguments.rounds)]
                shown = [
                    f"{what} after {statistics.median(values):.2f} s ({max(values):.2f})"
                    for what, values in zip(("image", "findings"), zip(*times, strict=True), strict=True)
                ]
                print(f"{name}, {path.stat().st_size / 1e6:.1f} MB: {', '.join(shown)}")
            rates = [
                windowing(browser, address, files["uncompressed"], arguments.seconds)
                for _ in range(arguments.rounds)
            ]
            frames, width, height = zip(*rates, strict=True)
            median = statistics.median(frames)
            print(f"windowing, {width[0]} x {height[0]}: {median:.1f} frames/s ({min(frames):.1f})")
            print(f"scripts and styles: {script_bytes(browser, address):,} bytes")
            browser.close()
    finally:
        service.terminate()
        service.wait()
        service.stdout.close()


if __name__ == "__main__":
    main()
