"""What tests do on the page in a real browser, and see there."""

import base64
import re
import shutil
from importlib.resources import files

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

_SERIOUS = """() => axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations
  .filter(({ impact }) => ["serious", "critical"].includes(impact))
  .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.target[0]).join(", ")}`))"""


def faults_by_state(tab, good, bad):
    """Return the serious faults that axe finds on the page: empty, with findings, a map, two images, ..."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe is not installed: make install")
    tab.evaluate(files(axe).joinpath("axe.min.js").read_text(encoding="utf-8"))
    faults = {"empty": tab.evaluate(_SERIOUS)}
    upload(tab, *good, bad)
    shown(tab)
    faults["findings"] = tab.evaluate(_SERIOUS)
    tab.locator(".finding").first.click()
    expect(tab.locator("#map-text")).not_to_contain_text("Computing")
    faults["map"] = tab.evaluate(_SERIOUS)
    tab.get_by_role("button", name="Side by side").click()
    shown(tab, 1)
    faults["side by side"] = tab.evaluate(_SERIOUS)
    tab.get_by_role("button", name="Keys").click()
    faults["keys"] = tab.evaluate(_SERIOUS)
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name=bad.name).click()
    faults["failure"] = tab.evaluate(_SERIOUS)
    tab.get_by_role("button", name=re.compile("^About ")).click()
    tab.locator("#card-open").click()
    expect(tab.locator("#card-text")).to_be_visible()
    faults["about"] = tab.evaluate(_SERIOUS)
    return faults


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
