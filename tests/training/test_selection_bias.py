"""The test curve: written down when asked for, told at the end, and never used to choose."""

import pytest

from thorax.errors import DataError
from thorax.training import train
from thorax.training.logbook import read_log
from thorax.training.plan import plan_run
from thorax.training.selection_bias import SelectionBias, read_selection_bias


def curve(*scores):
    return [
        {"event": "test-curve", "epoch": epoch, "macro_auc": score}
        for epoch, score in enumerate(scores, start=1)
    ]


def test_the_premium_by_hand():
    found = read_selection_bias([{"event": "epoch", "epoch": 1}, *curve(0.6, 0.8, 0.7)], selected_epoch=3)
    assert found == SelectionBias(epoch=3, macro_auc=0.7, best_epoch=2, best_macro_auc=0.8)
    assert found.excess == pytest.approx(0.1)


def test_the_first_of_equal_epochs_is_the_one_that_would_have_been_chosen():
    assert read_selection_bias(curve(0.7, 0.7), selected_epoch=2).best_epoch == 1
    assert read_selection_bias(curve(0.7, 0.7), selected_epoch=2).excess == 0


def test_without_a_curve_there_is_no_premium():
    assert read_selection_bias([{"event": "epoch", "epoch": 1}], selected_epoch=1) is None
    assert read_selection_bias(curve(None, 0.5), selected_epoch=1) is None


@pytest.fixture(scope="module")
def both(toy_store, make_recipe, tmp_path_factory):
    """The same run with and without a test curve."""
    folder = tmp_path_factory.mktemp("both")
    recipe = make_recipe(training={"epochs": 3})
    plain = train(recipe, toy_store, folder / "plain")
    return plain, train(recipe, toy_store, folder / "curve", record_test_curve=True)


def test_nothing_is_chosen_by_it(both):
    plain, recorded = both
    for name in ("bundle.json", "weights.safetensors", "patients.json"):
        assert (plain.bundle / name).read_bytes() == (recorded.bundle / name).read_bytes()
    assert plain.premium is None


def test_the_curve_is_in_the_log_and_the_premium_in_the_summary(both, toy_store, make_recipe):
    _, recorded = both
    events = [event for event in read_log(recorded.folder / "log.jsonl") if event["event"] == "test-curve"]
    assert [event["epoch"] for event in events] == [1, 2, 3]
    assert recorded.premium == read_selection_bias(events, selected_epoch=recorded.selected_epoch)
    assert recorded.premium.excess >= 0
    # A finished run tells the same again.
    recipe = make_recipe(training={"epochs": 3})
    again = train(recipe, toy_store, recorded.folder, resume=True, record_test_curve=True)
    assert again == recorded


def test_a_run_cannot_change_its_mind(both, toy_store, make_recipe):
    _, recorded = both
    with pytest.raises(DataError, match="`record_test_curve`"):
        train(make_recipe(training={"epochs": 3}), toy_store, recorded.folder, resume=True)


def test_without_it_the_test_part_is_not_read(toy_store, make_recipe):
    assert plan_run(make_recipe(), toy_store).test is None
    assert len(plan_run(make_recipe(), toy_store, record_test_curve=True).test) == 8
