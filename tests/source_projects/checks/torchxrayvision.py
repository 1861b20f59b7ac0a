"""TorchXRayVision's class with random weights, written as its code computes, beside the imported bundle."""

import csv
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from skimage.transform import resize
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.toy_nets import images as smooth_images
from tests.source_projects.checks.libraries import models
from tests.source_projects.checks.results import picture_of_curves
from tests.source_projects.rows import Row, read_table
from tests.source_projects.workshop import Workshop
from thorax.checkpoints import ForeignOptions, read_foreign
from thorax.checkpoints.importer import ForeignNet
from thorax.checkpoints.torchxrayvision import OUTPUTS
from thorax.imaging import prepare, read_radiograph
from thorax.recipe.schema import Preparation


class DenseNet(nn.Module):
    """What torchxrayvision.models.DenseNet computes."""

    def __init__(self) -> None:
        super().__init__()
        net = models.densenet121(num_classes=18)
        net.features.conv0 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.features, self.classifier = net.features, net.classifier
        # Inputs of +-1024 would drive the logits of random weights to the hundreds.
        self.classifier.weight.data.mul_(0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images from -1024 to 1024."""
        maps = functional.relu(self.features(images))
        logits: Tensor = self.classifier(functional.adaptive_avg_pool2d(maps, (1, 1)).flatten(1))
        return logits


@cache
def imported(folder: Path) -> tuple[DenseNet, ForeignNet]:
    """Their net, and what Thorax reads from its file."""
    torch.manual_seed(2)
    net = DenseNet().eval()
    torch.save(net.state_dict(), folder / "xrv.pt")
    options = ForeignOptions(backbone="densenet121-res224-nih")
    return net, read_foreign(folder / "xrv.pt", "torchxrayvision", options)


def evaluated(row: Row, workshop: Workshop) -> Path:
    """Import the file, and run the row's last command on a store of its size; return what it wrote."""
    imported(workshop.folder)
    backbone = "densenet121-res224-nih"
    workshop.run(f"thorax import xrv.pt --as torchxrayvision --backbone {backbone} --out bundles/xrv")
    workshop.run("thorax prepare nih --size 224 --fit crop --out stores/xrv")
    command = row.type[-1]
    workshop.run(f"{command} --resamples 50")
    return workshop.folder / command.split()[-1]


def roc_curves(row: Row, workshop: Workshop) -> None:
    """The picture of its ROC curves."""
    picture_of_curves(evaluated(row, workshop))


def report(row: Row, workshop: Workshop) -> None:
    """Precision, recall and F1 of the source's findings in its order, and the four averages."""
    content = json.loads((evaluated(row, workshop) / "metrics.json").read_text())
    point = content["operating_points"][0]
    assert list(content["findings"]) == list(point["findings"]) == list(row.source["names"])
    for rates in (*point["findings"].values(), *(point["averages"][name] for name in row.source["averages"])):
        assert rates.keys() >= {"ppv", "sensitivity", "f1"}


def side_by_side(row: Row, workshop: Workshop) -> None:
    """The source's findings, in its order, and its averages, of both models."""
    (own,) = (other for other in read_table().rows if other.id == "lastblock-roc")
    workshop.show(own)
    with (evaluated(row, workshop) / "classification.csv").open() as file:
        lines = list(csv.DictReader(file))
    models = {line["model"] for line in lines}
    assert len(models) == 2
    for model in models:
        listed = [value for line in lines if line["model"] == model for value in line.values()]
        names = [value for value in listed if value in row.source["names"]]
        assert names == list(row.source["names"])
        assert set(listed) >= set(row.source["averages"])


def resizes(row: Row, workshop: Workshop) -> None:
    """The import says so; the pixels are near to those of skimage's resize, which the source uses."""
    _, ours = imported(workshop.folder)
    assert any(row.source["class"] in note for note in ours.notes)
    size = row.source["size"]
    pixels = (smooth_images(1, 512)[0, 0].numpy() * 255).round().astype(np.uint8)
    theirs = resize(pixels, (size, size), mode="constant", preserve_range=True)
    mine = prepare(read_radiograph(pixels), ours.preparation)
    assert 0 < np.sqrt(np.mean((mine - theirs) ** 2)) < 2


def normalize(pixels: Tensor) -> Tensor:
    """xrv.datasets.normalize with maxval 1."""
    return (2 * pixels - 1.0) * 1024


def logits(row: Row, workshop: Workshop) -> None:
    """Equal logits for equal pixels."""
    theirs, ours = imported(workshop.folder)
    images = smooth_images(2, 224)
    columns = [OUTPUTS.index(finding.name) for finding in ours.findings]
    with torch.no_grad():
        expected = theirs(normalize(images))[:, columns]
        torch.testing.assert_close(ours.classifier(images), expected, atol=1e-5, rtol=1e-4)


def pixel_range(row: Row, workshop: Workshop) -> None:
    """Black and white reach the net as the source's ends."""
    _, ours = imported(workshop.folder)
    mean, std = ours.classifier.mean, ours.classifier.std
    ends = ((torch.tensor([0.0, 1.0]) - mean.flatten()) / std.flatten()).tolist()
    assert ends == [row.source["lowest"], row.source["highest"]]


def labels(row: Row, workshop: Workshop) -> None:
    """The outputs have the source's names, in its order; untrained ones are left out."""
    assert list(row.source["names"]) == list(OUTPUTS)
    _, ours = imported(workshop.folder)
    names = [finding.name for finding in ours.findings]
    assert names == row.source["names"][:14]


def crop(row: Row, workshop: Workshop) -> None:
    """The same rows and columns as XRayCenterCrop keeps."""
    assert imported(workshop.folder)[1].preparation.fit == "crop"
    for height, width in ((224, 300), (301, 224), (224, 224)):
        pixels = np.random.default_rng(height + width).integers(0, 256, (height, width), dtype=np.uint8)
        size = min(height, width)
        x, y = width // 2 - size // 2, height // 2 - size // 2
        ours = prepare(read_radiograph(pixels), Preparation(size=224, fit="crop"))
        assert np.array_equal(ours, pixels[y : y + size, x : x + size])


def operating_points(row: Row, workshop: Workshop) -> None:
    """An image is called positive where op_norm shows .5 or more."""
    theirs, ours = imported(workshop.folder)
    with torch.no_grad():
        probabilities = torch.sigmoid(theirs(normalize(smooth_images(8, 224))))
    for finding in ours.findings:
        column, point = probabilities[:, OUTPUTS.index(finding.name)], ours.thresholds[finding.name]
        column = torch.cat([column, torch.tensor([point * 0.99, point, min(point * 1.01, 1.0)])])
        shown = torch.where(column < point, column / (2 * point), 1 - (1 - column) / (2 * (1 - point)))
        assert torch.equal(shown >= 0.5, column >= point)
        assert (shown >= 0.5).any()
        assert (shown < 0.5).any()
