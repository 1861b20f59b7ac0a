"""The node as a program: images come in by C-STORE, results go out, and nothing is lost or doubled."""

import json

import pytest

import thorax
from tests.helpers.command import command
from tests.helpers.node import (
    images,
    needs,
    received,
    reports,
    running_node,
    storescp,
    storescu,
    wait_for,
)


@pytest.fixture(autouse=True)
def _programs():
    needs("storescu", "storescp")


def percents(report):
    """Return the probabilities in a structured report, in its order."""
    numbers = []

    def walk(item):
        for child in item.get("ContentSequence", []):
            if child.ValueType == "NUM":
                numbers.append(float(child.MeasuredValueSequence[0].NumericValue))
            walk(child)

    walk(report)
    return numbers


def test_what_storescu_sends_comes_back_to_storescp_with_the_same_numbers(tmp_path):
    """Sent twice, it still has one result; and neither log nor metrics nor health name a patient."""
    sent = images(tmp_path / "images", 3)
    with storescp(tmp_path / "pacs") as pacs:
        with running_node(tmp_path / "queue", "--forward", f"PACS@127.0.0.1:{pacs}") as node:
            storescu(node.port, *sent.values())
            wait_for(lambda: len(reports(received(tmp_path / "pacs"))) == 3)
            before = received(tmp_path / "pacs")
            storescu(node.port, *sent.values())
            wait_for(lambda: len(node.lines("received again")) == 3)
            health, metrics = node.get("/health"), node.get("/metrics")
            assert node.end() == 0
        after = received(tmp_path / "pacs")
    assert before.keys() == after.keys()
    model = thorax.load("starter")
    for uid, report in reports(after).items():
        prediction = model.predict(sent[uid])
        expected = [100 * entry.probability for entry in prediction]
        assert percents(report) == pytest.approx(expected, abs=1e-6)
        assert report.StudyInstanceUID == uid.replace(".7.", ".8.")
        assert report.PatientName == "Doe^Jane"
    assert health[0] == 200
    assert json.loads(health[1])["status"] == "ok"
    assert 'thorax_node_objects{state="sent"} 3' in metrics[1]
    log = node.log.read_text()
    for secret in ("Doe", "Jane", "A-17", "ACC1", *sent):
        assert secret not in log + health[1] + metrics[1]
    shown = json.loads(command("node", "status", tmp_path / "queue", "--json").stdout)
    assert shown["objects"] == {"received": 0, "predicted": 0, "sent": 3, "skipped": 0, "failed": 0}
