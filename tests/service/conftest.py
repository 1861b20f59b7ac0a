"""One service for this machine and one public demonstration, of the golden bundle."""

import pytest

import thorax
from tests.helpers.page import CHROMIUM, WATCH
from tests.helpers.service import GOLDEN, running


@pytest.fixture(scope="session")
def local():
    with running("--allow-host", "thorax.example.org") as service:
        yield service


@pytest.fixture(scope="session")
def public():
    options = ("--allow-host", "demo.example.org", "--frame-ancestors", "https://frames.example.org")
    with running("--public", *options, "--frame-ancestors", "https://*.example.com:8443") as service:
        yield service


@pytest.fixture(scope="session")
def of_starter():
    """The service that runs without any argument."""
    with running(bundle=None) as service:
        yield service


@pytest.fixture(scope="session")
def model():
    return thorax.load(GOLDEN / "run")


@pytest.fixture(scope="session")
def images():
    """The bytes of the golden phantoms: PNG of several kinds, and one JPEG."""
    return {path.name: path.read_bytes() for path in sorted((GOLDEN / "source").glob("*.*g"))}


@pytest.fixture(scope="module")
def browser():
    """A browser for one module; playwright starts once at a time, and other tests start it as well."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make install")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed, so the page cannot be opened")
    sync_api.expect.set_options(timeout=60_000)  # as long as a busy machine may take
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """Opens the page of a service; at the end of the test nothing went wrong that the page does not show."""
    contexts, problems = [], []

    def open_page(service, *, model="small-cpu", fragment="", **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        context.add_init_script(WATCH)
        tab = context.new_page()
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((service.address, f"blob:{service.address}"))
                else problems.append(request.url)
            ),
        )
        tab.goto(service.address + fragment)
        tab.get_by_role("button", name=f"About {model}").wait_for()
        return tab

    yield open_page
    for context in contexts:
        problems += [problem for tab in context.pages for problem in tab.evaluate("window.violations")]
        context.close()
    assert problems == []
