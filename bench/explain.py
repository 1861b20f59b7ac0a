"""What explanations cost in passes of the same net: Grad-CAM and exact CAM for 14 findings of one image.

    python bench/explain.py [--device cpu] [--rounds 15] [--backbone NAME ...]

A pair is one pass forward and one back through the whole net, as a training step without the optimiser has
it. To reach: Grad-CAM for 14 findings 2.4 pairs (2 plus 20 %), exact CAM for all of them 1.05 passes forward.
Rounds are interleaved, and the median of their own ratios is taken, because a machine's speed drifts.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

from thorax.explain.torch_explainer import explain
from thorax.models import Classifier, build_classifier, pick_device
from thorax.recipe.schema import Network

BACKBONES = {
    "densenet121": 224,
    "resnet50": 224,
    "efficientnet_b3": 300,
    "convnext_tiny": 224,
    "vit_base_patch16_224": 224,
    "swin_tiny_patch4_window7_224": 224,
}
NUM_FINDINGS = 14


def seconds_of(move: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    move()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def moves_of(classifier: Classifier, image: torch.Tensor) -> dict[str, Callable[[], object]]:
    columns = list(range(NUM_FINDINGS))

    def forward() -> None:
        with torch.no_grad():
            classifier(image).cpu()

    def pair() -> None:
        classifier(image).sum().backward()
        classifier.zero_grad()

    moves: dict[str, Callable[[], object]] = {
        "forward": forward,
        "pair": pair,
        "grad-cam": lambda: explain(classifier, image, columns, method="grad-cam"),
    }
    if classifier.exact_cam:
        moves["cam"] = lambda: explain(classifier, image, columns, method="cam")
    return moves


def seconds_by_round(
    moves: dict[str, Callable[[], object]], device: torch.device, rounds: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in moves}
    for number in range(rounds + 1):  # the first round warms up
        # Back and forth: what comes after a pass back finds its memory handed back to the system.
        names = list(moves) if number % 2 else list(reversed(moves))
        for name in names:
            seconds[name].append(seconds_of(moves[name], device))
    return {name: values[1:] for name, values in seconds.items()}


def ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the rounds' own ratios: what slows a round down slows both of its parts."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backbone", nargs="+", default=list(BACKBONES), choices=list(BACKBONES))
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.platform()}")
    print("| net | forward, ms | pair, ms | Grad-CAM of 14, pairs | exact CAM of 14, forward passes |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for backbone in arguments.backbone:
        size = BACKBONES[backbone]
        torch.manual_seed(0)
        classifier = build_classifier(Network(backbone=backbone, input_size=size), NUM_FINDINGS).to(device)
        image = torch.rand(1, 1, size, size, device=device)
        found = seconds_by_round(moves_of(classifier.eval(), image), device, arguments.rounds)
        forward, pair = (1000 * statistics.median(found[name]) for name in ("forward", "pair"))
        cam = f"{ratio(found['cam'], found['forward']):.3f}" if "cam" in found else "n/a"
        print(
            f"| {backbone} at {size} px | {forward:.1f} | {pair:.1f} | "
            f"{ratio(found['grad-cam'], found['pair']):.2f} | {cam} |"
        )


if __name__ == "__main__":
    main()
