"""The node as a program: images come in by C-STORE, results go out, and nothing is lost or doubled."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import thorax
from tests.helpers.certificates import certificate
from tests.helpers.command import command
from tests.helpers.dicom_writing import to_bytes
from tests.helpers.node import (
    free_port,
    image,
    images,
    needs,
    program,
    received,
    reports,
    running_node,
    storescp,
    storescu,
    wait_for,
)
from tests.helpers.studies import study_dataset
from thorax.errors import DataError, ServiceError


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


def forwarding(tmp_path, pacs, *options):
    """Run a node that sends to an archive of the test."""
    return running_node(tmp_path / "queue", "--forward", f"PACS@127.0.0.1:{pacs}", *options)


def test_each_image_gets_what_the_rules_the_gate_and_its_own_state_call_for(tmp_path):
    """A lateral is left out by a rule, a blank one held back, a hand skipped, a damaged one a dead letter."""
    (tmp_path / "rules.toml").write_text('[[rule]]\naction = "skip"\nview = ["LL"]\n')
    blank = study_dataset(SOPInstanceUID="1.2.826.0.1.3680043.8.498.7.4", side=128)
    blank.PixelData = bytes(len(blank.PixelData))
    damaged = study_dataset(SOPInstanceUID="1.2.826.0.1.3680043.8.498.7.5", side=128)
    damaged.PixelData = damaged.PixelData[:100]
    contents = {
        "predicted": image(1)[1],
        "lateral": image(2, ViewPosition="LL")[1],
        "hand": image(3, BodyPartExamined="HAND")[1],
        "blank": to_bytes(blank),
        "damaged": to_bytes(damaged),
    }
    paths = {name: tmp_path / f"{name}.dcm" for name in contents}
    for name, content in contents.items():
        paths[name].write_bytes(content)
    with storescp(tmp_path / "pacs") as pacs, forwarding(tmp_path, pacs, "--rules", "rules.toml") as node:
        storescu(node.port, *paths.values())
        wait_for(lambda: len(reports(received(tmp_path / "pacs"))) == 2)
        wait_for(lambda: len(node.lines("skipped")) == 2 and node.lines("failed"))
        assert node.end() == 0
    made = reports(received(tmp_path / "pacs"))
    assert percents(made["1.2.826.0.1.3680043.8.498.7.1"])
    assert percents(made["1.2.826.0.1.3680043.8.498.7.4"]) == []
    reasons = {line["reason"] for line in node.lines("skipped")}
    assert any(reason.startswith("rule ") for reason in reasons), reasons
    assert any("Body Part Examined is HAND" in reason for reason in reasons)
    shown = command("node", "status", tmp_path / "queue").stdout
    assert "2 sent, 2 skipped, 1 failed" in shown
    assert "Pixel Data holds 100 bytes" in shown


def test_results_wait_for_an_archive_that_is_away(tmp_path):
    """A second destination gets its results meanwhile."""
    sent = images(tmp_path / "images", 2)
    away = free_port()
    with (
        storescp(tmp_path / "pacs") as pacs,
        forwarding(tmp_path, pacs, "--forward", f"AWAY@127.0.0.1:{away}") as node,
    ):
        storescu(node.port, *sent.values())
        wait_for(lambda: len(reports(received(tmp_path / "pacs"))) == 2)
        wait_for(lambda: node.lines("not reached"))
        assert json.loads(node.get("/health")[1])["destinations"][f"AWAY@127.0.0.1:{away}"] is False
        with storescp(tmp_path / "away", port=away, title="AWAY"):
            wait_for(lambda: len(reports(received(tmp_path / "away"))) == 2)
        assert node.end() == 0
    assert received(tmp_path / "away").keys() == received(tmp_path / "pacs").keys()


def test_results_go_to_an_archive_with_tls_and_not_to_one_of_another_authority(tmp_path):
    (ours, our_key), (theirs, their_key) = certificate(tmp_path, "node"), certificate(tmp_path, "pacs")
    uid, content = image(1)
    (tmp_path / "one.dcm").write_bytes(content)
    options = ("--certificate", ours, "--key", our_key, "--authority")
    with storescp(tmp_path / "pacs", options=("+tls", str(their_key), str(theirs), "+cf", str(ours))) as pacs:
        target = ("--forward-tls", f"PACS@localhost:{pacs}")
        with running_node(tmp_path / "queue", *target, *options, ours) as node:
            storescu(
                node.port, tmp_path / "one.dcm", options=("+tls", str(our_key), str(ours), "+cf", str(ours))
            )
            wait_for(lambda: node.lines("not reached"))
            assert node.end() == 0
        assert received(tmp_path / "pacs") == {}
        with running_node(tmp_path / "queue", *target, *options, theirs) as node:
            wait_for(lambda: set(reports(received(tmp_path / "pacs"))) == {uid})
            assert node.end() == 0


@pytest.mark.slow
def test_a_node_that_is_ended_finishes_what_it_has_and_the_next_one_the_rest(tmp_path):
    sent = images(tmp_path / "images", 12)
    with storescp(tmp_path / "pacs") as pacs:
        with forwarding(tmp_path, pacs) as node:
            storescu(node.port, *sent.values())
            wait_for(lambda: received(tmp_path / "pacs"))
            assert node.end() == 0
        counts = json.loads(command("node", "status", tmp_path / "queue", "--json").stdout)["objects"]
        assert sum(counts.values()) == 12
        assert not list((tmp_path / "queue").rglob("*.partial"))
        with forwarding(tmp_path, pacs) as node:
            wait_for(lambda: len(reports(received(tmp_path / "pacs"))) == 12)
            assert node.end() == 0
    assert set(reports(received(tmp_path / "pacs"))) == set(sent)


@pytest.mark.slow
def test_a_killed_node_loses_nothing_and_doubles_nothing(tmp_path):
    """Killed three times: after the first object, after the first result, and after the first one sent."""
    sent = images(tmp_path / "images", 6)
    with storescp(tmp_path / "pacs") as pacs:
        for moment in ("received", "predicted", "sent"):
            with forwarding(tmp_path, pacs) as node:
                before = len(node.lines(moment))
                if moment == "received":
                    sender = subprocess.Popen(
                        [program("storescu"), "-aec", "THORAX", "127.0.0.1", str(node.port)]
                        + [str(path) for path in sent.values()],
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                wait_for(lambda node=node, moment=moment, before=before: len(node.lines(moment)) > before)
                node.process.kill()
                node.process.wait()
                sender.wait()
        with forwarding(tmp_path, pacs) as node:
            storescu(node.port, *sent.values())
            wait_for(lambda: len(reports(received(tmp_path / "pacs"))) == 6)
            assert node.end() == 0
    assert set(reports(received(tmp_path / "pacs"))) == set(sent)


def makers_of(node):
    """Return the processes in which a node makes results."""
    tasks = Path(f"/proc/{node.process.pid}/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def is_alive(pid):
    """Return whether a process runs; one that has ended and that nobody has asked for does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
def test_processes_that_make_results_are_replaced_when_killed_and_end_with_the_node(tmp_path):
    sent = images(tmp_path / "images", 1)
    with storescp(tmp_path / "pacs") as pacs, forwarding(tmp_path, pacs) as node:
        killed = makers_of(node)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        storescu(node.port, *sent.values())
        wait_for(lambda: set(reports(received(tmp_path / "pacs"))) == set(sent))
        others = makers_of(node)
        assert killed
        assert not killed & others
        assert any("killed by signal 9" in line["reason"] for line in node.lines("postponed"))
        assert node.get("/health")[0] == 200
        node.process.kill()
        wait_for(lambda: not any(map(is_alive, others)))


def test_a_second_node_may_not_use_the_queue_and_the_first_one_goes_on(tmp_path):
    with forwarding(tmp_path, 1) as node:
        words = ["node", "starter", "--queue", tmp_path / "queue", "--port", "0", "--health-port", "0"]
        done = command(*words, "--forward", "PACS@127.0.0.1:1", expect=DataError.exit_code)
        assert "another process is running a node with" in done.stderr
        taken = command(
            "node", "starter", "--queue", tmp_path / "other", "--port", node.port, "--health-port", "0",
            "--forward", "PACS@127.0.0.1:1", expect=ServiceError.exit_code,
        )  # fmt: skip
        assert "is in use by another program" in taken.stderr
        assert node.get("/health")[0] == 200
        assert node.get("/other")[0] == 404
        assert node.end() == 0


WITHOUT_TORCH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "timm", "torchvision"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""


def test_a_node_runs_where_torch_cannot_be_imported(tmp_path):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(WITHOUT_TORCH)
    path = os.pathsep.join([str(tmp_path / "without"), *sys.path])
    uid, content = image(1)
    (tmp_path / "one.dcm").write_bytes(content)
    with storescp(tmp_path / "pacs") as pacs:
        options = ("--forward", f"PACS@127.0.0.1:{pacs}")
        with running_node(tmp_path / "queue", *options, environment={"PYTHONPATH": path}) as node:
            storescu(node.port, tmp_path / "one.dcm")
            wait_for(lambda: set(reports(received(tmp_path / "pacs"))) == {uid})
            assert node.end() == 0
    modalities = {dataset.Modality for dataset in received(tmp_path / "pacs").values()}
    assert "SR" in modalities
