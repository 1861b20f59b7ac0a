"""Findings in words, what a call means, and maps: in a real browser, against the library's own numbers."""

import re
from fractions import Fraction

import numpy as np
import pytest

import thorax
from tests.helpers.page import expect, shown, upload
from tests.helpers.service import GOLDEN
from thorax.explain.overlay import color_table
from thorax.starter import test_images as starter_images
from thorax.wording import percent

pytestmark = pytest.mark.slow

SOURCE = GOLDEN / "source"

COUNTS = """async (cases) => {
  const { frequencies } = await import("./frequencies.js");
  return cases.map((values) => frequencies(...values));
}"""

SHIFTED = """async (cases) => {
  const { atPrevalence } = await import("./frequencies.js");
  return cases.map((values) => atPrevalence(...values));
}"""


def rounded(value):
    """Round as people do: halves up."""
    return int(value + Fraction(1, 2))


def expected_counts(sensitivity, specificity, prevalence):
    """Bayes in whole patients, with exact fractions."""
    of = next(number for number in (1000, 10_000, 100_000) if number * prevalence >= 5)
    have = rounded(Fraction(prevalence) * of)
    right = rounded(have * Fraction(sensitivity))
    wrong = rounded((of - have) * (1 - Fraction(specificity)))
    return {
        "of": of, "have": have, "right": right, "called": right + wrong,
        "notCalled": of - right - wrong, "missed": have - right,
    }  # fmt: skip


@pytest.fixture(scope="module")
def starter():
    return thorax.load()


@pytest.fixture
def read(opened, of_starter):
    """The page of the starter with its first image to try."""
    tab = opened(of_starter, model="starter")
    tab.locator(".example").first.click()
    tab.locator(".finding").first.wait_for()
    return tab


def test_counts_are_those_of_bayes(opened, of_starter):
    tab = opened(of_starter, model="starter")
    cases = [
        [sensitivity, specificity, prevalence]
        for prevalence in (0.01, 0.05, 0.3, 0.0005)
        for sensitivity in (0, 0.25, 0.875, 1)
        for specificity in (0.125, 0.75, 1)
    ]
    assert tab.evaluate(COUNTS, cases) == [expected_counts(*case) for case in cases]
    # The example of the requirement.
    assert tab.evaluate(COUNTS, [[0.9, 0.75, 0.05]])[0] == {
        "of": 1000, "have": 50, "right": 45, "called": 283, "notCalled": 717, "missed": 5,
    }  # fmt: skip


def test_probabilities_move_with_the_prevalence(opened, of_starter):
    """Among as many images with each probability, those with the finding weighted by the new prevalence."""
    tab = opened(of_starter, model="starter")
    cases = [[p, old, new] for p in (0.02, 0.3, 0.9) for old in (0.05, 0.4) for new in (0.01, 0.05, 0.6)]
    expected = []
    for p, old, new in cases:
        with_it, without = p * new / old, (1 - p) * (1 - new) / (1 - old)
        expected.append(with_it / (with_it + without))
    assert tab.evaluate(SHIFTED, cases) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_the_reader_sets_how_frequent_a_finding_is(read, starter, share):
    rates = starter.bundle.manifest.operating_points.measured.findings
    predicted = starter.predict(starter_images()[0].path)
    for decision in ("yes", "no"):
        one = next(entry for entry in predicted.ranked() if entry.decision == decision)
        name = one.finding.name
        row = read.locator(f".finding[data-finding={name}]")
        row.click()
        expect(read.get_by_role("switch", name="Heat map")).to_be_checked()  # what is said of it comes first
        read.locator("#prevalence").fill(f"{100 * share:g}")
        counts = expected_counts(rates[name].sensitivity.value, rates[name].specificity.value, share)
        of, have = f"{counts['of']:,}", counts["have"]
        meaning = {
            "yes": f"{counts['called']} would be called, {counts['right']} of them rightly.",
            "no": f"{counts['notCalled']} would not be called, and {counts['missed']} of those have it.",
        }
        text = f"Of {of} such patients, {have} have it; {meaning[decision]}"
        assert row.locator(".frequency").inner_text() == text
        assert read.locator("#status").text_content() == text
        row.click()


def test_a_call_is_shown_with_what_it_rests_on(read, starter):
    manifest = starter.bundle.manifest
    predicted = starter.predict(starter_images()[0].path).ranked()[0]
    rates = manifest.operating_points.measured.findings[predicted.finding.name]
    row = read.locator(f".finding[data-finding={predicted.finding.name}]")
    assert not read.locator(".panel").count()
    row.click()
    lines = read.locator(".panel .rates li").all_inner_texts()
    calls = [(rates.sensitivity, "with", False), (rates.specificity, "without", True)]
    for line, (share, whose, turned) in zip(lines, calls, strict=True):
        value, low, high = share.value, share.low, share.high
        if turned:  # of those without it, how many are called
            value, low, high = 1 - value, 1 - high, 1 - low
        hundred = [int(100 * part + 0.5) for part in (value, low, high)]
        counted = (
            f"{value * share.images:.0f} of {share.images}" if share.images < 20 else f"{hundred[0]} of 100"
        )
        unit = " %" if share.images < 20 else ""
        assert line == (
            f"{whose.capitalize()} it, called: {counted} ({hundred[1]} to {hundred[2]}{unit}; "
            f"{share.patients} validation patients {whose} it)"
        )
    text = read.locator(".panel").inner_text()
    assert f"are here what they were on validation, the {manifest.operating_points.chosen_on}." in text
    assert "The same images chose the threshold, which flatters a little." in text
    assert (
        f"The probability of {percent(predicted.probability)} holds where {percent(predicted.prevalence)} of "
        "images have it, as in training."
    ) in text


def test_the_prevalence_is_set_without_dragging_and_taken_back(read):
    read.locator(".finding").first.click()
    before = read.locator(".finding .frequency").first.inner_text()
    field = read.locator("#prevalence")
    first = field.input_value()
    slider = read.get_by_role("slider", name=re.compile("^How frequent"))
    slider.focus()
    read.keyboard.press("ArrowLeft")
    assert float(field.input_value()) < float(first)
    assert read.locator(".finding .frequency").first.inner_text() != before
    assert "the same image would have" in read.locator(".panel").inner_text()
    read.get_by_role("button", name=re.compile("^As in training")).click()
    assert field.input_value() == first
    assert read.locator(".finding .frequency").first.inner_text() == before


def test_nothing_of_a_map_is_there_before_it_is_asked_for(read, starter):
    plain = shown(read)
    gray = plain[plain[..., 3] > 0][:, :3]
    assert np.array_equal(gray[:, 0], gray[:, 1])
    assert np.array_equal(gray[:, 0], gray[:, 2])
    assert not read.locator("#legend").is_visible()


def test_a_map_has_the_colors_of_its_values_and_the_bundles_own_hit_rate(read, starter):
    plain = shown(read).astype(float)
    one = starter.predict(starter_images()[0].path).ranked()[0]
    explained = starter.explain(starter_images()[0].path, one.finding).map
    read.locator(f".finding[data-finding={one.finding.name}]").click()
    heat = read.get_by_role("switch", name="Heat map")
    expect(heat).to_be_checked()
    contour = read.get_by_role("switch", name="Contour")
    with_contour = shown(read)
    contour.focus()
    read.keyboard.press("Space")
    drawn = shown(read).astype(float)
    assert not np.array_equal(with_contour, drawn)
    height, width = plain.shape[:2]
    scale = min(height, width) / 256
    x = int((explained.place[0]) * scale + (width - 256 * scale) / 2)
    y = int((explained.place[1]) * scale + (height - 256 * scale) / 2)
    expected = 0.4 * plain[y, x, :3] + 0.6 * 255 * color_table()[-1]
    assert drawn[y, x, :3] == pytest.approx(expected, abs=25)  # the browser interpolates
    read.locator("#opacity").fill("100")
    opaque = shown(read).astype(float)
    assert opaque[y, x, :3] == pytest.approx(255 * color_table()[-1], abs=35)
    read.get_by_role("switch", name="Box").click()
    assert not np.array_equal(shown(read), opaque)
    rate = starter.bundle.manifest.hit_rates[0].findings[one.finding.name]
    assert (
        f"in test images with {rate.boxes} boxes of this finding ({rate.patients} patients), the highest "
        f"place lay inside in {hits_of(rate)}."
    ) in read.locator("#map-text").inner_text()


def hits_of(rate):
    """The share as the page has it: as counted where there are few boxes."""
    ends = f"{100 * rate.low:.0f} to {100 * rate.high:.0f}"
    few = rate.boxes < 20
    return (
        f"{rate.value * rate.boxes:g} of {rate.boxes} ({ends} %)"
        if few
        else f"{100 * rate.value:.0f} of 100 ({ends})"
    )


def test_a_share_of_few_is_given_as_it_was_counted(opened, of_starter):
    tab = opened(of_starter, model="starter")
    cases = [
        ({"value": 0, "low": None, "high": None}, 1, "0 of 1"),
        ({"value": 0.5, "low": 0.3, "high": 0.8}, 19, "9.5 of 19 (30 to 80 %)"),
        ({"value": 2 / 3, "low": 0.1, "high": 0.9}, 3, "2 of 3 (10 to 90 %)"),
        ({"value": 0.25, "low": 0.1, "high": 0.5}, 20, "25 of 100 (10 to 50)"),
    ]
    shown = """async (cases) => {
      const { shareOf } = await import("./frequencies.js");
      return cases.map(([share, number]) => shareOf(share, number));
    }"""
    assert tab.evaluate(shown, [case[:2] for case in cases]) == [case[2] for case in cases]


def test_each_count_says_how_many_patients_it_rests_on(read, starter):
    rates = starter.bundle.manifest.operating_points.measured.findings
    for predicted in starter.predict(starter_images()[0].path).ranked():
        row = read.locator(f".finding[data-finding={predicted.finding.name}]")
        own = rates[predicted.finding.name]
        if predicted.decision is None or own.sensitivity is None or own.specificity is None:
            assert row.locator(".rests").text_content() == ""
            continue
        with_it, without = own.sensitivity.patients, own.specificity.patients
        assert row.locator(".rests").text_content().strip() == (
            f"From {with_it:,} validation patients with it and {without:,} without."
        )
        assert " prevalence in training " in row.locator(".prevalence").text_content()
    assert "95 % intervals" in read.locator("#how").inner_text()


def test_a_prevalence_out_of_range_is_not_changed_without_a_word(read):
    read.locator(".finding").first.click()
    field, note = read.locator("#prevalence"), read.locator(".prevalence-control .hint")
    before = field.input_value()
    assert note.text_content() == ""
    for typed, used in (("95", "90"), ("0.01", "0.1")):
        field.fill(typed)
        read.keyboard.press("Tab")
        expect(field).to_have_value(used)
        expect(note).to_have_text(f"{typed} % is not between 0.1 and 90 %, so {float(used):.1f} % is used.")
    field.fill("")
    read.keyboard.press("Tab")
    expect(field).to_have_value("0.1")
    expect(note).to_have_text("A prevalence is a number of percent, so 0.1 % stays.")
    read.get_by_role("button", name=re.compile("^As in training")).click()
    expect(field).to_have_value(before)
    expect(note).to_have_text("")


def test_two_maps_side_by_side_share_a_scale(opened, local, model):
    tab = opened(local)
    upload(tab, SOURCE / "00.png", SOURCE / "01.png")
    highest = [model.explain(SOURCE / name, "Mass").map.highest for name in ("00.png", "01.png")]
    assert min(highest) > 0
    tab.get_by_role("button", name="00.png").click()
    tab.locator(".finding[data-finding=Mass]").click()
    legend = tab.locator("#legend-text")
    expect(legend).to_contain_text("its colors cannot be compared with another image’s")
    tab.get_by_role("button", name="Side by side").click()
    tab.locator(".finding[data-finding=Mass]").click()
    expect(legend).to_contain_text("one scale for both images: the same color is the same value")
    end = float(tab.locator("#scale-end").inner_text().removesuffix(" logits"))
    assert end == pytest.approx(max(highest), rel=0.005)
