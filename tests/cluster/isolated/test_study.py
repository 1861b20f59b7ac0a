"""`study` over two nodes: the leaderboard of one machine, though a node is killed and it is stopped."""

import json
import threading

import pytest

from tests.helpers.nodes import wait_until
from tests.studies.conftest import MINE, write_source
from tests.studies.test_study import boards, epochs_of
from tests.training.conftest import toy_recipe
from tests.tuning.conftest import store_from
from thorax.cluster import GIB, Cluster
from thorax.recipe.load import write_recipe
from thorax.studies.study import StudyInterrupted, study

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def cluster(nodes):
    return Cluster(address=nodes.address, memory=int(1.5 * GIB))


def test_the_leaderboard_is_that_of_one_machine(nodes, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "source").mkdir()
    store = store_from(write_source(tmp_path / "source"), tmp_path / "store")
    for name, lr in (("fast", 1e-2), ("slow", 1e-4)):
        training = {"epochs": 3, "checkpoint_minutes": 0}
        write_recipe(toy_recipe(name=name, optim={"lr": lr}, training=training), tmp_path / f"{name}.toml")
    (tmp_path / "mine.toml").write_text(MINE.replace("[0, 1]", "[0]"))
    out = tmp_path / "over two nodes"
    runs = [out / "runs" / "toy" / "folder-official" / name / "seed-0" for name in ("fast", "slow")]

    def kill():
        """Kill a node while each of them trains a run."""
        wait_until(lambda: all(map(epochs_of, runs)), seconds=120)
        nodes.kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()

    def stop(outcome, _number, _total):
        if outcome.step == "evaluate":
            raise KeyboardInterrupt

    words = {"stores": store, "devices": ["cpu"]}
    with pytest.raises(StudyInterrupted, match="nothing is lost"):
        study(tmp_path / "mine.toml", out, **words, cluster=cluster, finished=stop)
    killer.join()
    nodes.add()
    assert not (out / "leaderboard.json").exists()
    assert study(tmp_path / "mine.toml", out, **words, cluster=cluster).boards
    looks = (tmp_path / "state" / "thorax" / "looks.jsonl").read_text().splitlines()
    assert len(looks) == len(runs)
    study(tmp_path / "mine.toml", tmp_path / "here", **words)
    assert boards(out) == boards(tmp_path / "here")
    for run in runs:
        steps = [event["epoch"] for line in (run / "log.jsonl").read_text().splitlines()
                 if (event := json.loads(line))["event"] == "epoch"]  # fmt: skip
        assert steps == [1, 2, 3]
