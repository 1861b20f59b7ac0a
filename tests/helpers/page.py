"""What tests do on the page in a real browser, and see there."""

import base64
import re
import shutil

import numpy as np
import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make install").expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""

_DRAWN = """(canvas) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  let text = "";
  for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
  done([width, height, btoa(text)]);
})))"""


def upload(tab, *files):
    """Choose files, wait until each was read or refused, and return the words of the list."""
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name=re.compile("Choose files|Add files")).click()
    chooser.value.set_files(files)
    return settled(tab)


def settled(tab):
    cases = tab.locator(".case")
    expect(tab.locator(".case[data-state=waiting], .case[data-state=reading]")).to_have_count(0)
    return [case.split("\n") for case in cases.all_inner_texts()]


def press_until(tab, key, control):
    """Press a key until a control has the focus."""
    for _ in range(60):
        tab.keyboard.press(key)
        if control.evaluate("(node) => node === document.activeElement"):
            return
    raise AssertionError(f"{key} does not lead to {control}")


def shown(tab, pane=0):
    """Return a canvas as soon as it is drawn: (height, width, 4) of red, green, blue, opacity."""
    expect(tab.locator(".pane").nth(pane).locator(".notice")).to_be_empty()
    width, height, text = tab.locator(".radiograph").nth(pane).evaluate(_DRAWN)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
