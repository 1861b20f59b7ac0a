import dataclasses

import numpy as np
import pandas as pd
import pytest

from thorax.errors import DataError, RecipeError
from thorax.training.plan import plan_run


def relabeled(store, change):
    """Return the store with other labels."""
    frame = store.table.frame.copy()
    change(frame)
    return dataclasses.replace(store, table=dataclasses.replace(store.table, frame=frame))


def test_a_finding_without_a_positive_is_announced(toy_store, make_recipe):
    def without_mass(frame):
        frame.loc[frame["official"] == "train", "Mass"] = 0

    notices = plan_run(make_recipe(), relabeled(toy_store, without_mass)).notices
    notice = (
        "Mass: no positive among the 96 training images, so the net can only learn to predict its absence; "
        "prepare more images, or leave it out of data.findings"
    )
    assert notices == (notice,)
    assert plan_run(make_recipe(), toy_store).notices == ()


def test_a_sample_without_a_part_is_announced_as_too_small(toy_store, make_recipe):
    with pytest.raises(
        RecipeError, match=r"data.sample = 1 is too few: none of the sample is in the \w+ part"
    ):
        plan_run(make_recipe(data={"sample": 1}), toy_store)


def test_f11_a_finding_without_a_negative_is_announced(toy_store, make_recipe):
    """As in CheXpert's column No Finding, which has 1 or nothing."""

    def only_positives(frame):
        frame.loc[frame["Mass"] == 0, "Mass"] = pd.NA

    notices = plan_run(make_recipe(), relabeled(toy_store, only_positives)).notices
    notice = (
        "Mass: no negative among the 96 training images, so the net can only learn to predict its presence; "
        "write 0 where it is absent, or leave it out of data.findings"
    )
    assert notices == (notice,)


def test_a_validation_part_without_both_classes_cannot_select_by_auc(toy_store, make_recipe):
    def one_class(frame):
        frame.loc[frame["official"] == "val", ["Effusion", "Mass"]] = 0

    store = relabeled(toy_store, one_class)
    with pytest.raises(
        DataError, match="no finding has both positives and negatives among the 40 validation"
    ):
        plan_run(make_recipe(), store)
    recipe = make_recipe(selection={"metric": "loss"})
    assert len(plan_run(recipe, store).val) == 40
    stopping = make_recipe(selection={"metric": "loss"}, early_stopping={"metric": "macro-auc"})
    with pytest.raises(DataError, match=r"`selection\.metric=loss`"):
        plan_run(stopping, store)


def test_a_validation_part_without_labels_is_refused(toy_store, make_recipe):
    def unlabeled(frame):
        frame.loc[frame["official"] == "val", ["Effusion", "Mass"]] = -1

    with pytest.raises(
        DataError, match=r"none of the 40 validation images .* has a certain label for Effusion, Mass"
    ):
        plan_run(make_recipe(), relabeled(toy_store, unlabeled))


def test_parts_share_no_patient(toy_store, make_recipe):
    plan = plan_run(make_recipe(), toy_store)
    assert not set(plan.patients(plan.train)) & set(plan.patients(plan.val))
    assert np.intersect1d(plan.train.rows, plan.val.rows).size == 0
    assert (plan.trained_on.part, plan.selected_on.part) == ("train", "val")
