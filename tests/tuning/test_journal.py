"""The journal: what is drawn again after a restart, and which settings are important."""

import pytest

from tests.training.conftest import toy_recipe
from thorax.tuning.journal import Journal, quiet_optuna
from thorax.tuning.page import render_study
from thorax.tuning.space import load_space
from thorax.tuning.trials import StudyResult


@pytest.fixture
def searched(space):
    return load_space(toy_recipe(), space)


def journal_of(path, searched):
    return Journal(path, searched, maximize=True, seed=0, warmup=None)


def run(journal, count):
    """Trials whose value is the dropout, whatever the other settings are."""
    for _ in range(count):
        trial = journal.ask(None)
        trial.report(0.5, step=1)
        journal.finish(trial, trial.params["model.head.dropout"])


def test_what_is_drawn_does_not_depend_on_restarts(searched, tmp_path):
    with quiet_optuna():
        run(journal_of(tmp_path / "one.log", searched), 14)
        for count in (3, 1, 8, 2):
            run(journal_of(tmp_path / "other.log", searched), count)
        drawn = [
            [trial.parameters for trial in journal_of(tmp_path / name, searched).trials()]
            for name in ("one.log", "other.log")
        ]
    assert drawn[0] == drawn[1]
    assert len({trial["optim.lr"] for trial in drawn[0]}) == 14


def test_the_setting_that_decides_is_the_most_important(searched, tmp_path):
    with quiet_optuna():
        journal = journal_of(tmp_path / "journal.log", searched)
        run(journal, 7)
        assert journal.importances() == {}
        run(journal, 13)
        importances = journal.importances()
    assert next(iter(importances)) == "model.head.dropout"
    assert sum(importances.values()) == pytest.approx(1)
    study = StudyResult(tmp_path, toy_recipe(), searched, "macro-auc", journal.trials())
    page = render_study(study, importances=importances, same={})
    assert f"<b>{100 * importances['model.head.dropout']:.0f} %</b>" in page


def test_equal_values_have_no_importance(searched, tmp_path):
    with quiet_optuna():
        journal = journal_of(tmp_path / "journal.log", searched)
        for _ in range(9):
            journal.finish(journal.ask(None), 0.5)
        assert journal.importances() == {}
