import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.helpers.assessments import (
    ASSESSMENT,
    CONTEXT,
    EDEMA,
    HERNIA,
    HOSTILE,
    assessment_of,
    drawn,
    shown_text,
)
from thorax.errors import DataError
from thorax.evaluation.prevalence import StatedPrevalence
from thorax.evaluation.thresholds import TUNED_MARK, ThresholdSet
from thorax.findings import NIH14, NO_FINDING, Finding
from thorax.image_set import ImageSet
from thorax.prediction import ModelIdentity
from thorax.reporting.contents import with_links
from thorax.reporting.markdown import render_markdown
from thorax.reporting.metrics import metrics
from thorax.reporting.report import render_html, write_report
from thorax.reporting.summary import (
    ACCURACY_HEADER,
    DECISIONS_HEADER,
    SUMMARY_HEADER,
    accuracy_rows,
    decision_rows,
    headline,
    summary_rows,
)

EVALUATION = ASSESSMENT.ranking


def test_metrics_hold_at_least_what_they_promise(tmp_path):
    files = write_report(ASSESSMENT, CONTEXT, out=tmp_path / "new" / "folder")
    read = json.loads(files.metrics.read_text())
    assert read["split"] == {
        "where": "nih-official, test part",
        "name": "nih-official",
        "part": "test",
        "sha256": "3f" * 32,
        "whole_part": False,
    }
    assert (read["num_images"], read["num_patients"]) == (90, 45)
    assert list(read["findings"]) == ["Edema", "No Finding", "Hernia"]
    targets, probabilities = drawn(3, images=90)
    edema = read["findings"]["Edema"]
    assert (edema["num_known"], edema["num_positive"]) == (90, int(targets[:, 0].sum()))
    assert edema["auc"]["value"] == pytest.approx(roc_auc_score(targets[:, 0], probabilities[:, 0]))
    assert edema["auc"]["low"] < edema["auc"]["value"] < edema["auc"]["high"]
    assert edema["auc_bootstrap"]["value"] == edema["auc"]["value"]
    assert edema["auc_bootstrap"]["low"] != edema["auc"]["low"]
    assert edema["average_precision"]["value"] == pytest.approx(
        average_precision_score(targets[:, 0], probabilities[:, 0])
    )
    assert 0 <= edema["partial_auc"]["value"] <= 1
    assert edema["undefined_resamples"] == 0
    nothing = {"value": None, "low": None, "high": None}
    assert read["findings"]["Hernia"]["auc"] == nothing
    assert read["findings"]["Hernia"]["average_precision"] == nothing
    assert read["macro"]["num_findings"] == 1
    assert read["macro"]["auc"]["value"] == edema["auc"]["value"]
    assert read["intervals"] == {
        "method": "bias-corrected percentile bootstrap, widened for few patients",
        "method_of_aucs": "score and logit interval with DeLong's variance and Student's quantile",
        "method_of_average_precision": "logit interval by infinitesimal jackknife, Student's quantile",
        "method_of_shares": "Wilson, for the number of independent images",
        "unit": "patient",
        "level": 0.95,
        "resamples": 60,
        "seed": 0,
    }
    assert read["model"] == {"name": "small-cpu", "bundle_sha256": "c0" * 32, "calibrated": True}
    assert read["images_sha256"] == "a7" * 32
    assert read["warnings"] == list(CONTEXT.warnings)
    assert read == metrics(ASSESSMENT, CONTEXT)
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "metrics.json",
        "report.html",
        "report.md",
        "roc.png",
        "roc.svg",
    ]


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    first = write_report(ASSESSMENT, CONTEXT, out=tmp_path / "first")
    second = write_report(assessment_of((EDEMA, NO_FINDING, HERNIA)), CONTEXT, out=tmp_path / "second")
    assert first.metrics.read_bytes() == second.metrics.read_bytes()
    assert first.html.read_bytes() == second.html.read_bytes()


def test_the_page_says_all_that_a_number_travels_with():
    text = shown_text(render_html(ASSESSMENT, CONTEXT))
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
        "bias-corrected bootstrap, 60 resamples, seed 0",
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
    html = render_html(assessment_of(NIH14), CONTEXT)
    page = References()
    page.feed(html)
    elsewhere = [address for address in page.found if not address.startswith("#")]
    assert elsewhere == ["roc.png", "roc.svg"]  # links, followed only by a click
    assert (
        not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image"} & page.tags
    )
    assert "url(" not in html
    assert "@import" not in html
    # Names of the XML vocabularies are no addresses: nothing is fetched from them.
    assert set(re.findall(r'([\w:-]+)="https?:', html)) == {"xmlns"}
    assert len(re.findall("https?:", html)) == len(re.findall(r'xmlns(?::xlink)?="https?:', html))
    assert len(html) < 1_000_000


def test_links_lead_to_each_section_and_enlarge_each_figure():
    root = ET.fromstring(render_html(ASSESSMENT, CONTEXT).removeprefix("<!DOCTYPE html>"))
    space = "{http://www.w3.org/1999/xhtml}"
    names = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(names) == len(set(names))
    links = [link.get("href") for link in root.iter(f"{space}a") if link.get("href").startswith("#")]
    assert set(links) == {f"#{name}" for name in names}
    (contents,) = root.iter(f"{space}nav")
    titles = {f"#{title.get('id')}": "".join(title.itertext()) for title in root.iter(f"{space}h2")}
    assert {link.get("href"): link.text for link in contents.iter(f"{space}a")} == titles
    for figure in root.iter(f"{space}figure"):
        larger, smaller, caption = list(figure)[:3]
        assert larger.get("href") == f"#{figure.get('id')}"
        assert smaller.get("href") == f"#{caption.get('id')}"


def test_names_in_titles_stay_escaped():
    body = '<h2>A &amp; <i>b</i> &lt;</h2><figure class="card">\n<figcaption>c</figcaption></figure>'
    linked, sections = with_links(body)
    assert sections == [("section-1", "A &amp; b &lt;")]
    assert linked.startswith(
        '<h2 id="section-1">A &amp; <i>b</i> &lt;</h2><figure class="card" id="figure-1">'
    )


def test_the_curves_of_the_run_are_shown_if_they_are_known():
    figure = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><text>Loss</text></svg>'
    page = render_html(ASSESSMENT, CONTEXT, training=[figure])
    assert figure in page
    assert ">Training</h2>" in page
    assert ">Training</h2>" not in render_html(ASSESSMENT, CONTEXT)


def test_all_roc_curves_are_in_one_picture_with_their_aucs(tmp_path):
    """Both files: each finding's name and AUC, the curve's own points, and equal bytes when drawn again."""
    assessment = assessment_of(NIH14, resamples=5)
    files = write_report(assessment, CONTEXT, out=tmp_path)
    svg = files.roc_svg.read_text()
    root = ET.fromstring(svg)
    shown = "\n".join("".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text"))
    ranking = assessment.ranking
    for result in ranking.findings[:13]:
        assert f"{result.finding.label} {short(result.auc)}" in shown
    for text in ("small-cpu", "nih-official, test part", f"Mean of 13: {short(ranking.macro_auc)}"):
        assert text in shown
    assert re.search(rf"all\s+negative:\s+{ranking.findings[13].finding.label}", shown)
    # Each curve is one path from (0, 0) to (1, 1) of the axes, with as many corners as it has points.
    drawn_paths = {len(path.get("d").split("L")) for path in root.iter("{http://www.w3.org/2000/svg}path")}
    assert {len(result.curves.roc) for result in ranking.findings[:13]} <= drawn_paths
    with Image.open(files.roc_png) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1200
        colors = {color for _, color in picture.convert("RGB").getcolors(1 << 24)}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)} <= colors
    again = write_report(assessment, CONTEXT, out=tmp_path / "again")
    assert again.roc_svg.read_bytes() == files.roc_svg.read_bytes()
    assert again.roc_png.read_bytes() == files.roc_png.read_bytes()
    assert "![ROC curves of all findings](roc.png)" in files.markdown.read_text()


def test_the_page_is_whole_with_a_curve_for_each_finding_that_has_one():
    root = ET.fromstring(render_html(assessment_of(NIH14), CONTEXT).removeprefix("<!DOCTYPE html>"))
    # 13 ROC and 13 precision-recall curves; the probabilities of all 14 are beside shares.
    assert len(list(root.iter("{http://www.w3.org/2000/svg}svg"))) == 3 * 13 + 14
    table = next(each for each in root.findall(".//{*}table") if each.get("class") == "stack")
    rows = [["".join(cell.itertext()).strip() for cell in row] for row in table.findall(".//{*}tr")]
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
    html = render_html(assessment_of((Finding(HOSTILE), EDEMA, Finding(HOSTILE + "2"))), context)
    page = References()
    page.feed(html)
    assert "script" not in page.tags
    text = shown_text(html)
    assert text.count(HOSTILE) > 10
    assert f"{HOSTILE}, probabilities not calibrated" in text


def test_undefined_resamples_are_counted_on_the_page():
    each = dataclasses.replace(EVALUATION.findings[0], undefined_resamples=7)
    ranking = dataclasses.replace(EVALUATION, findings=(each, *EVALUATION.findings[1:]))
    text = shown_text(render_html(dataclasses.replace(ASSESSMENT, ranking=ranking), CONTEXT))
    assert "these had only one class and are not in the interval of the partial AUC: Edema 7." in text


def test_a_page_without_any_auc_still_says_so():
    assessment = assessment_of((HERNIA,))
    evaluation = assessment.ranking
    text = shown_text(render_html(assessment, CONTEXT))
    assert "no finding has both classes" in text
    assert "ROC curves" not in text
    assert headline(evaluation, CONTEXT) == (
        "TOO FEW PATIENTS TO SAY ANYTHING: no finding has at least 10 patients with it and 10 without it; "
        "mean AUC n/a: nih-official, test part, 90 images of 45 patients"
    )
    assert "TOO FEW PATIENTS TO SAY ANYTHING" in text
    assert metrics(assessment, CONTEXT)["macro"]["num_findings"] == 0


def test_decisions_without_a_threshold_have_no_confusion_matrix():
    points = dataclasses.replace(ASSESSMENT.points[0].points, thresholds=(None,) * 3)
    point = dataclasses.replace(ASSESSMENT.points[0], points=points)
    shown = dataclasses.replace(ASSESSMENT, points=(point,))
    assert "| n/a | n/a |" in render_markdown(shown, CONTEXT)
    page = render_html(shown, CONTEXT)
    table = page[page.index("<h3>Confusion matrix") :]
    assert table[: table.index("</tbody>")].count("<td>n/a</td>") >= 12


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
        "Edema",
        "90",
        str(edema.num_positive),
        short(edema.auc),
        short(edema.average_precision),
    )
    assert rows[2] == ("Hernia", "90", "0", "n/a", "n/a")
    assert rows[3][0] == "Mean of 1"
    assert rows[3][3] == short(EVALUATION.macro_auc)
    assert max(map(len, rows[3][3:])) <= len(".671 (.616-.715)")


def test_accuracy_stands_beside_the_baseline():
    primary = ASSESSMENT.primary
    calls, accuracies = decision_rows(primary), accuracy_rows(primary)
    assert all(len(row) == len(DECISIONS_HEADER) for row in calls)
    assert all(len(row) == len(ACCURACY_HEADER) for row in accuracies)
    rates = primary.classification.findings[0].rates
    assert calls[0][:3] == ("Edema", "0.500", short(rates["sensitivity"].interval))
    assert accuracies[0][1:] == (
        short(rates["accuracy"].interval),
        short(rates["all_negative_accuracy"].interval),
    )
    assert accuracies[-1][0] == "Mean of 2"


TUNED = ThresholdSet(
    rule="youden",
    findings=(EDEMA, NO_FINDING, HERNIA),
    thresholds=(0.3, 0.3, None),
    chosen_on=ImageSet(
        dataset="d",
        split="nih-official",
        part="test",
        sha256="",
        images_sha256="b2" * 32,
        num_images=90,
        num_patients=45,
    ),
    origin="thresholds by the rule youden",
    test_tuned=True,
)


def test_a_choice_on_the_reported_part_is_marked_in_every_file(tmp_path):
    assessment = assessment_of((EDEMA, NO_FINDING, HERNIA), points=(TUNED,))
    files = write_report(assessment, CONTEXT, out=tmp_path)
    read = json.loads(files.metrics.read_text())
    assert read["test_tuned"]
    assert [each["test_tuned"] for each in read["operating_points"]] == [True, False]
    assert TUNED_MARK in read["operating_points"][0]["name"]
    # The banner, the heading of its rates, that of its confusion, the subgroups, and how it was made.
    assert shown_text(files.html.read_text()).count(TUNED_MARK) >= 5
    assert files.markdown.read_text().count(TUNED_MARK) >= 2
    assert TUNED_MARK not in render_html(ASSESSMENT, CONTEXT)
    assert TUNED_MARK not in render_markdown(ASSESSMENT, CONTEXT)


def test_a_split_that_is_not_stated_is_said_everywhere(tmp_path):
    context = dataclasses.replace(CONTEXT, split="", part="", split_sha256="", num_official_test=12)
    files = write_report(assessment_of((EDEMA, HERNIA), context=context), context, out=tmp_path)
    for text in (shown_text(files.html.read_text()), files.markdown.read_text()):
        assert "split not stated" in text
        assert "12 of the 90 are in NIH's official test" in text
        assert "None: the split is not stated" in text
    read = json.loads(files.metrics.read_text())
    assert read["split"] == {
        "where": "split not stated",
        "name": None,
        "part": None,
        "sha256": None,
        "whole_part": False,
    }
    assert read["num_nih_official_test"] == 12
    assert "split not stated" in headline(EVALUATION, context)


def test_published_results_of_the_same_kind_stand_beside():
    context = dataclasses.replace(CONTEXT, dataset="nih-chestxray14", whole_part=True)
    assessment = assessment_of(NIH14, resamples=5, context=context)
    text = shown_text(render_html(assessment, context))
    assert "AE-CNN" in text
    assert "SynthEnsemble" not in text  # a random split
    random = dataclasses.replace(context, split="nih-random-patient")
    assessment = assessment_of(NIH14, resamples=5, context=random)
    written, by_finding = render_markdown(assessment, random).split("### AUC of each finding, as published")
    assert "SynthEnsemble" in written
    assert "AE-CNN" not in written
    assert "AE-CNN (official split, another split)" in by_finding
    fewer = assessment_of((EDEMA, HERNIA), resamples=5, context=context)
    assert "None: published means are over NIH's 14 findings" in render_markdown(fewer, context)


def test_the_range_of_published_means_is_named_beside_some_images_of_their_part():
    context = dataclasses.replace(CONTEXT, dataset="nih-chestxray14", whole_part=False)
    text = render_markdown(assessment_of(NIH14, resamples=5, context=context), context)
    assert "these are only some of its images. For orientation only: on all of its images, they go" in text
    assert "from .745 (Wang 2017) to .8" in text
    elsewhere = dataclasses.replace(context, dataset="another")
    text = render_markdown(assessment_of(NIH14, resamples=5, context=elsewhere), elsewhere)
    assert "For orientation" not in text


def test_predictive_values_carry_their_prevalence():
    stated = {EDEMA: StatedPrevalence(0.03, "training part of nih-official")}
    assessment = assessment_of((EDEMA, HERNIA), prevalence=stated)
    values = assessment.primary.predictive_values[0]
    text = shown_text(render_html(assessment, CONTEXT))
    assert f"3.0 %{values.ppv.value:.3f} {values.ppv.ends}" in text
    assert "Prevalence from: training part of nih-official." in text
    read = metrics(assessment, CONTEXT)["operating_points"][0]["predictive_values"]
    assert read["Edema"]["prevalence"] == 0.03
    assert read["Hernia"] is None


def test_an_audit_is_shown_where_there_was_one():
    found = [("error", "patients in two parts: 3"), ("warning", HOSTILE)]
    text = shown_text(render_html(ASSESSMENT, CONTEXT, audit=found))
    assert "patients in two parts: 3" in text
    assert HOSTILE in text
    assert "found no problems" in shown_text(render_html(ASSESSMENT, CONTEXT, audit=[]))
    assert "Audit" not in shown_text(render_html(ASSESSMENT, CONTEXT))
    assert "- error: patients in two parts: 3" in render_markdown(ASSESSMENT, CONTEXT, audit=found)


def test_the_headline_says_how_an_audit_ended():
    one = "1 error, 2 warnings. These numbers are not a result until the errors are resolved"
    found = [("error", "x"), ("warning", "y"), ("warning", "z"), ("note", "n")]
    page = render_html(ASSESSMENT, CONTEXT, audit=found)
    assert f"<dt>Audit</dt><dd>{one}</dd>" in page
    # An error stands among the warnings at the top, too.
    assert page.index("<strong>Audit, error</strong>: x") < page.index(">Audit</h2>")
    assert f"**Audit: {one}**." in render_markdown(ASSESSMENT, CONTEXT, audit=found)
    assert "**Audit: no errors, no warnings**." in render_markdown(ASSESSMENT, CONTEXT, audit=[])
    assert metrics(ASSESSMENT, CONTEXT, audit=found)["audit"] == {
        "failed": True, "num_errors": 1, "num_warnings": 2,
        "problems": [{"severity": severity, "what": text} for severity, text in found],
    }  # fmt: skip
    assert metrics(ASSESSMENT, CONTEXT)["audit"] is None


def test_markdown_has_the_numbers_in_tables_that_hold():
    context = dataclasses.replace(CONTEXT, warnings=("a | b\n<b>c</b>",))
    text = render_markdown(ASSESSMENT, context)
    edema = EVALUATION.findings[0]
    assert f"| Edema | 90 | {edema.num_positive} | {short(edema.auc)} |" in text
    assert "- a \\| b &lt;b&gt;c&lt;/b&gt;" in text
    table = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            table.append(line.replace("\\|", "").count("|"))
        elif table:
            assert len(set(table)) == 1
            table = []


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(DataError, match=r"report is a file; give a folder for the report$"):
        write_report(ASSESSMENT, CONTEXT, out=tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"


def test_the_slow_libraries_wait_until_they_are_needed():
    program = (
        "import sys, thorax.reporting.report\n"
        "print(sorted({'torch', 'pandas', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
