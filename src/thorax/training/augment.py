"""Augmentation in two steps: draw parameters, then apply them.

Parameters are a pure function of (seed, epoch, position of the image in the epoch), computed on the CPU.
Applying them is a pure function of pixels and parameters, for a whole batch at once, on the device.

All geometric changes are combined into one affine map, so that pixels are interpolated only once. In order,
the image is sheared and shifted, then rotated and zoomed around the center of the frame; a box is cropped
from the result, stretched to the net's input and possibly mirrored. Gray values change in the order of the
fields of `AugmentParams`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from thorax.arrays import Rows
from thorax.models.tensors import Images, KnownTensor, PixelsTensor, TargetsTensor, Theta
from thorax.models.test_time_views import shrink_factor, to_input, warp
from thorax.randomness import uniform
from thorax.recipe.schema import Augment

__all__ = ["AugmentParams", "apply_augment", "draw_augment", "draw_mixup", "mix_images", "mix_targets"]

_AREA = (0.02, 0.2)
"""Fraction of the image's area that an erased rectangle covers."""

_ASPECT = (0.5, 2.0)
"""Height over width of an erased rectangle."""

_NONE = (1.0, 1.0)
"""A range of factors that changes nothing."""

_TRIES = 32
"""Draws from which mixup takes the first that Joehnk's method accepts; all fail at most once in 2**32."""

_COLUMNS = 19
"""Random numbers per image. Each use keeps its column forever: new ones are added at the end, so that recipes
without them draw the same numbers as before."""


@dataclass(frozen=True)
class AugmentParams:
    """Augmentation parameters of a batch, one entry per image; drawn on the CPU.

    Attributes:
        theta: Affine map from output to input, as `models.test_time_views.warp` takes it.
        flip: Whether the result is then mirrored left to right.
        gain: Factor on all pixels, which are then clamped to [0, 1].
        contrast: Factor on the distance from the image's mean.
        brightness: Offset added next; the result is clamped to [0, 1].
        gamma: Exponent on that.
        erased: Top, left, bottom and right of the rectangle that is then filled with the image's mean, as
            fractions of the side; all 0 for none.
    """

    theta: Theta
    flip: Bool[Tensor, " batch"]
    gain: Float[Tensor, " batch"]
    contrast: Float[Tensor, " batch"]
    brightness: Float[Tensor, " batch"]
    gamma: Float[Tensor, " batch"]
    erased: Float[Tensor, "batch 4"]

    def to(self, device: torch.device) -> "AugmentParams":
        """Return the parameters on a device; a GPU copies them in one piece while the CPU continues."""
        if device.type == "cpu":
            return self
        columns = [
            value.float().flatten(1) if value.ndim > 1 else value.float()[:, None]
            for value in vars(self).values()
        ]
        packed = torch.cat(columns, dim=1).pin_memory().to(device, non_blocking=True)
        theta, flip, gain, contrast, brightness, gamma, erased = torch.split(
            packed, [6, 1, 1, 1, 1, 1, 4], dim=1
        )
        return AugmentParams(
            theta=theta.reshape(-1, 2, 3),
            flip=flip[:, 0] > 0,
            gain=gain[:, 0],
            contrast=contrast[:, 0],
            brightness=brightness[:, 0],
            gamma=gamma[:, 0],
            erased=erased,
        )


def draw_augment(spec: Augment, *, seed: int, epoch: int, positions: Rows) -> AugmentParams:
    """Draw parameters for the images at these positions of an epoch."""
    columns = uniform(seed, "augment", epoch=epoch, positions=positions, count=_COLUMNS).T
    flip, turn, right, down, zoom, contrast, brightness, gamma = columns[:8]
    shear, *box, gain = columns[13:]
    theta = _affine(spec, np.stack([turn, right, down, zoom, shear]))
    return AugmentParams(
        theta=_tensor(_cropped(theta, spec, np.stack(box))),
        flip=torch.from_numpy(flip < spec.flip),
        gain=_tensor(1 + _either_way(gain, spec.gain)),
        contrast=_tensor(1 + _either_way(contrast, spec.contrast)),
        brightness=_tensor(_either_way(brightness, spec.brightness)),
        gamma=_tensor(_log_range(gamma, spec.gamma)),
        erased=_tensor(_rectangles(columns[8:13], spec.erase)),
    )


def apply_augment(pixels: PixelsTensor, params: AugmentParams, *, spec: Augment, input_size: int) -> Images:
    """Return images in [0, 1] at the net's input size.

    Which operations run depends only on the recipe's section, never on the drawn parameters, so that no value
    has to be read from the device and the operations can be compiled into few kernels. Without any
    augmentation the result is bit for bit that of `to_input`. Neutral parameters change nothing, except that
    an image that could have been moved is resampled along the identity, which rounds its coordinates.

    Args:
        pixels: Prepared images, on any device.
        params: Parameters of each image, on the same device.
        spec: The section from which the parameters were drawn.
        input_size: Side of the net's input.
    """
    images = _resampled(pixels, params.theta, spec, input_size)
    if spec.flip:
        images = torch.where(_per_image(params.flip), images.flip(-1), images)
    if spec.gain:
        images = (images * _per_image(params.gain)).clamp(0, 1)
    if spec.contrast or spec.brightness:
        change = _per_image(params.contrast - 1)
        images = images + change * (images - _means(images)) + _per_image(params.brightness)
        images = images.clamp(0, 1)
    if spec.gamma != _NONE:
        images = images.pow(_per_image(params.gamma))
    if spec.erase:
        images = torch.where(_inside(params.erased, images), _means(images), images)
    return images


def draw_mixup(alpha: float, *, seed: int, epoch: int, positions: Rows) -> Float[Tensor, " batch"]:
    """Draw each image's share of its own mixture from the beta distribution with both parameters `alpha`.

    Joehnk's method (Metrika 8, 1964): of two uniform numbers u and v, with x = u**(1/alpha) and
    y = v**(1/alpha), the first pair with x + y <= 1 gives x / (x + y).

    Args:
        alpha: In (0, 1].
        seed: The run's seed.
        epoch: Which pass over the data.
        positions: Positions in the epoch.
    """
    drawn = uniform(seed, "mixup", epoch=epoch, positions=positions, count=2 * _TRIES)
    # In logarithms: with alpha 0.01, u**(1/alpha) is below the smallest float64 for half of all u.
    log_x, log_y = np.log(np.maximum(drawn, 2.0**-54)).reshape(-1, _TRIES, 2).transpose(2, 0, 1) / alpha
    log_sum = np.logaddexp(log_x, log_y)
    first = np.argmax(log_sum <= 0, axis=1)[:, None]
    return _tensor(np.exp(np.take_along_axis(log_x - log_sum, first, axis=1))[:, 0])


def mix_images(
    images: Float[Tensor, "images 1 height width"], share: Float[Tensor, " batch"]
) -> Float[Tensor, "batch 1 height width"]:
    """Return each image mixed with the one before it in the batch (the first with the last).

    Args:
        images: A batch in random order; or a part of one, behind the image before it.
        share: The share of each image in its own mixture.
    """
    if len(images) > len(share):
        return _mixed(images[1:], images[:-1], share)
    return _mixed(images, images.roll(1, dims=0), share)


def mix_targets(
    targets: TargetsTensor, known: KnownTensor, share: Float[Tensor, " batch"]
) -> tuple[TargetsTensor, KnownTensor]:
    """Return the targets of `mix_images`; a mixed target is known if both are."""
    return _mixed(targets, targets.roll(1, dims=0), share), known & known.roll(1, dims=0)


def _mixed(values: Tensor, before: Tensor, share: Float[Tensor, " batch"]) -> Tensor:
    own = share.reshape(-1, *[1] * (values.ndim - 1))
    return own * values + (1 - own) * before


def _affine(spec: Augment, drawn: Float64[np.ndarray, "5 n"]) -> Float64[np.ndarray, "n 2 3"]:
    """Return maps from the transformed to the original image: rotate and scale, then shift, then shear."""
    turn, right, down, zoom, shear = drawn
    angle = np.deg2rad(_either_way(turn, spec.rotate))
    scale = 1 / _log_range(zoom, spec.zoom)
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    # Coordinates run from -1 to 1: a shift by the whole side is 2.
    shift_x, shift_y = 2 * _either_way(right, spec.translate), 2 * _either_way(down, spec.translate)
    lean = np.tan(np.deg2rad(_either_way(shear, spec.shear)))
    above = [cosine + lean * sine, lean * cosine - sine, shift_x + lean * shift_y]
    return np.stack([*above, sine, cosine, shift_y], axis=1).reshape(-1, 2, 3)


def _cropped(
    theta: Float64[np.ndarray, "n 2 3"], spec: Augment, drawn: Float64[np.ndarray, "4 n"]
) -> Float64[np.ndarray, "n 2 3"]:
    """Return the maps from a box drawn in the transformed image.

    As in torchvision's RandomResizedCrop, the area is drawn uniformly, the aspect log-uniformly, and the
    position uniformly among those inside. A side longer than the image's is shortened to it; torchvision
    draws again.
    """
    area, aspect, x, y = drawn
    area = spec.crop_area[0] + area * (spec.crop_area[1] - spec.crop_area[0])
    aspect = _log_range(aspect, spec.crop_aspect)
    size = np.stack([np.minimum(np.sqrt(area * aspect), 1), np.minimum(np.sqrt(area / aspect), 1)], axis=1)
    center = (1 - size) * (2 * np.stack([x, y], axis=1) - 1)
    linear, shift = theta[:, :, :2], theta[:, :, 2]
    shift = shift + (linear * center[:, None, :]).sum(axis=2)
    return np.concatenate([linear * size[:, None, :], shift[:, :, None]], axis=2)


def _either_way(drawn: Float64[np.ndarray, " n"], largest: float) -> Float64[np.ndarray, " n"]:
    return (2 * drawn - 1) * largest


def _log_range(drawn: Float64[np.ndarray, " n"], limits: tuple[float, float]) -> Float64[np.ndarray, " n"]:
    low, high = limits
    return np.asarray(low * (high / low) ** drawn)


def _rectangles(drawn: Float64[np.ndarray, "5 n"], probability: float) -> Float64[np.ndarray, "n 4"]:
    erases, area, aspect, down, right = drawn
    area = _AREA[0] + area * (_AREA[1] - _AREA[0])
    aspect = _log_range(aspect, _ASPECT)
    height, width = np.sqrt(area * aspect), np.sqrt(area / aspect)
    top, left = down * (1 - height), right * (1 - width)
    rectangles = np.stack([top, left, top + height, left + width], axis=1)
    return np.where((erases < probability)[:, None], rectangles, 0.0)


def _tensor(values: Float64[np.ndarray, "..."]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _resampled(pixels: PixelsTensor, theta: Theta, spec: Augment, size: int) -> Images:
    if not _moves(spec):
        return to_input(pixels, size)
    side = pixels.shape[-1]
    first, *others = _possible_factors(spec, side, size)
    images = warp(pixels, theta, size, factor=first)
    if others:
        # Each image is averaged according to the region that it shows, so that crops are not blurred too
        # much.
        (a, b), (c, d) = theta[:, 0, :2].unbind(1), theta[:, 1, :2].unbind(1)
        shown = torch.round(side * (a * d - b * c).abs().sqrt())
        factors = (shown / size - 0.5).ceil()
        for factor in others:
            applies = _per_image(factors >= factor)
            images = torch.where(applies, warp(pixels, theta, size, factor=factor), images)
    return images


def _moves(spec: Augment) -> bool:
    """Return whether any pixel can move."""
    ranges = (spec.zoom, spec.crop_area, spec.crop_aspect)
    return bool(spec.rotate or spec.translate or spec.shear) or any(limits != _NONE for limits in ranges)


def _possible_factors(spec: Augment, side: int, size: int) -> range:
    """Return the possible sides of averaged areas, from the smallest crop to the largest."""
    area, (low, high) = spec.crop_area[0], spec.crop_aspect
    # A side longer than the image's is shortened, so the area may be smaller than the drawn one.
    smallest = min(min((area * r) ** 0.5, 1) * min((area / r) ** 0.5, 1) for r in (low, high)) ** 0.5
    fractions = (smallest / spec.zoom[1], spec.crop_area[1] ** 0.5 / spec.zoom[0])
    least, most = (shrink_factor(round(side * fraction), size) for fraction in fractions)
    return range(least, most + 1)


def _per_image(values: Tensor) -> Tensor:
    """Reshape one value per image so that it broadcasts over pixels."""
    return values.reshape(-1, 1, 1, 1)


def _means(images: Images) -> Float[Tensor, "batch 1 1 1"]:
    return images.mean(dim=(1, 2, 3), keepdim=True)


def _inside(rectangles: Float[Tensor, "batch 4"], like: Images) -> Bool[Tensor, "batch 1 size size"]:
    """Return which pixel centers lie in the rectangles."""
    size = like.shape[-1]
    center = (torch.arange(size, device=like.device) + 0.5) / size
    top, left, bottom, right = (side[:, None] for side in rectangles.unbind(1))
    rows = (center >= top) & (center < bottom)
    columns = (center >= left) & (center < right)
    return (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
