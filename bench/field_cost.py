"""What the study `field` would take on one H200: arithmetic from measured rates, not a measurement.

    python bench/field_cost.py

Measured on an H200 (docs/performance.md): DenseNet-121 at 224 pixels in batches of 256 trains 4,875 images/s
and validates 2,692; EfficientNet-B3 at 300 pixels trains 2,218 and validates 2,347. Another network is taken
to be slower as it has more multiplications than DenseNet-121; ViT-B/16 as it is slower in timm's own table
(393 images/s beside 914). Every recipe trains its last epoch, and each epoch also measures the test part
(`test_curve`). The recipes' own batches of 8 to 32 images keep a GPU less busy than those of 256, so that
this is the least that it takes.
"""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from thorax.datasets.nih_splits import NIH_IMAGES, NIH_SPLIT_IMAGES
from thorax.models.backbones import build_backbone
from thorax.recipe.schema import Network, Recipe
from thorax.studies.definition import load_study

DENSENET = Network(backbone="densenet121", weights="none", channels=3, input_size=224)


@dataclass(frozen=True)
class Rates:
    """Images per second."""

    train: float
    validate: float


MEASURED = Rates(4_875, 2_692)
EFFICIENTNET = Rates(2_218, 2_347)
VIT = 393 / 914


def multiplications(network: Network) -> int:
    """Return those of one image in the backbone."""
    backbone = build_backbone(network.model_copy(update={"weights": "none"})).eval()
    image = torch.zeros(1, network.channels, network.input_size, network.input_size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(image)
    return int(counter.get_total_flops()) // 2


def rates_of(recipe: Recipe, relative: float) -> Rates:
    if recipe.name == "efficientnet-b3":
        return EFFICIENTNET
    speed = VIT if recipe.name == "vit-b16" else 1 / relative
    return Rates(MEASURED.train * speed, MEASURED.validate * speed)


def main() -> None:
    study = load_study("field")
    sizes, whole = NIH_SPLIT_IMAGES["nih-official"], multiplications(DENSENET)
    print(f"{'recipe':24}{'multiplications':>16}{'epochs':>8}{'s / epoch':>11}{'h, 5 seeds':>12}")
    total = 0.0
    for name, recipe in study.models().items():
        relative = multiplications(recipe.model) / whole
        rates = rates_of(recipe, relative)
        sample = recipe.data.sample
        train, val = (
            (sample * sizes[part] / NIH_IMAGES if sample else sizes[part]) for part in ("train", "val")
        )
        seconds = train / rates.train + (val + sizes["test"]) / rates.validate
        hours = seconds * recipe.training.epochs * len(study.seeds) / 3600
        total += hours
        print(f"{name:24}{relative:16.2f}{recipe.training.epochs:8}{seconds:11.0f}{hours:12.1f}")
    print(f"{'together':24}{total:47.0f}")


if __name__ == "__main__":
    main()
