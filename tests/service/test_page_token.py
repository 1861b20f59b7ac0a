"""The page of a service with a token, in a real browser: it asks once, for this tab alone."""

import re

import pytest

from tests.helpers.service import GOLDEN, running

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make install")

pytestmark = pytest.mark.slow

TOKEN = "qZ7.m4xv9Lr2-Tc8kWd1"
WATCH = (
    'window.violations = []; addEventListener("securitypolicyviolation", (event) => violations.push(event));'
)


@pytest.fixture(scope="module")
def service():
    with running(environment={"THORAX_TOKEN": TOKEN}) as running_service:
        yield running_service


@pytest.fixture
def context(browser):
    opened = browser.new_context()
    opened.add_init_script(WATCH)
    opened.set_default_timeout(60_000)
    yield opened
    assert [violation for tab in opened.pages for violation in tab.evaluate("violations")] == []
    opened.close()


def answer(tab, token):
    tab.get_by_label("Token", exact=True).fill(token)
    tab.keyboard.press("Enter")


def about(tab):
    return tab.get_by_role("button", name="About small-cpu")


def test_it_asks_for_the_token_until_it_is_right_and_sends_it_with_every_call(service, context):
    tab = context.new_page()
    sent = []
    tab.on("request", lambda request: sent.append((request.url, request.headers.get("authorization"))))
    tab.goto(service.address)
    dialog = tab.get_by_role("dialog", name="Token needed")
    dialog.wait_for()
    assert tab.evaluate("document.activeElement.id") == "token"
    tab.keyboard.press("Escape")
    assert dialog.is_visible()
    answer(tab, "wrong")
    tab.get_by_text("The service did not accept this token").wait_for()
    answer(tab, TOKEN)
    about(tab).wait_for()
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name=re.compile("Choose files")).click()
    chooser.value.set_files(GOLDEN / "source" / "03.png")
    tab.locator(".finding").first.wait_for()
    calls = [(url, header) for url, header in sent if "/v1/" in url]
    assert [header for _, header in calls[:3]] == [None, "Bearer wrong", f"Bearer {TOKEN}"]
    assert {header for _, header in calls[2:]} == {f"Bearer {TOKEN}"}
    assert any("/v1/predict" in url for url, _ in calls)
    assert not [header for url, header in sent if header and "/v1/" not in url]
    about(tab).click()
    tab.get_by_role("button", name=re.compile("Model card: intended use")).click()
    sync_api.expect(tab.locator("#card-text")).to_contain_text("Intended use")


def test_the_token_is_kept_in_its_tab_over_a_reload_and_nowhere_else(service, context):
    tab = context.new_page()
    tab.goto(f"{service.address}#token={TOKEN}")
    about(tab).wait_for()
    assert tab.url == service.address
    tab.reload()
    about(tab).wait_for()
    assert tab.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    other = context.new_page()
    other.goto(service.address)
    other.get_by_role("dialog", name="Token needed").wait_for()
