import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from thorax.errors import DataError
from thorax.evaluation.evaluate import Context, evaluate
from thorax.findings import NIH14, NO_FINDING, Finding, find_finding
from thorax.prediction import ModelIdentity
from thorax.reporting.report import (
    SUMMARY_HEADER,
    headline,
    metrics,
    render_html,
    summary_rows,
    write_report,
)

EDEMA, HERNIA = find_finding("Edema"), find_finding("Hernia")
HOSTILE = "<script>alert(\"$x$ & 'y'\")</script>"

CONTEXT = Context(
    split="nih-official",
    part="test",
    split_sha256="3f" * 32,
    images_sha256="a7" * 32,
    dataset="phantoms of the test suite",
    model=ModelIdentity(name="small-cpu", bundle_sha256="c0" * 32, calibrated=True),
    versions={"thorax": "0.1.0", "numpy": "2.0"},
    warnings=("3 of 123 images of this part are missing.",),
)


def evaluation_of(findings, *, images=90, resamples=60):
    """An evaluation in which the last finding has no positive."""
    random = np.random.default_rng(0)
    targets = (random.random((images, len(findings))) < 0.3).astype(np.int8)
    targets[:, -1] = 0
    probabilities = 0.6 * random.random(targets.shape) + 0.3 * targets
    return evaluate(
        targets, probabilities, patients=np.arange(images) // 2, findings=findings, resamples=resamples
    )


EVALUATION = evaluation_of((EDEMA, NO_FINDING, HERNIA))


def shown_text(html):
    """What a reader sees: the text of the body, spaces folded."""
    body = ET.fromstring(html.removeprefix("<!DOCTYPE html>")).find("{*}body")
    return re.sub(r"\s+", " ", "".join(body.itertext()))


def test_metrics_hold_at_least_what_they_promise(tmp_path):
    files = write_report(EVALUATION, CONTEXT, out=tmp_path / "new" / "folder")
    read = json.loads(files.metrics.read_text())
    assert read["split"] == {"name": "nih-official", "part": "test", "sha256": "3f" * 32}
    assert (read["num_images"], read["num_patients"]) == (90, 45)
    assert list(read["findings"]) == ["Edema", "No Finding", "Hernia"]
    edema = EVALUATION.findings[0]
    assert read["findings"]["Edema"] == {
        "num_known": 90,
        "num_positive": edema.num_positive,
        "auc": dataclasses.asdict(edema.auc),
        "average_precision": dataclasses.asdict(edema.average_precision),
        "undefined_resamples": 0,
    }
    nothing = {"value": None, "low": None, "high": None}
    assert read["findings"]["Hernia"]["auc"] == nothing
    assert read["findings"]["Hernia"]["average_precision"] == nothing
    assert read["macro"]["num_findings"] == 1
    assert read["macro"]["auc"] == dataclasses.asdict(EVALUATION.macro_auc)
    assert read["intervals"] == {
        "method": "percentile bootstrap",
        "unit": "patient",
        "level": 0.95,
        "resamples": 60,
        "seed": 0,
    }
    assert read["model"] == {"name": "small-cpu", "bundle_sha256": "c0" * 32, "calibrated": True}
    assert read["images_sha256"] == "a7" * 32
    assert read["warnings"] == list(CONTEXT.warnings)
    assert read == metrics(EVALUATION, CONTEXT)
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "metrics.json",
        "report.html",
    ]


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    first = write_report(EVALUATION, CONTEXT, out=tmp_path / "first")
    second = write_report(evaluation_of((EDEMA, NO_FINDING, HERNIA)), CONTEXT, out=tmp_path / "second")
    assert first.metrics.read_bytes() == second.metrics.read_bytes()
    assert first.html.read_bytes() == second.html.read_bytes()


def test_the_page_says_all_that_a_number_travels_with():
    text = shown_text(render_html(EVALUATION, CONTEXT))
    mean = EVALUATION.macro_auc
    for shown in (
        f"{mean.value:.3f}",
        f"95 % interval {mean.low:.3f} to {mean.high:.3f}",
        "nih-official, test part",
        "90 images of 45 patients",
        "1 finding",
        "small-cpu, probabilities calibrated",
        "3f" * 32,
        "a7" * 32,
        "c0" * 32,
        "phantoms of the test suite",
        "thorax 0.1.0, numpy 2.0",
        "3 of 123 images of this part are missing.",
        "percentile bootstrap of patients, 60 resamples, seed 0",
        "Not a medical device.",
        "n/a: Hernia has no positive or no negative image",
    ):
        assert shown in text
    for each in EVALUATION.findings[:2]:
        assert f"{each.auc.value:.3f} {each.auc.low:.3f} to {each.auc.high:.3f}" in text
        assert f"{each.auc.value:.3f} ({each.auc.low:.3f} to {each.auc.high:.3f})" in text


class References(HTMLParser):
    """Everything on a page that a browser might load."""

    def __init__(self):
        super().__init__()
        self.found, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        names = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}
        self.found += [value for name, value in attrs if name in names]


def test_the_page_loads_nothing():
    html = render_html(evaluation_of(NIH14), CONTEXT)
    page = References()
    page.feed(html)
    assert page.found == []
    assert (
        not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image"} & page.tags
    )
    assert "url(" not in html
    assert "@import" not in html
    # Names of the XML vocabularies are no addresses: nothing is fetched from them.
    assert set(re.findall(r'([\w:-]+)="https?:', html)) == {"xmlns", "xmlns:xlink"}
    assert len(re.findall("https?:", html)) == len(re.findall(r'xmlns(?::xlink)?="https?:', html))
    assert len(html) < 1_000_000


def test_the_page_is_whole_with_a_curve_for_each_finding_that_has_one():
    root = ET.fromstring(render_html(evaluation_of(NIH14), CONTEXT).removeprefix("<!DOCTYPE html>"))
    assert len(list(root.iter("{http://www.w3.org/2000/svg}svg"))) == 13
    rows = [
        ["".join(cell.itertext()).strip() for cell in row]
        for row in root.iter("{http://www.w3.org/1999/xhtml}tr")
    ]
    assert [row[0] for row in rows] == ["Finding", *(finding.label for finding in NIH14), "Mean of 13"]
    assert rows[-2][3:] == ["n/a", "n/a"]
    identifiers = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))


def test_names_cannot_break_out_of_the_page():
    model = ModelIdentity(name=HOSTILE, bundle_sha256="c0" * 32, calibrated=False)
    context = dataclasses.replace(
        CONTEXT,
        split=HOSTILE,
        part=HOSTILE,
        dataset=HOSTILE,
        model=model,
        warnings=(HOSTILE,),
        versions={HOSTILE: HOSTILE},
    )
    html = render_html(evaluation_of((Finding(HOSTILE), EDEMA, Finding(HOSTILE + "2"))), context)
    page = References()
    page.feed(html)
    assert "script" not in page.tags
    text = shown_text(html)
    assert text.count(HOSTILE) > 10
    assert f"{HOSTILE}, probabilities not calibrated" in text


def test_undefined_resamples_are_counted_on_the_page():
    targets = np.zeros((40, 1), dtype=np.int8)
    targets[0] = 1
    evaluation = evaluate(
        targets, np.linspace(0.9, 0.1, 40)[:, None], patients=np.arange(40), findings=(HERNIA,), resamples=50
    )
    undefined = evaluation.findings[0].undefined_resamples
    assert undefined > 0
    text = shown_text(render_html(evaluation, CONTEXT))
    assert (
        f"Of 50 resamples, these held only one class and are not in the interval: Hernia {undefined}." in text
    )


def test_a_page_without_any_auc_still_says_so():
    evaluation = evaluation_of((HERNIA,))
    text = shown_text(render_html(evaluation, CONTEXT))
    assert "no finding has both classes" in text
    assert "ROC curves" not in text
    assert headline(evaluation, CONTEXT) == "mean AUC n/a: nih-official, test part, 90 images of 45 patients"
    assert metrics(evaluation, CONTEXT)["macro"]["num_findings"] == 0


def test_the_headline_carries_split_n_and_interval():
    mean = EVALUATION.macro_auc
    assert headline(EVALUATION, CONTEXT) == (
        f"mean AUC over 1 finding {mean.value:.3f} (95 % interval {mean.low:.3f} to {mean.high:.3f}): "
        "nih-official, test part, 90 images of 45 patients"
    )


def short(interval):
    """Drop the nought before the point, by regular expression."""
    text = f"{interval.value:.3f} ({interval.low:.3f}-{interval.high:.3f})"
    return re.sub(r"\b0\.", ".", text)


def test_rows_for_the_terminal():
    rows = summary_rows(EVALUATION)
    assert all(len(row) == len(SUMMARY_HEADER) for row in rows)
    edema = EVALUATION.findings[0]
    assert rows[0] == (
        "Pulmonary oedema",
        "90",
        str(edema.num_positive),
        short(edema.auc),
        short(edema.average_precision),
    )
    assert rows[2] == ("Hernia", "90", "0", "n/a", "n/a")
    assert rows[3][0] == "Mean of 1"
    assert rows[3][3] == short(EVALUATION.macro_auc)
    assert max(map(len, rows[3][3:])) <= len(".671 (.616-.715)")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(DataError, match=r"^cannot write a report into report: it is a file; name a folder"):
        write_report(EVALUATION, CONTEXT, out=tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"


def test_the_slow_libraries_wait_until_they_are_needed():
    program = (
        "import sys, thorax.reporting.report\n"
        "print(sorted({'torch', 'pandas', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
