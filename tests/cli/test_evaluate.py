"""`thorax evaluate` and `thorax compare` as a user types them: what is printed, and the exit codes."""

import pytest

from tests.helpers.command import command, thorax
from thorax.datasets.phantom import write_phantoms
from thorax.evaluation.thresholds import TUNED_MARK


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Labels of phantoms, and predictions of two models."""
    folder = tmp_path_factory.mktemp("work")
    write_phantoms(folder / "phantoms", patients=30, size=64)
    labels = folder / "phantoms" / "Data_Entry_2017_v2020.csv"
    images = [line.split(",")[0] for line in labels.read_text().splitlines()[1:]]
    for name, step in (("one.csv", 37), ("two.csv", 53)):
        rows = [f"{image},{(step * number) % 101 / 101:.4f}" for number, image in enumerate(images)]
        (folder / name).write_text("\n".join(["Image Index,prob_Effusion", *rows]) + "\n")
    return folder, labels


def test_a_report_is_printed_and_written(work, tmp_path):
    folder, labels = work
    asked = (
        "evaluate", "--predictions", folder / "one.csv", "--labels", labels, "--resamples", "20",
        "--prevalence", "Effusion=0.1", "--out", tmp_path / "out",
    )  # fmt: skip
    done = thorax(*asked)
    assert "split not stated" in done.stdout
    assert "Effusion" in done.stdout
    assert done.stdout.endswith(f"report: {tmp_path / 'out' / 'report.html'}\n")
    assert done.stderr.startswith("note: It is not known which patients this model was trained on")
    again = command(*asked, expect=3)
    assert "out is not empty" in again.stderr
    assert "set --overwrite to replace it" in again.stderr
    assert command(*asked, "--overwrite").stdout == done.stdout


def test_four_images_say_nothing_and_the_headline_says_so(work, tmp_path):
    folder, labels = work
    lines = (folder / "one.csv").read_text().splitlines()
    (tmp_path / "four.csv").write_text("\n".join([*lines[:4], f"{lines[4].split(',')[0]},"]) + "\n")
    done = command("evaluate", tmp_path / "four.csv", "--labels", labels, "--out", tmp_path / "out", expect=1)
    assert done.stdout.startswith(
        "TOO FEW PATIENTS TO SAY ANYTHING: no finding has at least 10 patients with"
    )
    assert len(done.stdout.splitlines()) < 10
    assert "1 row of four.csv with a value that is empty or not a number is left out" in done.stderr
    for name in ("metrics.json", "report.html", "report.md"):
        assert "TOO FEW PATIENTS TO SAY ANYTHING" in (tmp_path / "out" / name).read_text()


def test_choosing_on_what_is_reported_is_refused_or_marked(work, tmp_path):
    folder, labels = work
    asked = (
        "evaluate", "--predictions", folder / "one.csv", "--labels", labels, "--rule", "youden",
        "--resamples", "10", "--out", tmp_path / "out",
    )  # fmt: skip
    done = command(*asked, expect=3)
    assert "choose them on validation, or mark every figure at them with --allow-test-tuning" in done.stderr
    assert not (tmp_path / "out").exists()
    assert command(*asked, "--allow-test-tuning").stdout.count(TUNED_MARK) >= 2


def test_what_the_audit_finds_is_an_error_on_the_terminal(work, tmp_path):
    folder, labels = work
    lines = (folder / "one.csv").read_text().splitlines()
    binary = [f"{image},{round(float(value))}" for image, value in (line.split(",") for line in lines[1:])]
    (tmp_path / "binary.csv").write_text("\n".join([lines[0], *binary]) + "\n")
    done = command(
        "evaluate", "--predictions", tmp_path / "binary.csv", "--labels", labels, "--resamples", "5", "--out",
        tmp_path / "out", expect=1,
    )  # fmt: skip
    assert "audit, error: columns with only two values" in done.stderr
    # Everything is written and shown all the same.
    assert "Audit: 1 error, no warnings. These numbers are not a result until" in done.stdout
    assert done.stdout.endswith(f"report: {tmp_path / 'out' / 'report.html'}\n")
    for name in ("metrics.json", "report.html", "report.md"):
        assert "columns with only two values" in (tmp_path / "out" / name).read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "give a bundle with --store, or --predictions with --labels"),
        (("RUN",), 2, "a bundle needs --store"),
        (("--predictions", "CSV"), 2, "--predictions needs --labels"),
        (
            ("RUN", "--store", "S", "--validation", "CSV"),
            3,
            "but the model is a bundle, which computes its own",
        ),
        (("nowhere", "--store", "S"), 5, "nowhere does not exist"),
        (("--predictions", "CSV", "--labels", "LABELS", "--logits"), 3, "not logits; leave out --logits"),
        (("--predictions", "CSV", "--labels", "LABELS", "--prevalence", "x"), 3, "Edema=0.05"),
        (("--predictions", "CSV", "--labels", "LABELS", "--rule", "best"), 3, "no rule"),
        (("--predictions", "CSV", "--labels", "LABELS", "--out", "CSV"), 3, "is a file; give a folder"),
    ],
)
def test_wrong_input_gets_a_message_and_its_exit_code(work, tmp_path, arguments, code, message):
    folder, labels = work
    places = {"RUN": folder, "CSV": folder / "one.csv", "LABELS": labels}
    given = ("--out", tmp_path / "new", *arguments)
    done = command("evaluate", *(places.get(argument, argument) for argument in given), expect=code)
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "new").exists()


def test_a_comparison_is_printed_and_written(work, tmp_path):
    folder, labels = work
    files = [folder / "one.csv", folder / "two.csv"]
    asked = ("compare", "--labels", labels, "--resamples", "50", "--out", tmp_path / "out")
    done = command(*asked, *files)
    assert "two.csv less one.csv: split not stated" in done.stdout
    assert done.stdout.endswith(f"comparison: {tmp_path / 'out' / 'comparison.html'}\n")
    assert "1: one.csv: one-half, 0.5 for every finding" in done.stdout
    assert done.stderr.count("note: It is not known which patients") == 1  # of both models, and said once
    assert "set --overwrite to replace" in command(*asked, *files, expect=3).stderr
    assert "at least two" in command(*asked, "--overwrite", files[0], expect=2).stderr
