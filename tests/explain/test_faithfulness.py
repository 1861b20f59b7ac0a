import numpy as np
import pytest
import torch

from tests.helpers.toy_nets import build, images, powers
from thorax.errors import DataError
from thorax.explain.faithfulness import _blurred, faithfulness
from thorax.explain.torch_explainer import explain


def slow_curve(classifier, before, after, attribution, cells):
    """Slow and obvious: change the cell with the highest mean, ask the net, and so on."""
    size = before.shape[-1] // cells
    corners = [(top * size, left * size) for top in range(cells) for left in range(cells)]
    corners.sort(key=lambda corner: -attribution[corner[0] :, corner[1] :][:size, :size].mean())
    current, found = before.clone(), []
    for corner in [*corners, None]:
        with torch.no_grad():
            found.append(float(torch.sigmoid(classifier(current)[0, 0])))
        if corner is not None:
            top, left = corner
            here = (..., slice(top, top + size), slice(left, left + size))
            current[here] = after[here]
    return found


def test_curves_equal_their_slow_twin():
    classifier, image = build("densenet121").eval(), images(1, size=64)
    attribution = explain(classifier, image, [0], method="occlusion")[0, 0]
    (found,) = faithfulness(classifier, image, 0, attributions=[attribution], cells=8)
    blurred = _blurred(image)
    for curve, pair in ((found.deletion, (image, blurred)), (found.insertion, (blurred, image))):
        np.testing.assert_allclose(
            curve.probability, slow_curve(classifier, *pair, attribution, 8), atol=1e-5
        )
        np.testing.assert_allclose(curve.changed, np.arange(65) / 64)


def test_areas_by_hand():
    """A net that returns 10 mean(x) - 2 of an image with one bright quarter."""
    image = torch.zeros(1, 1, 32, 32)
    image[..., :16, 16:] = 1.0
    classifier = powers([[10.0, 0.0]], bias=-2.0)
    attribution = image[0, 0].numpy()
    (found,) = faithfulness(classifier, image, 0, attributions=[attribution], cells=2)
    blurred = _blurred(image)
    steps = []
    for quarters in range(5):
        current = image.clone()
        # The bright one first, then the others row by row.
        for top, left in [(0, 16), (0, 0), (16, 0), (16, 16)][:quarters]:
            current[..., top : top + 16, left : left + 16] = blurred[..., top : top + 16, left : left + 16]
        steps.append(1 / (1 + np.exp(2 - 10 * float(current.mean()))))
    np.testing.assert_allclose(found.deletion.probability, steps, rtol=1e-5)
    middle = sum(steps[1:4]) + (steps[0] + steps[4]) / 2
    assert found.deletion.area == pytest.approx(middle / 4, rel=1e-5)


def test_a_right_map_beats_chance_and_its_opposite_does_not():
    image = torch.zeros(1, 1, 64, 64)
    image[..., 8:24, 40:56] = 1.0
    classifier = powers([[60.0, 0.0]], bias=-2.0)
    shown = image[0, 0].numpy()
    right, wrong = faithfulness(classifier, image, 0, attributions=[shown, -shown], cells=8)
    (alone,) = faithfulness(classifier, image, 0, attributions=[-shown], cells=8)
    assert alone.deletion_gain == wrong.deletion_gain
    assert right.deletion_gain > 0.1
    assert right.insertion_gain > 0.05
    assert wrong.deletion_gain < 0
    assert wrong.insertion_gain < 0
    # The control knows nothing of the map.
    assert np.array_equal(right.random_deletion.probability, wrong.random_deletion.probability)


def test_ends_do_not_depend_on_the_order():
    classifier, image = build("test_vit").eval(), images(1)
    blank = np.zeros((64, 64), np.float32)
    (found,) = faithfulness(classifier, image, 1, attributions=[blank], cells=5, seed=3)
    for name, other in (("deletion", "random_deletion"), ("insertion", "random_insertion")):
        one, control = getattr(found, name).probability, getattr(found, other).probability
        assert one[[0, -1]] == pytest.approx(control[[0, -1]], abs=1e-6)
        assert len(one) == 26
    np.testing.assert_allclose(found.deletion.probability[0], found.insertion.probability[-1], rtol=1e-5)


def test_blurring_keeps_flat_images_and_takes_the_detail():
    flat = torch.full((1, 1, 40, 40), 0.3)
    torch.testing.assert_close(_blurred(flat), flat)
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert float(_blurred(noise).std()) < 0.2 * float(noise.std())
    assert float(_blurred(noise).mean()) == pytest.approx(float(noise.mean()), abs=0.05)


def test_the_net_is_left_as_it_was():
    classifier = build("densenet121", head={"dropout": 0.5})
    image = images(1)
    shown = [image[0, 0].numpy()]
    (first,), (again,) = (faithfulness(classifier, image, 0, attributions=shown, cells=4) for _ in range(2))
    assert classifier.training
    assert np.array_equal(first.deletion.probability, again.deletion.probability)


@pytest.mark.parametrize(
    ("shown", "attribution", "cells"),
    [
        (images(2), np.zeros((64, 64)), 8),
        (images(1), np.zeros((32, 32)), 8),
        (images(1), np.eye(64), 0),
    ],
)
def test_what_does_not_fit_is_refused(shown, attribution, cells):
    with pytest.raises(DataError, match="give one image and its maps"):
        faithfulness(build("densenet121"), shown, 0, attributions=[attribution], cells=cells)
