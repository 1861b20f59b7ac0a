"""A small store whose findings are easy to see, and a bundle on it with calibration and operating points."""

import csv
from functools import cache, partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import binary_cross_entropy_with_logits

from thorax.bundle import Manifest, Member, OperatingPoints, hashed_patients, write_bundle
from thorax.calibration import Temperature
from thorax.datasets.sources import read_folder
from thorax.datasets.splits import build_split, registered_sha256
from thorax.findings import parse_findings
from thorax.inference.ensemble import validation_part
from thorax.models import build_classifier, to_input, weights_as_bytes
from thorax.rates import MeasuredRates
from thorax.recipe.sections import Network, Preparation, TestTime
from thorax.store import build_store, open_store

PARTS = ["train"] * 40 + ["val"] * 260 + ["test"] * 8
NAMES = ("Effusion", "Mass", "Hernia")
PLAIN = TestTime()
MODEL = Network(backbone="resnet10t", arguments={"channels": (8, 16, 16, 16)}, input_size=32)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Effusion and Mass are as frequent as not; of Hernia there are few."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    lines = []
    for number, part in enumerate(PARTS):
        effusion, mass, hernia = int(rng.random() < 0.5), int(rng.random() < 0.5), int(number % 40 == 0)
        pixels = rng.integers(20, 120, (64, 64))
        pixels[40:, :24] += 110 * effusion
        pixels[16:40, 20:44] += 110 * mass
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        lines.append([f"{number}.png", f"p{number // 2}", part, effusion, mass, hernia])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "patient", "split", *NAMES], *lines])
    source = read_folder(folder / "labels.csv")
    sums = registered_sha256(source.whole, source.dataset)
    build_store(source, folder / "store", Preparation(size=48), split_sha256=sums, workers=1)
    return open_store(folder / "store")


def fitted_classifier(store, seed):
    """A net that learnt its findings in some steps: quantising would change a random ranking."""
    torch.manual_seed(seed)
    classifier = build_classifier(MODEL, len(NAMES))
    rows = np.arange(100)
    images = to_input(torch.from_numpy(store.pixels(rows)), MODEL.input_size)
    targets = torch.from_numpy(store.table.targets(parse_findings(NAMES))[rows]).float()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(classifier(images), targets).backward()
        optimizer.step()
    return classifier.eval()


@pytest.fixture(scope="session")
def make_bundle(store):
    """The function that writes a bundle: (folder, nets of which seeds, which views, calibrated or not)."""

    fitted = cache(partial(fitted_classifier, store))

    def make(folder, *, seeds=(0,), test_time=PLAIN, calibrated=True):
        split = build_split(
            "folder-official", store.table, dataset=store.dataset, whole_sha256=store.split_sha256
        )
        train, val = (split.image_set(p, split.rows(p), dataset=store.dataset) for p in ("train", "val"))
        members, weights = [], {}
        for seed in seeds:
            classifier = fitted(seed)
            file = f"member-{seed}.safetensors"
            weights[file] = weights_as_bytes(classifier.state_dict())
            provenance = {
                "kind": "trained", "recipe": "toy", "recipe_sha256": "", "seed": seed,
                "dataset": store.dataset, "store_fingerprint": "", "trained_on": train,
                "selected_on": val, "selected_by": "", "epoch": 1, "versions": {},
            }  # fmt: skip
            members.append(
                Member.model_validate(
                    {
                        "weights": file,
                        "sha256": "",
                        "model": MODEL,
                        "findings": NAMES,
                        "exact_cam": classifier.exact_cam,
                        "test_time": test_time,
                        "provenance": provenance,
                    }
                )
            )
        shares = (1 / len(seeds),) * len(seeds)
        points = OperatingPoints(
            rule="f1-optimal",
            thresholds=dict.fromkeys(NAMES, 0.5),
            chosen_on=val,
            measured=MeasuredRates(findings={}, measured_on=val),
        )
        manifest = Manifest.model_validate(
            {
                "format": 2,
                "name": "toy",
                "findings": NAMES,
                "preparation": store.preparation,
                "members": members,
                "ensemble": {"mean_of": "probabilities", "weights": shares, "fitted_on": None}
                if len(seeds) > 1
                else None,
                "calibration": Temperature(temperature=0.5, fitted_on=val) if calibrated else None,
                "operating_points": points if calibrated else None,
                "patients_sha256": "",
            }
        )
        patients = {
            part: hashed_patients(
                store.dataset, store.table.frame["patient"].to_numpy()[split.rows(part)]
            ).values()
            for part in ("train", "val")
        }
        return write_bundle(folder, manifest, weights=weights, patients=patients)

    return make


@pytest.fixture
def bundle(make_bundle, tmp_path):
    return make_bundle(tmp_path / "bundle")


@pytest.fixture(scope="session")
def part_of(store):
    """The function that returns the validation part for a bundle."""
    return lambda bundle: validation_part(bundle, store, None)
