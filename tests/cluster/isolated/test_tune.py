"""`tune` and `study` over two nodes: the values of one machine, also if a node is killed or it is stopped."""

import json
import threading

import pytest

from tests.helpers.nodes import wait_until
from tests.training.conftest import toy_recipe, write_toy_source
from tests.tuning.conftest import SPACE, store_from
from thorax.cluster import GIB, Cluster
from thorax.recipe.load import changed_recipe, load_recipe, write_recipe
from thorax.store import open_store
from thorax.training import TrainingInterrupted
from thorax.training import train as train_run
from thorax.tuning.space import load_space
from thorax.tuning.tune import tune

TRIALS = 3


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A store, a recipe of five epochs, and a space."""
    folder = tmp_path_factory.mktemp("tune")
    store_from(write_toy_source(folder), folder / "store")
    training = {"epochs": 5, "checkpoint_minutes": 0}
    write_recipe(toy_recipe(training=training, augment={"flip": 0.5}), folder / "toy.toml")
    (folder / "space.toml").write_text(SPACE)
    return folder


@pytest.fixture
def cluster(nodes):
    return Cluster(address=nodes.address, memory=int(1.5 * GIB))


def run(work, out, cluster, **settings):
    return tune(
        work / "toy.toml",
        work / "store",
        out,
        space=work / "space.toml",
        trials=TRIALS,
        device="cpu",
        resume=True,
        cluster=cluster,
        **settings,
    )


def check_values(study, work, tmp_path):
    """All trials are there, and the first has the value that its settings have on one machine."""
    ended = [trial for trial in study.trials if trial.outcome != "interrupted"]
    assert len(ended) == TRIALS
    first = ended[0]
    assert first.outcome == "finished"
    recipe = load_recipe(str(work / "toy.toml"))
    space = load_space(recipe, work / "space.toml", fixed=[])
    again = changed_recipe(recipe, space.settings(first.parameters))
    summary = train_run(again, open_store(work / "store"), tmp_path / "again", device="cpu", report=False)
    assert summary.macro_auc == first.value
    lines = map(json.loads, (study.folder / "journal.log").read_text().splitlines())
    asked = [line for line in lines if line["op_code"] == 4]  # Optuna's code of a new trial
    assert len(asked) == len(study.trials)


def test_trials_have_the_values_of_one_machine_though_a_node_is_killed_and_it_is_stopped(
    nodes, work, cluster, tmp_path
):
    seen, ended, killed = [], [], threading.Event()

    def epochs(number):
        log = tmp_path / "study" / "trials" / f"{number:04d}" / "log.jsonl"
        return log.read_text().count('"event": "epoch"') if log.is_file() else 0

    def kill():
        """Kill a node while both trials are trained, one of them there."""
        wait_until(lambda: epochs(0) and epochs(1), seconds=120)
        nodes.kill()
        killed.set()

    def stop(now):
        seen.append(now)
        if killed.is_set() and "trial 3 of 3" in now.stage:
            raise KeyboardInterrupt

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(TrainingInterrupted, match=r"stopped after [0-2] of 3 trials; nothing is lost"):
        run(work, tmp_path / "study", cluster, progress=stop, finished=ended.append)
    killer.join()
    nodes.add()
    study = run(work, tmp_path / "study", cluster, progress=seen.append, finished=ended.append)
    check_values(study, work, tmp_path)
    assert study.trials[0].own
    assert len({tuple(trial.parameters.values()) for trial in study.trials}) == TRIALS
    assert {trial.number for trial in ended if trial.outcome != "interrupted"} == {
        trial.number for trial in study.trials if trial.outcome != "interrupted"
    }
    assert {now.stage.partition(",")[0] for now in seen} >= {"trial 1 of 3", "trial 2 of 3"}
    assert [trial for trial in study.trials if trial.outcome == "interrupted"]
    by_number = {trial.number: trial for trial in study.trials}
    for trial in study.trials:
        if trial.continues is not None:
            assert trial.parameters == by_number[trial.continues].parameters
    assert study.best_recipe.is_file()
