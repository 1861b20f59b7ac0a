"""What TorchXRayVision's own resize changes: gray levels of the input, logits, probabilities and decisions.

    python bench/torchxrayvision_resize.py --images nih-originals

TorchXRayVision's transforms are those of its XRayCenterCrop and XRayResizer(224): the central square, then
`skimage.transform.resize` with anti-aliasing. Its network here is a DenseNet-121 of one channel with random
weights, whose batch norms took their statistics from the images; the threshold of each output is the median
of its probabilities over the images, so that decisions are as sensitive as they can be.
"""

import argparse
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.transform import resize
from torch import nn

from thorax.imaging import prepare, read_radiograph
from thorax.models.backbones import timm  # noqa: F401  (makes torchvision importable)
from thorax.recipe.schema import Preparation

torchvision = importlib.import_module("torchvision")

SIDE = 224
OUTPUTS = 14


def central_square(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape
    side = min(height, width)
    top, left = height // 2 - side // 2, width // 2 - side // 2
    return pixels[top : top + side, left : left + side]


def both(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return an image resized by Thorax and by TorchXRayVision, in gray levels from 0 to 255."""
    radiograph = read_radiograph(path)
    ours = prepare(radiograph, Preparation(size=SIDE, fit="crop")).astype(np.float32)
    scaled = (2 * (central_square(radiograph.pixels).astype(np.float32) / 255) - 1) * 1024
    theirs: np.ndarray = resize(  # type: ignore[no-untyped-call]
        scaled[None], (1, SIDE, SIDE), mode="constant", preserve_range=True
    )[0].astype(np.float32)
    return ours, (theirs / 1024 + 1) / 2 * 255


def network(images: torch.Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net: Any = torchvision.models.densenet121(num_classes=OUTPUTS)
    net.features.conv0 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(images)
    trained: nn.Module = net.eval()
    return trained


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    paths = sorted(arguments.images.glob("*.png"))
    ours, theirs = (np.stack(pixels) for pixels in zip(*map(both, paths), strict=True))
    difference = np.abs(ours - theirs)
    print(
        f"{len(paths)} images: gray levels differ by {np.sqrt((difference**2).mean()):.2f} (RMS), "
        f"at most {difference.max():.1f}"
    )
    inputs = [torch.tensor((2 * pixels / 255 - 1) * 1024)[:, None] for pixels in (ours, theirs)]
    changed, logit, probability = [], [], []
    for seed in range(arguments.seeds):
        net = network(inputs[1], seed)
        with torch.no_grad():
            logits = [net(images) for images in inputs]
        threshold = logits[1].median(dim=0).values
        changed.append(int(((logits[0] >= threshold) != (logits[1] >= threshold)).sum()))
        logit.append(float((logits[0] - logits[1]).abs().max()))
        probability.append(float((logits[0].sigmoid() - logits[1].sigmoid()).abs().max()))
        spread = float(logits[1].std(dim=0).mean())
        print(
            f"seed {seed}: {changed[-1]} of {len(paths) * OUTPUTS} decisions differ; logits by at most "
            f"{logit[-1]:.3f} (standard deviation over the images {spread:.3f}), probabilities by "
            f"{probability[-1]:.3f}"
        )
    print(
        f"all: {sum(changed)} of {len(paths) * OUTPUTS * arguments.seeds} decisions differ; logits by at "
        f"most {max(logit):.3f}, probabilities by {max(probability):.3f}"
    )


if __name__ == "__main__":
    main()
