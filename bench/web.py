"""Measure a site: the time from opening it in Chromium to the first answer, with empty caches.

python bench/web.py site --runs 5
"""

import argparse
import statistics
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which

from playwright.sync_api import Browser, sync_playwright

import thorax.starter


class Quiet(SimpleHTTPRequestHandler):
    """A host of static files that does not print."""

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


def first_answer(browser: Browser, address: str, image: Path) -> tuple[float, float]:
    """Return the seconds from opening the page to the findings of an image that is chosen at once."""
    context = browser.new_context()
    tab = context.new_page()
    begin = time.perf_counter()
    tab.goto(address)
    tab.locator("#about-open").wait_for()
    tab.locator("#files").set_input_files(image)
    tab.locator(".case[data-state=done]").wait_for()
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    tab.locator("#files").set_input_files(image)
    tab.locator(".case[data-state=done]").nth(1).wait_for()
    second = time.perf_counter() - begin
    context.close()
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--image", type=Path, default=thorax.starter.test_images()[0].path)
    arguments = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=arguments.site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
        times = [first_answer(browser, address, arguments.image) for _ in range(arguments.runs)]
        browser.close()
    for name, column in zip(("first answer", "second answer"), zip(*times, strict=True), strict=True):
        print(f"{name}: median {statistics.median(column):.2f} s, {min(column):.2f} to {max(column):.2f}")
    server.shutdown()


if __name__ == "__main__":
    main()
