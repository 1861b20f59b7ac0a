"""Augmentation beside torchvision's: the same pixels, or draws of the same distribution."""

from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from tests.helpers.toy_nets import images as smooth_images
from tests.source_projects.checks.libraries import transforms
from tests.source_projects.rows import Row
from tests.source_projects.workshop import Workshop
from thorax.recipe.load import load_recipe
from thorax.recipe.schema import Augment
from thorax.training.augment import AugmentParams, apply_augment, draw_augment, draw_mixup


def some_pixels(count: int = 2) -> Tensor:
    """Smooth prepared images of 64 pixels."""
    return (smooth_images(count)[:, 0] * 255).round().to(torch.uint8)


def neutral(count: int, **changes: Tensor) -> AugmentParams:
    """Parameters that change nothing but what is given."""
    ones, zeros = torch.ones(count), torch.zeros(count)
    settings: dict[str, Tensor] = {
        "theta": torch.eye(2, 3).expand(count, 2, 3), "flip": zeros.bool(), "gain": ones, "contrast": ones,
        "brightness": zeros, "gamma": ones, "erased": torch.zeros(count, 4),
    }  # fmt: skip
    return AugmentParams(**(settings | changes))


def applied(pixels: Tensor, params: AugmentParams, **settings: Any) -> Tensor:
    """The images at the size of the pixels."""
    return apply_augment(pixels, params, spec=Augment(**settings), input_size=pixels.shape[-1])


def as_torchvision(row: Row, workshop: Workshop) -> None:
    """Flip, brightness, contrast, rotation and crop give torchvision's pixels."""
    functional, pixels = transforms.functional, some_pixels()
    images = pixels[:, None].float() / 255
    flipped = applied(pixels, neutral(2, flip=torch.ones(2).bool()), flip=0.5)
    torch.testing.assert_close(flipped, functional.hflip(images))
    bright = applied(pixels, neutral(2, gain=torch.full((2,), 1.3)), gain=0.3)
    torch.testing.assert_close(bright, functional.adjust_brightness(images, 1.3))
    strong = applied(pixels, neutral(2, contrast=torch.full((2,), 0.6)), contrast=0.4)
    torch.testing.assert_close(strong, functional.adjust_contrast(images, 0.6), atol=1e-5, rtol=1e-5)
    angle = torch.deg2rad(torch.tensor(20.0))
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0]])
    rotated = applied(pixels, neutral(2, theta=turn.expand(2, 2, 3)), rotate=20.0)
    bilinear = transforms.InterpolationMode.BILINEAR
    expected = functional.rotate(images, 20.0, interpolation=bilinear)
    # At the rim torchvision mixes in the black around the image; inside, the pixels are equal.
    torch.testing.assert_close(rotated[..., 16:48, 16:48], expected[..., 16:48, 16:48], atol=1e-4, rtol=1e-4)
    box = torch.tensor([[0.5, 0.0, -0.5], [0.0, 0.5, 0.25]])
    cropped = applied(pixels, neutral(2, theta=box.expand(2, 2, 3)), crop_area=(0.25, 1.0))
    expected = functional.resized_crop(images, top=24, left=0, height=32, width=32, size=[64, 64])
    torch.testing.assert_close(cropped[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-4, rtol=1e-4)


def flips(row: Row, workshop: Workshop) -> None:
    """The recipe mirrors as many images as torchvision's transform does by default."""
    spec, count = load_recipe(row.recipe).augment, 4000
    drawn = draw_augment(spec, seed=0, epoch=0, positions=np.arange(count))
    share = getattr(transforms, row.source["torchvision"])().p
    assert stats.binomtest(int(drawn.flip.sum()), count, share).pvalue > 1e-3
    pixels = some_pixels()
    images = applied(pixels, neutral(2, flip=torch.tensor([True, False])), flip=spec.flip)
    plain = pixels[:, None].float() / 255
    assert torch.equal(images[0], plain[0].flip(-1))
    assert torch.equal(images[1], plain[1])


def crops(row: Row, workshop: Workshop) -> None:
    """Where no side is shortened, areas and aspects of the crops are distributed as torchvision's."""
    recipe, count = load_recipe(row.recipe), 4000
    assert recipe.model.input_size == row.source["size"]
    drawn = draw_augment(recipe.augment, seed=0, epoch=0, positions=np.arange(count))
    width, height = drawn.theta[:, 0, 0].double().numpy(), drawn.theta[:, 1, 1].double().numpy()
    crop = getattr(transforms, row.source["torchvision"])(row.source["size"])
    torch.manual_seed(0)
    image = torch.zeros(1, 1000, 1000)
    boxes = np.array([crop.get_params(image, crop.scale, crop.ratio) for _ in range(count)]) / 1000
    whole = (width < 1) & (height < 1)
    assert 0.8 < whole.mean() < 0.9
    for ours, theirs in (
        ((width * height)[whole], boxes[:, 2] * boxes[:, 3]),
        ((width / height)[whole], boxes[:, 3] / boxes[:, 2]),
    ):
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-3


def changes_images(row: Row, workshop: Workshop) -> None:
    """The recipe's setting changes images, and without it nothing does."""
    name = row.source["setting"]
    spec = Augment(**{name: getattr(load_recipe(row.recipe).augment, name)})
    pixels = some_pixels(8)
    plain = pixels[:, None].float() / 255
    drawn = draw_augment(spec, seed=0, epoch=0, positions=np.arange(8))
    images = apply_augment(pixels, drawn, spec=spec, input_size=64)
    assert (images - plain).abs().amax(dim=(1, 2, 3)).min() > 0.01
    assert torch.equal(applied(pixels, neutral(8)), plain)


def erases(row: Row, workshop: Workshop) -> None:
    """As many images lose a rectangle as in the source; it is filled with the image's mean."""
    spec, count = load_recipe(row.recipe).augment, 4000
    drawn = draw_augment(spec, seed=0, epoch=0, positions=np.arange(count))
    erased = int((drawn.erased[:, 2] > 0).sum())
    assert stats.binomtest(erased, count, row.source["probability"]).pvalue > 1e-3
    pixels, box = some_pixels(1), torch.tensor([[0.25, 0.5, 0.75, 1.0]])
    images = applied(pixels, neutral(1, erased=box), erase=0.5)
    expected = pixels[:, None].float() / 255
    expected[..., 16:48, 32:] = expected.mean()
    torch.testing.assert_close(images, expected)


def mixup(row: Row, workshop: Workshop) -> None:
    """Shares are drawn from the beta distribution of the source's alpha."""
    alpha = load_recipe(row.recipe).augment.mixup
    shares = draw_mixup(alpha, seed=0, epoch=0, positions=np.arange(4000)).numpy()
    expected = stats.beta(row.source["alpha"], row.source["alpha"])
    assert stats.kstest(np.clip(shares, 1e-12, 1 - 1e-7), expected.cdf).statistic < 0.03
