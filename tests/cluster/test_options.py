"""What is refused of a cluster before any work, with or without Ray."""

import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.helpers.command import command
from thorax.cluster import GIB, Cluster, run_units
from thorax.cluster.worker import Raised, do_unit, memory_of
from thorax.errors import MissingExtra, RecipeError, ServiceError
from thorax.workflows.predicting import Tally

VERBS = {
    "prepare": ["prepare", "labels.csv", "--out", "out"],
    "predict": ["predict", "chest.png", "--out", "out"],
    "tune": ["tune", "small-cpu", "--store", "store", "--out", "out"],
    "study": ["study", "small", "--out", "out"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("option", [("--address", "10.0.0.1:6379"), ("--cores", "2"), ("--memory", "4")])
def test_options_of_a_cluster_need_ray(verb, option):
    if (verb, option[0]) == ("predict", "--address"):
        return  # whose --engine may be that of the nodes; the next test
    done = command(*VERBS[verb], *option, expect=2)
    assert f"{option[0]} concerns a Ray cluster; add --engine ray" in done.stderr


def test_what_does_not_go_with_ray():
    done = command("prepare", "labels.csv", "--out", "out", "--engine", "ray", "--workers", "2", expect=2)
    assert "--workers is for this machine; with --engine ray, give --cores" in done.stderr
    done = command("predict", "chest.png", "--engine", "ray", expect=2)
    assert "a Ray cluster predicts what is there into a folder; add --out" in done.stderr


def test_predict_chooses_the_engine_of_the_nodes(monkeypatch, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    images, asked = Path(__file__).parents[2] / "test-images", {}

    def predict(_predictor, _images, _out, **options):
        asked.update(options)
        return Tally()

    monkeypatch.setattr("thorax.cli.predict.predict_into_folder", predict)
    words = ("predict", images, "--out", tmp_path / "out", "--address", "10.0.0.1:6379")
    for engine, expected in (("ray", "auto"), ("auto", "auto"), ("onnx", "onnx")):
        command(*words, "--engine", engine)
        assert asked["engine"] == expected
        assert asked["cluster"] == Cluster(address="10.0.0.1:6379")
    done = command("predict", images, "--engine", "onnx", "--address", "10.0.0.1:6379", expect=2)
    assert "a Ray cluster predicts what is there into a folder; add --out" in done.stderr


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.1:port", "10.0.0.1:99999", ":6379"])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(RecipeError, match="which is not HOST:PORT; give the address of the head"):
        Cluster(address=address)


def test_a_unit_needs_a_core_and_memory():
    with pytest.raises(RecipeError, match=r"`cores` is 0 and `memory` is 2\.00 GiB"):
        Cluster(cores=0)
    with pytest.raises(RecipeError, match=r"`memory` is 0\.01 GiB"):
        Cluster(memory=10 << 20)
    assert Cluster(cores=2, gpus=1, memory=3 * GIB).needs == "2 cores and 1 GPU and 3 GiB of memory"


def test_an_address_that_does_not_answer_is_named_at_once(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    (tmp_path / "labels.csv").write_text("path,Mass\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    begun = time.monotonic()
    with pytest.raises(ServiceError, match=rf"^nothing answers at {address} \(Connection refused\); start"):
        list(run_units(Cluster(address=address), len, [1]))
    assert time.monotonic() - begun < 10


def test_without_ray_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest)
    )
    done = command("prepare", "labels.csv", "--out", "out", "--engine", "ray", expect=MissingExtra.exit_code)
    assert (
        "--engine ray needs ray, which is not installed; install it with pip install '.[ray]'" in done.stderr
    )


def test_another_version_is_named():
    answer = do_unit({"version": "0.0.1", "what": "a later version adds"}, b"", None)
    assert isinstance(answer, Raised)
    assert isinstance(answer.error, ServiceError)
    assert "has Thorax 0.1.0, and this machine has 0.0.1; install the same version" in str(answer.error)


@pytest.mark.parametrize("said", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b""])
def test_what_answers_but_is_no_cluster_is_refused_at_once(said):
    """Ray itself tries such an address for more than two minutes."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(said)
                connection.recv(64)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(ServiceError, match=f"what answers at 127.0.0.1:{port} is not a Ray cluster"):
            list(run_units(Cluster(address=f"127.0.0.1:{port}"), len, []))


def test_memory_is_that_of_a_process_and_its_children(tmp_path):
    program = (
        "import os; from thorax.cluster.worker import memory_of; before = memory_of(os.getpid()); "
        "held = bytearray(64 << 20); held[:: 1 << 12] = b'1' * len(held[:: 1 << 12]); "
        "print(memory_of(os.getpid()) - before)"
    )
    taken = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert (60 << 20) < int(taken.stdout) < (80 << 20)
    for number, children in ((1, "2 3"), (2, ""), (3, "")):
        (tmp_path / f"{number}/task/{number}").mkdir(parents=True)
        (tmp_path / f"{number}/task/{number}/children").write_text(children)
        (tmp_path / f"{number}/statm").write_text(f"900 {100 * number} 50 0 0 0 0")
    assert memory_of(1, tmp_path) == (50 + 150 + 250) * os.sysconf("SC_PAGE_SIZE")
    assert memory_of(4, tmp_path) == 0
