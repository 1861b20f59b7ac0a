"""How long prediction takes on a CPU, beside torch and timm as they are usually used.

    python bench/predict.py [--bundle BUNDLE] [--images FOLDER] [--rounds 7] [--batch 500]

Three figures, each a ratio of medians over interleaved rounds, because a machine's speed drifts:

- process: `thorax predict` of one PNG from start to end, against a script that imports torch and timm, builds
  the net and predicts the same file (its weights need not be read, which is to its advantage);
- latency: one prepared image through each engine, against torch eager float32, and the exported graph against
  one matrix product of as many multiplications, which is about the least that the machine needs for them;
- batch: PNG files to probabilities, against a loop of Pillow and torch eager, one image at a time.

Without a bundle: DenseNet-121 at 224 pixels with random weights, exported float32. A quantised engine is
timed where the bundle has one, that is where it passed its gate; else n/a.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image
from rows import Row, environment, print_rows

from thorax.bundle import Bundle, Manifest, Member, load_bundle, write_bundle
from thorax.datasets.phantom import write_phantoms
from thorax.errors import BundleError
from thorax.exporting import export_float32
from thorax.findings import NIH14
from thorax.hardware import num_threads
from thorax.image_set import ImageSet
from thorax.imaging import prepare, read_radiograph
from thorax.inference.engines import open_engine, open_predictor
from thorax.inference.predictor import Predictor
from thorax.models import build_classifier, weights_as_bytes
from thorax.models.backbones import timm
from thorax.recipe.literals import EngineName
from thorax.recipe.sections import Network, Preparation

PAUSE = 0.05
ENGINES: tuple[EngineName, ...] = ("onnx", "onnx-int8", "openvino", "openvino-int8")

USUAL = """
import sys
import thorax.models.backbones
import numpy, timm, torch
from PIL import Image
net = timm.create_model(sys.argv[1], in_chans=1, num_classes=14).eval()
image = Image.open(sys.argv[2]).convert("L").resize((int(sys.argv[3]),) * 2)
pixels = torch.from_numpy(numpy.asarray(image)[None, None] / 255).float()
with torch.inference_mode():
    print(torch.sigmoid(net((pixels - 0.5) / 0.25)))
"""


def random_bundle(folder: Path, images: list[Path]) -> Bundle:
    model = Network(backbone="densenet121", input_size=224)
    torch.manual_seed(0)
    classifier = build_classifier(model, len(NIH14))
    nothing = ImageSet(
        dataset="none", split="none", part="val", sha256="", images_sha256="", num_images=0, num_patients=0
    )
    provenance = {
        "kind": "trained", "recipe": "bench", "recipe_sha256": "", "seed": 0, "dataset": "none",
        "store_fingerprint": "", "trained_on": nothing, "selected_on": nothing, "selected_by": "", "epoch": 1,
        "versions": {},
    }  # fmt: skip
    names = tuple(finding.name for finding in NIH14)
    member = {
        "weights": "weights.safetensors", "sha256": "", "model": model, "findings": names,
        "exact_cam": classifier.exact_cam, "provenance": provenance,
    }  # fmt: skip
    manifest = Manifest(
        name="bench",
        findings=names,
        preparation=Preparation(size=256),
        members=(Member.model_validate(member),),
        calibration=None,
        operating_points=None,
        patients_sha256="",
    )
    weights = {"weights.safetensors": weights_as_bytes(classifier.state_dict())}
    bundle = write_bundle(folder / "bundle", manifest, weights=weights, patients={})
    pixels = prepared(bundle, images[:4])
    bundle = export_float32(bundle, pixels, compared_on=nothing)
    try:
        return export_float32(bundle, pixels, to="openvino", compared_on=nothing)
    except BundleError as error:
        print(f"openvino: {error}")
        return bundle


def prepared(bundle: Bundle, images: list[Path]) -> np.ndarray:
    return np.stack([prepare(read_radiograph(path), bundle.manifest.preparation) for path in images])


def whole_process(bundle: Bundle, image: Path) -> dict[str, Callable[[], object]]:
    model = bundle.manifest.members[0].model
    ours = ["-m", "thorax", "predict", bundle.folder, image, "--json", "--device", "cpu"]
    usual = ["-c", USUAL, model.backbone, image, model.input_size]

    # As a user has it: what was imported once is there as bytecode, Thorax's modules like the libraries'.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run(arguments: list[object]) -> Callable[[], object]:
        command = [sys.executable, *map(str, arguments)]
        return lambda: subprocess.run(command, capture_output=True, check=True, env=environment)

    return {"usual": run(usual), "thorax predict": run(ours)}


def latency(bundle: Bundle, image: Path) -> dict[str, Callable[[], object]]:
    pixels = prepared(bundle, [image])
    engines = {name: open_engine(bundle, device="cpu", engine=name) for name in available(bundle)}
    eager = open_engine(bundle, device="cpu", engine="torch")
    moves: dict[str, Callable[[], object]] = {
        name: partial(engine.logits, pixels) for name, engine in engines.items()
    }
    shape = (1024, multiplications(bundle) // 1024**2)
    left, right = torch.rand(shape), torch.rand(shape).T.contiguous()
    return {"usual": lambda: eager.logits(pixels), **moves, "product": lambda: left @ right}


def multiplications(bundle: Bundle) -> int:
    """Return how often the convolutions of the exported graph multiply for one image."""
    (net,) = next(each.nets for each in bundle.manifest.engines if each.kind == "onnx")
    graph = onnx.shape_inference.infer_shapes(onnx.load(bundle.folder / net.files[0].name)).graph
    shapes = {
        each.name: [size.dim_value or 1 for size in each.type.tensor_type.shape.dim]  # a batch of 1
        for each in (*graph.value_info, *graph.output)
    }
    weights = {each.name: each.dims for each in graph.initializer}
    return sum(
        math.prod(shapes[node.output[0]]) * math.prod(weights[node.input[1]][1:])
        for node in graph.node
        if node.op_type == "Conv"
    )


def batches(bundle: Bundle, images: list[Path]) -> dict[str, Callable[[], object]]:
    model = bundle.manifest.members[0].model
    net = timm.create_model(model.backbone, in_chans=1, num_classes=14).eval()

    def usual() -> None:
        for path in images:
            image = Image.open(path).convert("L").resize((model.input_size,) * 2)
            pixels = torch.from_numpy(np.asarray(image)[None, None] / 255).float()
            with torch.inference_mode():
                torch.sigmoid(net((pixels - 0.5) / 0.25))

    predictors = {name: open_predictor(bundle, device="cpu", engine=name) for name in available(bundle)}

    def predict(predictor: Predictor) -> object:
        return list(predictor.predict_files(images))

    moves: dict[str, Callable[[], object]] = {
        name: partial(predict, predictor) for name, predictor in predictors.items()
    }
    return {"usual": usual, **moves}


def available(bundle: Bundle) -> list[EngineName]:
    there = {(each.kind, each.precision) for each in bundle.manifest.engines}
    return [
        name
        for name in ENGINES
        if (name.partition("-")[0], "int8" if name.endswith("int8") else "float32") in there
    ]


def medians(moves: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each move; rounds are interleaved, and the first does not count.

    Before each the machine rests: right after torch, whose threads seem to wait in a loop for more work, one
    image took onnxruntime 51 ms in place of 46 to 48.
    """
    seconds: dict[str, list[float]] = {name: [] for name in moves}
    for _ in range(rounds + 1):
        for name, move in moves.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            move()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def engine_rows(what: str, against: str, found: dict[str, float], *, exact: float, int8: float) -> list[Row]:
    """Return a row of each engine; a quantised one that no bundle has is n/a."""
    rows = []
    for name in ENGINES:
        title, reach = f"{what}, {name}", int8 if name.endswith("int8") else exact
        if name in found:
            rows.append(Row.time(title, against, found[name], found["usual"], reach=reach))
        else:
            rows.append(Row.missing(title, against, reach=reach))
    return rows


def rows(bundle: Bundle, images: list[Path], *, rounds: int) -> list[Row]:
    """Return the table's rows on prediction."""
    backbone = bundle.manifest.members[0].model.backbone
    process = medians(whole_process(bundle, images[0]), rounds)
    one = medians(latency(bundle, images[0]), 5 * rounds)
    many = medians(batches(bundle, images), rounds)
    usual = process["usual"]
    return [
        Row.time(
            "`thorax predict` of one PNG, whole process", "torch and timm, eager", process["thorax predict"],
            usual, reach=10,
        ),
        *engine_rows(f"one image, {backbone}", "torch eager float32", one, exact=2.5, int8=6),
        Row.note(
            f"one image, {backbone}: one matrix product of as many multiplications",
            f"{1000 * one['product']:,.1f} ms, {one['product'] / one['onnx']:.2f} of onnx",
        ),
        *engine_rows(f"{len(images)} files", "PIL and torch eager", many, exact=2.3, int8=3.5),
    ]  # fmt: skip


@contextmanager
def inputs(bundle: Path | None, folder: Path | None, count: int) -> Iterator[tuple[Bundle, list[Path]]]:
    """Give a bundle and so many files: those asked for, else random weights and phantoms."""
    with tempfile.TemporaryDirectory() as scratch:
        source = folder or write_phantoms(Path(scratch) / "p", patients=30, size=1024).folder
        images = (sorted(source.rglob("*.png")) * count)[:count]
        yield load_bundle(bundle) if bundle else random_bundle(Path(scratch), images), images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="random weights if not given")
    parser.add_argument("--images", type=Path, help="a folder of PNG files; phantoms if not given")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=500, help="images of the third figure")
    arguments = parser.parse_args()
    torch.set_num_threads(num_threads())
    print(environment())
    with inputs(arguments.bundle, arguments.images, arguments.batch) as (bundle, images):
        print_rows(rows(bundle, images, rounds=arguments.rounds))


if __name__ == "__main__":
    main()
