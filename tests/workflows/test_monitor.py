"""Monitoring a queue: its page and numbers, what readers say, and what is refused."""

import csv
import re
import sqlite3
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.helpers.command import command
from tests.helpers.monitored import TODAY, as_text, fill, keep, outcomes, starter
from thorax.atomic_io import write_json
from thorax.bundle import load_bundle
from thorax.errors import DataError, ServiceError
from thorax.evaluation.inputs.reader_words import agreement_with_model
from thorax.pacs.node.queue import DATABASE, Queue
from thorax.service.assessments import Assessment, Assessments
from thorax.workflows.monitor import monitor


@pytest.fixture(scope="module")
def bundle():
    return starter()


@pytest.fixture(scope="module")
def queue(tmp_path_factory, bundle):
    """A week of 300 images, of which the gate holds back one in ten, after another model's."""
    folder = tmp_path_factory.mktemp("monitor") / "queue"
    model = ("starter", bundle.sha256)
    reference = bundle.manifest.distribution
    fill(folder, outcomes(reference, 5, model=("older", "b" * 64)), ends=TODAY - timedelta(days=20), days=1)
    fill(folder, outcomes(reference, 300, held_back=0.1, model=model), first=5)
    keep(folder, bundle)
    return folder


def test_the_page_and_the_numbers_name_the_alarm_and_no_image(queue, tmp_path):
    result = monitor(queue, today=TODAY)
    written = result.write(tmp_path / "report")
    page = written.html.read_text()
    ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    assert "The gate holds back" in page
    assert "5 of older (bbbbbbbbbbbb)" in page
    content = as_text(written.json)
    (week,) = content["weeks"]
    (alarm,) = [each for each in week["alarms"] if each["quantity"] == "held back"]
    assert (week["monday"], week["images"], week["held_back"]) == (
        "2023-12-25",
        300,
        round(300 * alarm["value"]["value"]),
    )
    assert alarm["p_value"] < alarm["level"]
    assert content["images_of_other_models"] == [{"name": "older", "sha256": "b" * 64, "num_images": 5}]
    metrics = (tmp_path / "report" / "monitor.prom").read_text()
    assert 'thorax_monitor_images{window="1w"} 300' in metrics
    assert 'thorax_monitor_alarm{quantity="held back",name="",window="1w"} 1' in metrics
    assert not re.search(r"1\.2\.\d", page + metrics + written.json.read_text())


def test_the_command_says_the_alarms_and_keeps_an_existing_report(queue, tmp_path):
    done = command("monitor", queue, "--out", tmp_path / "report")
    assert "305" not in done.stdout
    assert "alarm: the gate holds back" in done.stdout
    assert (tmp_path / "report" / "report.html").is_file()
    again = command("monitor", queue, "--out", tmp_path / "report", expect=3)
    assert "--overwrite" in again.stderr


def test_what_is_not_there_is_named_with_what_to_do(queue, tmp_path, bundle):
    with pytest.raises(DataError, match="is not the folder of a node's queue"):
        monitor(tmp_path / "nothing")
    empty = tmp_path / "empty"
    Queue(empty).close()
    with pytest.raises(DataError, match="has no image that the node has predicted or held back"):
        monitor(empty)
    lacking = tmp_path / "lacking"
    fill(lacking, outcomes(bundle.manifest.distribution, 3))
    keep(
        lacking,
        replace(bundle, sha256="a" * 64, manifest=bundle.manifest.model_copy(update={"distribution": None})),
    )
    with pytest.raises(DataError, match="thorax gate BUNDLE --store STORE"):
        monitor(lacking)
    with pytest.raises(
        DataError, match=f"starter \\({bundle.sha256[:12]}\\) predicted, but of starter \\(aaaaaaaaaaaa"
    ):
        monitor(lacking, bundle="starter")
    assert monitor(queue, bundle="starter", today=TODAY).context.sha256 == bundle.sha256


def test_a_damaged_database_is_named_with_what_to_do(queue, tmp_path):
    damaged = tmp_path / "queue"
    damaged.mkdir()
    content = bytearray((queue / DATABASE).read_bytes())
    content[4096 * 3 :] = bytes([255]) * len(content[4096 * 3 :])
    (damaged / DATABASE).write_bytes(content)
    for words in (("monitor", damaged, "--out", tmp_path / "report"), ("node", "status", damaged)):
        assert f"{DATABASE} is damaged" in command(*words, expect=6).stderr
    assert not (tmp_path / "report").exists()


def test_a_clock_that_was_wrong_changes_no_order_and_no_week(tmp_path, bundle):
    """The last images came before the others, by a clock that was set; a few are dated in a year."""
    reference, model = bundle.manifest.distribution, ("starter", bundle.sha256)
    folder = tmp_path / "queue"
    fill(folder, outcomes(reference, 100, model=model))
    fill(folder, outcomes(reference, 3, model=model), first=100, ends=TODAY + timedelta(days=400), days=1)
    fill(folder, outcomes(reference, 20, held_back=0.5, model=model), first=103, ends=TODAY - timedelta(71))
    keep(folder, bundle)
    made = monitor(folder, today=TODAY).write(tmp_path / "report")
    content = as_text(made.json)
    earlier, last = content["weeks"]
    assert (earlier["monday"], earlier["images"]) == ("2023-10-16", 20)
    assert (last["monday"], last["images"], last["held_back"]) == ("2023-12-25", 100, 0)
    assert content["latest"][0]["first_day"] < content["latest"][0]["last_day"] == "2023-12-31"
    assert (content["num_images"], content["images_of_later_days"]) == (120, 3)
    assert max(content["days"]) == "2023-12-31"
    assert "3 images are dated after today" in made.html.read_text()
    with pytest.raises(DataError, match="came after 2020-01-01, which is today by the clock"):
        monitor(folder, today=date(2020, 1, 1))


def test_a_queue_of_the_format_before_gets_what_it_lacks_and_a_later_one_is_refused(tmp_path):
    Queue(tmp_path / "queue").close()
    with sqlite3.connect(tmp_path / "queue" / DATABASE) as database:
        database.execute("DROP TABLE models")
        database.execute("PRAGMA user_version = 1")
    opened = Queue(tmp_path / "queue", create=False)
    assert opened.models() == {}
    opened.keep_model("a", "b", "{}")
    assert opened.models() == {("a", "b"): "{}"}
    opened.close()
    with sqlite3.connect(tmp_path / "queue" / DATABASE) as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(ServiceError, match="is of format 9"):
        Queue(tmp_path / "queue", create=False)


def assess(kept, number, *, present, decision="yes", shown="before", bundle="c" * 64):
    """Keep what a reader says of an image."""
    verdict = "read" if shown == "before" else "amended"
    kept.add(
        Assessment(
            reader="A", image=f"{number}.png", image_sha256=f"{number:064x}", bundle_sha256=bundle,
            finding="Effusion", verdict=verdict, present=present, ai_shown=shown, probability=0.5,
            decision=decision,
        ),
        model="m",
    )  # fmt: skip


def test_readers_who_have_not_seen_the_model_are_compared_with_it_from_either_file(tmp_path):
    kept = Assessments(tmp_path / "assessments.sqlite")
    for number in range(8):
        assess(kept, number, present=number != 0)
    assess(kept, 1, present=False)
    assess(kept, 20, present=True, shown="after")
    assess(kept, 21, present=None)
    assess(kept, 22, present=True, bundle="d" * 64)
    exported = tmp_path / "assessments.csv"
    exported.write_text(kept.as_csv(), newline="")
    for path in (kept.path, exported):
        (found,) = agreement_with_model(path, "c" * 64, since=date(2020, 1, 1))
        assert (found.finding, found.since.images, found.since.agreed) == ("Effusion", 8, 6)
        assert (found.before.images, found.after) == (0, 1)
        (earlier,) = agreement_with_model(path, "c" * 64, since=date(2999, 1, 1))
        assert (earlier.before.images, earlier.since.images) == (8, 0)


def test_another_file_is_no_assessments(tmp_path):
    other = tmp_path / "other.csv"
    with other.open("w", newline="") as file:
        csv.writer(file).writerow(["image", "label"])
    with pytest.raises(DataError, match="has no assessments"):
        agreement_with_model(other, "c" * 64, since=TODAY)
    with pytest.raises(DataError, match="cannot be read"):
        agreement_with_model(tmp_path / "missing", "c" * 64, since=TODAY)


def test_a_distribution_that_does_not_fit_its_bundle_is_refused(tmp_path, bundle):
    content = as_text(bundle.folder / "bundle.json")
    del content["distribution"]["findings"]["Hernia"]
    write_json(tmp_path / "bundle.json", content)
    with pytest.raises(Exception, match="the distribution on validation needs each finding"):
        load_bundle(tmp_path)
