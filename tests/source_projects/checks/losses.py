"""The losses of the recipes beside torch's, or beside the source's own few lines."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.recipe.load import load_recipe
from thorax.recipe.schema import Loss
from thorax.training.logbook import read_log
from thorax.training.losses import loss_function


def labels(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and targets of 200 images and 14 findings, of which each has positives and negatives."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((200, 14)) < np.linspace(0.05, 0.6, 14)).astype(np.float32)
    assert ((targets.sum(axis=0) > 0) & (targets.sum(axis=0) < 200)).all()
    return torch.from_numpy(rng.normal(-1, 2, (200, 14)).astype(np.float32)), torch.from_numpy(targets)


def ours(spec: Loss, logits: Tensor, targets: Tensor) -> float:
    """The recipe's loss, with the labels as its training part."""
    loss = loss_function(spec, positives=targets.sum(dim=0), negatives=(1 - targets).sum(dim=0))
    return float(loss(logits, targets, torch.ones_like(targets, dtype=torch.bool)))


def bce(row: Row, workshop: Workshop) -> None:
    """The loss of torch that the source names."""
    logits, targets = labels()
    theirs = getattr(nn, row.source["loss"])()(logits, targets)
    assert ours(load_recipe(row.recipe).loss, logits, targets) == pytest.approx(float(theirs), rel=1e-6)


def weighted_bce(row: Row, workshop: Workshop) -> None:
    """torch's loss with pos_weight = negatives / positives."""
    logits, targets = labels()
    weight = (1 - targets).sum(dim=0) / targets.sum(dim=0)
    theirs = nn.BCEWithLogitsLoss(pos_weight=weight)(logits, targets)
    assert ours(load_recipe(row.recipe).loss, logits, targets) == pytest.approx(float(theirs), rel=1e-6)


def focal(row: Row, workshop: Workshop) -> None:
    """alpha (1 - exp(-BCE))^gamma BCE of each label, averaged, with the source's alpha and gamma."""
    logits, targets = labels()
    cross_entropy = nn.BCEWithLogitsLoss(reduction="none")(logits, targets)
    easy = 1 - torch.exp(-cross_entropy)
    theirs = (row.source["alpha"] * easy ** row.source["gamma"] * cross_entropy).mean()
    assert ours(load_recipe(row.recipe).loss, logits, targets) == pytest.approx(float(theirs), rel=1e-5)


def balanced_bce(row: Row, workshop: Workshop) -> None:
    """The source's loop over findings: w+ is the share of negatives, w- that of positives."""
    logits, targets = labels()
    probability, epsilon = torch.sigmoid(logits.double()), row.source["epsilon"]
    theirs = 0.0
    for label, predicted in zip(targets.double().T, probability.T, strict=True):
        positive_weight, negative_weight = 1 - label.mean(), label.mean()
        positive = -(positive_weight * label * torch.log(predicted + epsilon)).mean()
        negative = -(negative_weight * (1 - label) * torch.log(1 - predicted + epsilon)).mean()
        theirs += float(positive + negative)
    assert ours(load_recipe(row.recipe).loss, logits, targets) == pytest.approx(theirs, rel=1e-5)


def own_weights(row: Row, workshop: Workshop) -> None:
    """The source's loop over findings, with lists of weights of one's own."""
    logits, targets = labels()
    plus, minus = [0.5 + number for number in range(14)], [2.0 - number / 10 for number in range(14)]
    settings = [f"loss.positive_weights={plus}", f"loss.negative_weights={minus}"]
    loss = load_recipe(row.recipe, settings).loss
    theirs = 0.0
    for column in range(14):
        probability, label = torch.sigmoid(logits[:, column].double()), targets[:, column].double()
        theirs -= float((plus[column] * label * probability.log()).mean())
        theirs -= float((minus[column] * (1 - label) * (1 - probability).log()).mean())
    assert ours(loss, logits, targets) == pytest.approx(theirs, rel=1e-5)


def focal_run(row: Row, workshop: Workshop) -> None:
    """The run that the command made was trained with a focal loss."""
    workshop.show(row)
    run = workshop.folder / "runs" / "dropout"
    assert load_recipe(str(run / "recipe.toml")).loss.kind == "focal"
    assert all(
        np.isfinite(event["loss"]) for event in read_log(run / "log.jsonl") if event["event"] == "steps"
    )
