import numpy as np
import pytest
import torch

from thorax.arrays import NOT_LABELED, UNCERTAIN
from thorax.errors import RecipeError
from thorax.randomness import permutation
from thorax.recipe.schema import Data
from thorax.training.batches import PartPixels, known_labels, steps_per_epoch, training_batches
from thorax.training.plan import plan_run


@pytest.mark.parametrize(
    ("uncertain", "targets", "known"),
    [
        ("ignore", [1, 0, 0, 0], [True, True, False, False]),
        ("positive", [1, 0, 1, 0], [True, True, True, False]),
        ("negative", [1, 0, 0, 0], [True, True, True, False]),
    ],
)
def test_what_an_uncertain_label_means(uncertain, targets, known):
    labels = torch.tensor([[1, 0, UNCERTAIN, NOT_LABELED]], dtype=torch.int8)
    found = known_labels(labels, uncertain)
    assert found[0].int().tolist() == [targets]
    assert found[1].tolist() == [known]


CPU = torch.device("cpu")
DATA = Data(findings=("Effusion", "Mass"))


def test_an_epoch_is_its_order_in_whole_batches(toy_store, make_recipe):
    part = plan_run(make_recipe(), toy_store).train
    batches = list(training_batches(part, PartPixels(part, CPU), DATA, seed=3, epoch=5, batch_size=20))
    assert len(batches) == steps_per_epoch(96, 20) == 4
    order = permutation(3, "order", epoch=5, length=96)[:80]
    pixels = torch.cat([batch.pixels for batch in batches])
    assert np.array_equal(pixels.numpy(), toy_store.pixels(part.rows[order]))
    labels = part.targets[order]
    assert np.array_equal(torch.cat([b.targets for b in batches]).numpy(), labels == 1)
    assert np.array_equal(torch.cat([b.known for b in batches]).numpy(), labels >= 0)
    assert np.array_equal(np.concatenate([b.positions for b in batches]), np.arange(80))


def test_the_rest_of_an_epoch_is_its_tail(toy_store, make_recipe):
    part = plan_run(make_recipe(), toy_store).train
    pixels = PartPixels(part, CPU)
    whole = list(training_batches(part, pixels, DATA, seed=0, epoch=0, batch_size=16))
    rest = list(training_batches(part, pixels, DATA, seed=0, epoch=0, batch_size=16, first_step=4))
    assert len(rest) == 2
    for batch, expected in zip(rest, whole[4:], strict=True):
        assert torch.equal(batch.pixels, expected.pixels)
        assert np.array_equal(batch.positions, expected.positions)


@pytest.mark.parametrize("resident", [True, False])
def test_pixels_are_the_same_wherever_they_lie(resident, toy_store, make_recipe):
    part = plan_run(make_recipe(), toy_store).train
    pixels = PartPixels(part, CPU, resident=resident)
    assert pixels.resident == resident
    assert len(pixels) == 96
    members = np.array([95, 0, 3, 3, 17])
    pixels.expect(members)
    assert np.array_equal(pixels.fetch(members).numpy(), toy_store.pixels(part.rows[members]))


def test_on_a_cpu_the_store_is_not_copied(toy_store, make_recipe):
    part = plan_run(make_recipe(), toy_store).train
    assert not PartPixels(part, CPU).resident


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(RecipeError, match=r"set training\.batch_size=7 or lower"):
        steps_per_epoch(7, 8)


def test_report_089_one_training_image_is_not_advised_a_batch_of_one():
    with pytest.raises(RecipeError, match="part has 1 image, and a batch takes at least 2; choose"):
        steps_per_epoch(1, 32)
