"""The networks of the recipes beside torchvision's and timm's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from tests.helpers.toy_nets import build
from tests.helpers.toy_nets import images as smooth_images
from tests.source_projects.checks.libraries import models, transforms
from tests.source_projects.checks.runs import trained
from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.bundle import load_bundle
from thorax.explain.cam import gradient_cam
from thorax.inference.torch_engine import load_member
from thorax.models import Classifier, build_classifier
from thorax.models.backbones import timm
from thorax.models.heads import log_sum_exp
from thorax.models.tensors import pick_device
from thorax.recipe.load import load_recipe
from thorax.recipe.schema import Network
from thorax.training.compute import pick_compute
from thorax.training.learner import Learner, build_optimizer
from thorax.training.losses import masked_bce


def untrained(row: Row, **changes: Any) -> Classifier:
    """The recipe's net with random weights, in evaluation mode."""
    torch.manual_seed(0)
    recipe = load_recipe(row.recipe)
    model = Network.model_validate(recipe.model.model_dump() | {"weights": "none"} | changes)
    return build_classifier(model, len(recipe.data.finding_tuple())).eval()


def normalized(images: Tensor, model: Network) -> Tensor:
    """Three channels, normalized by torchvision with the recipe's constants."""
    three = images.expand(-1, 3, -1, -1)
    result: Tensor = transforms.Normalize(
        model.mean * (3 // len(model.mean)), model.std * (3 // len(model.std))
    )(three)
    return result


def densenet121(row: Row, workshop: Workshop) -> None:
    """With the weights of torchvision's net, the features of the recipe's backbone are its features."""
    recipe = load_recipe(row.recipe)
    assert recipe.model.weights == f"timm:{row.source['weights']}"
    assert row.source["weights"] in published_tags(recipe.model.backbone)
    torch.manual_seed(0)
    theirs = getattr(models, row.source["torchvision"])().eval()
    ours = untrained(row)
    ours.backbone.features.load_state_dict(theirs.features.state_dict())
    images = smooth_images(2, recipe.model.input_size)
    with torch.no_grad():
        expected = theirs.features(normalized(images, recipe.model)).relu()
        torch.testing.assert_close(ours.features(images), expected, atol=1e-5, rtol=1e-4)
        if recipe.model.head.pool == "backbone":
            vectors = ours.backbone.forward_head(ours.features(images))
            torch.testing.assert_close(vectors, expected.mean(dim=(2, 3)), atol=1e-5, rtol=1e-4)


def trained_densenet121(row: Row, workshop: Workshop) -> None:
    """As above, and the recipe trains."""
    densenet121(row, workshop)
    trained(row, workshop)


def published_tags(backbone: str) -> list[str]:
    """Names of the weights that timm publishes for a net."""
    return [name.partition(".")[2] for name in timm.list_pretrained(f"{backbone}.*")]


def published_weights(row: Row, workshop: Workshop) -> None:
    """timm publishes weights of that name, made for the source's size and constants."""
    model, source = load_recipe(row.recipe).model, row.source
    assert model.weights == f"timm:{source['weights']}"
    assert source["weights"] in published_tags(model.backbone)
    published = timm.get_pretrained_cfg(f"{model.backbone}.{source['weights']}")
    assert published.hf_hub_id
    assert published.input_size == (3, source["size"], source["size"])
    assert set(published.mean) == set(published.std) == {source["mean"]} == set(model.mean)


def linear_head(row: Row, workshop: Workshop) -> None:
    """One linear layer from the features to the source's outputs."""
    head = untrained(row).head
    assert isinstance(head, nn.Linear)
    assert head.out_features == row.source["outputs"]


def head_follows_findings(row: Row, workshop: Workshop) -> None:
    """As many outputs as findings."""
    findings = row.source["findings"]
    recipe = load_recipe(row.recipe, [f"data.findings={list(findings)}", "model.weights=none"])
    assert [finding.name for finding in recipe.data.finding_tuple()] == list(findings)
    classifier = build_classifier(recipe.model, len(recipe.data.finding_tuple())).eval()
    with torch.no_grad():
        assert classifier(smooth_images(2, recipe.model.input_size)).shape == (2, len(findings))


def vit_base(row: Row, workshop: Workshop) -> None:
    """Patches and weights of torchvision's ViT-B/16 with as many outputs."""
    ours, source = untrained(row), row.source
    with torch.device("meta"):
        theirs = getattr(models, source["torchvision"])(num_classes=14)
    assert load_recipe(row.recipe).model.input_size == theirs.image_size == source["size"]
    assert ours.backbone.patch_embed.patch_size == (source["patch"],) * 2
    assert weights(ours) == weights(theirs)


def efficientnet_b3(row: Row, workshop: Workshop) -> None:
    """As many weights as the source says, with ImageNet's outputs; torchvision's net has as many."""
    with torch.device("meta"):
        ours = timm.create_model(load_recipe(row.recipe).model.backbone)
        theirs = models.efficientnet_b3()
    assert weights(ours) == weights(theirs)
    assert round(weights(ours) / 1e6) == row.source["millions"]


def imported_efficientnet(row: Row, workshop: Workshop) -> None:
    """The bundle has the logits of torchvision's net with the weights of the file."""
    workshop.show(row)
    theirs = models.efficientnet_b3(num_classes=row.source["outputs"]).eval()
    theirs.load_state_dict(torch.load(workshop.folder / "best_efficientnet_b3.pth", weights_only=True))
    bundle = load_bundle(workshop.folder / "bundles" / "b3")
    (member,) = bundle.manifest.members
    assert member.model.input_size == row.source["size"]
    images = smooth_images(2, 320)[..., :300, :300]
    with torch.no_grad():
        ours = load_member(bundle, member).eval()(images)
        torch.testing.assert_close(ours, theirs(normalized(images, member.model)), atol=1e-4, rtol=1e-4)


def weights(net: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in net.parameters())


def normalizes(row: Row, workshop: Workshop) -> None:
    """What the backbone receives is what torchvision's Normalize gives."""
    source, classifier = row.source, untrained(row, arguments={"depth": 1, "embed_dim": 12, "num_heads": 3})
    received: list[Tensor] = []
    classifier.backbone.patch_embed.register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
    images = smooth_images(2, 224)
    with torch.no_grad():
        classifier(images)
    normalize = getattr(transforms, source["torchvision"])([source["mean"]] * 3, [source["std"]] * 3)
    torch.testing.assert_close(received[0], normalize(images.expand(-1, 3, -1, -1)))


def lse(row: Row, workshop: Workshop) -> None:
    """(1/r) log mean exp(r x) over places, with the source's r."""
    head, r = load_recipe(row.recipe).model.head, row.source["r"]
    assert head.pool == "lse"
    maps = torch.randn(2, 5, 7, 7, generator=torch.Generator().manual_seed(0))
    expected = torch.exp(r * maps.double()).mean(dim=(2, 3)).log() / r
    torch.testing.assert_close(log_sum_exp(maps, head.lse_r).double(), expected, atol=1e-5, rtol=1e-5)


def device(row: Row, workshop: Workshop) -> None:
    """`auto` is the GPU where torch finds one."""
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def trains(row: Row, workshop: Workshop) -> None:
    """The recipe with another net takes a step, and all its weights get a gradient."""
    torch.manual_seed(0)
    recipe = load_recipe(row.recipe, [f"model.backbone={row.source['backbone']}", "model.weights=none"])
    classifier = build_classifier(recipe.model, 14)
    optimizer = build_optimizer(recipe.optim, classifier, distances=None)
    images = smooth_images(2, 96)
    targets = torch.zeros(2, 14)
    loss = masked_bce(classifier(images), targets, torch.ones_like(targets, dtype=torch.bool))
    assert bool(torch.isfinite(loss))
    torch.autograd.backward(loss)
    assert [name for name, weight in classifier.named_parameters() if weight.grad is None] == []
    before = (
        classifier.head[-1].weight.clone()
        if isinstance(classifier.head, nn.Sequential)
        else classifier.head.weight.clone()
    )
    optimizer.step()
    after = (
        classifier.head[-1].weight if isinstance(classifier.head, nn.Sequential) else classifier.head.weight
    )
    assert not torch.equal(before, after)


def grad_cam(row: Row, workshop: Workshop) -> None:
    """At the centers of its places our map is proportional to pytorch-grad-cam's."""
    classifier, images, stride = build("densenet121").eval(), smooth_images(1, 160), 32
    ours = gradient_cam(classifier, images, [0], method="grad-cam")[0, 0].numpy()
    with GradCAM(model=classifier, target_layers=[classifier.backbone.features]) as theirs:
        drawn = theirs(input_tensor=images, targets=[ClassifierOutputTarget(0)])[0]
    centers = slice(stride // 2, None, stride)
    ours, drawn = ours[centers, centers], drawn[centers, centers]
    # Theirs is stretched to [0, 1].
    stretched = (ours - ours.min()) / (ours.max() - ours.min())
    assert ours.shape == (5, 5)
    assert np.unravel_index(stretched.argmax(), ours.shape) == np.unravel_index(drawn.argmax(), ours.shape)
    np.testing.assert_allclose(stretched, drawn, atol=0.05)


def convolution_head(row: Row, workshop: Workshop) -> None:
    """The source's convolutions lie between the backbone and the mean; the recipe trains."""
    trained(row, workshop)
    layers = list(untrained(row).head.modules())
    convolutions = [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)]
    assert convolutions == list(row.source["convolutions"])
    means = [number for number, layer in enumerate(layers) if isinstance(layer, nn.AdaptiveAvgPool2d)]
    assert means > [number for number, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)][-1:]


def scaled_gradients(row: Row, workshop: Workshop) -> None:
    """A step in float16 with torch's scaler has nearly the loss of one in float32."""
    small = ["model.backbone=test_efficientnet", "model.weights=none", "model.input_size=64"]
    recipe = load_recipe(row.recipe, small)
    images, counts = smooth_images(8), np.ones(15)
    targets = (torch.rand(8, 15, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    losses = []
    for dtype in (torch.float32, torch.float16):
        compute = replace(pick_compute("cpu", "auto"), dtype=dtype)
        learner = Learner(recipe, positives=counts, negatives=counts, steps=1, compute=compute)
        learner.step(images, targets, targets >= 0, lr=1e-3, epoch_step=0, step=0)
        losses.append(float(learner.losses[0]))
        assert type(learner._scaler).__name__ == row.source["scaler"]
        assert bool(learner.extra()["scaler"]) == (dtype == torch.float16)
    assert losses[1] == pytest.approx(losses[0], abs=5e-3)


def dropout(row: Row, workshop: Workshop) -> None:
    """A net that trains drops features; the bundle of the run does not."""
    workshop.show(row)
    run = workshop.folder / "runs" / "dropout"
    (member,) = load_bundle(Path(run)).manifest.members
    assert member.model.head.dropout == row.source["dropout"]
    torch.manual_seed(0)
    classifier, images = build_classifier(member.model, 15), smooth_images(2)
    classifier.backbone.eval()
    assert not torch.equal(classifier(images), classifier(images))
    classifier.eval()
    assert torch.equal(classifier(images), classifier(images))
