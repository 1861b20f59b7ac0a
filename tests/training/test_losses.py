import math

import numpy as np
import pytest
import torch

from thorax.recipe.schema import Bce
from thorax.training.losses import loss_function, masked_bce


def test_the_mean_is_over_known_labels_by_hand():
    logits = torch.tensor([[0.0, 2.0], [math.log(3), 50.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    known = torch.tensor([[True, False], [True, False]])
    # -log(1/2) and -log(1 - 3/4).
    assert float(masked_bce(logits, targets, known)) == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_nothing_known_is_zero_with_a_zero_gradient():
    logits = torch.tensor([[1e30, -5.0]], requires_grad=True)
    loss = masked_bce(logits, torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.tolist() == [[0, 0]]


def test_an_unknown_label_never_matters():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(20, 3))).float()
    targets = torch.from_numpy(rng.random((20, 3)) < 0.5).float()
    known = torch.from_numpy(rng.random((20, 3)) < 0.7)
    loss = loss_function(Bce())(logits, targets, known)
    changed = torch.where(known, logits, torch.nan)
    assert torch.equal(loss_function(Bce())(changed, targets, known), loss)
    probability = 1 / (1 + np.exp(-logits.double().numpy()))
    each = -np.log(np.where(targets.numpy() == 1, probability, 1 - probability))
    assert float(loss) == pytest.approx(each[known.numpy()].mean(), rel=1e-6)


def test_half_precision_logits_are_lifted():
    logits = torch.tensor([[20.0]], dtype=torch.bfloat16)
    known = torch.ones(1, 1, dtype=torch.bool)
    loss = masked_bce(logits, torch.ones(1, 1), known)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(math.exp(-20), rel=1e-3)
