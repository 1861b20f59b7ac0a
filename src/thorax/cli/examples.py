"""The examples that `--help` shows: what a command does, and the command."""

from collections.abc import Mapping
from typing import Final

__all__ = ["EXAMPLES"]

Example = tuple[str, str]

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {
    "": (
        ("Predict an image with the small model in the package", "thorax predict chest.png"),
        ("Explain a command", "thorax help train"),
    ),
    "phantom": (("Draw images of 600 synthetic patients", "thorax phantom phantoms --patients 600"),),
    "download": (
        ("Download a sample of NIH ChestX-ray14: 5,606 images", "thorax download nih-sample nih"),
        ("Download all labels, and the first archive of images", "thorax download nih nih --only images_001"),
    ),
    "prepare": (
        ("Prepare NIH's folder as a recipe requires", "thorax prepare nih --recipe small-cpu --out store"),
        ("Prepare your own images, which a CSV lists", "thorax prepare mine.csv --size 320 --out store"),
        (
            "Prepare over a Ray cluster that this machine belongs to",
            "thorax prepare /data/nih --out store --engine ray --address 10.0.0.1:6379",
        ),
    ),
    "sheet": (
        ("Draw 25 images of a store", "thorax sheet store --out sheet.png"),
        ("Draw nine with one finding", "thorax sheet store --findings Mass --count 9 --out masses.png"),
    ),
    "recipes": (
        ("List the recipes", "thorax recipes"),
        ("Copy one, to change it", "thorax recipes show chexnet > mine.toml"),
    ),
    "recipes show": (
        ("Copy a recipe, to change it", "thorax recipes show chexnet > mine.toml"),
        ("Show every setting with one changed", "thorax recipes show chexnet --set optim.lr=3e-4"),
    ),
    "train": (
        ("Train a recipe", "thorax train small-cpu --store store --out run"),
        ("Resume after an interruption", "thorax train --resume --store store --out run"),
        (
            "Change settings",
            "thorax train small-cpu --store store --out run --set training.epochs=40",
        ),
        ("Train five seeds", "thorax train small-cpu --store store --out runs --seeds 5"),
    ),
    "runs": (
        ("List the runs below the working folder", "thorax runs"),
        ("List those of a folder as JSON", "thorax runs experiments --json"),
    ),
    "tune": (
        ("Search settings in 20 trials", "thorax tune small-cpu --store store --trials 20 --out study"),
        (
            "Train several trials at once over a Ray cluster",
            "thorax tune small-cpu --store s --out t --engine ray --address 10.0.0.1:6379",
        ),
    ),
    "study": (
        ("List the shipped studies", "thorax study --list"),
        ("Copy one, to change it", "thorax study field --show > mine.toml"),
        ("Compare three recipes on phantoms and a store", "thorax study small --store store --out study"),
        (
            "Train over a Ray cluster that this machine belongs to",
            "thorax study mine.toml --out /data/study --engine ray --address 10.0.0.1:6379",
        ),
        ("Use two GPUs", "thorax study mine.toml --out study --device cuda:0 --device cuda:1"),
    ),
    "calibrate": (
        (
            "Choose thresholds with a sensitivity of 90 %",
            "thorax calibrate run --store store --rule sensitivity-90 --out bundle",
        ),
    ),
    "ensemble": (
        ("Average two runs", "thorax ensemble run-1 run-2 --store store --out ensemble"),
        (
            "Give better members more weight",
            "thorax ensemble run-1 run-2 --store store --weights validation --out best",
        ),
    ),
    "gate": (
        ("Give an older run an input gate", "thorax gate run --store store"),
        ("Put the gate into a copy", "thorax gate run --store store --out gated"),
    ),
    "evaluate": (
        ("Evaluate a run on the test part", "thorax evaluate run --store store --out report"),
        (
            "Evaluate another program's predictions",
            "thorax evaluate --predictions theirs.csv --store store --out report",
        ),
        (
            "Evaluate two findings, in PA images only",
            "thorax evaluate run --store store --findings Mass,Nodule --view PA --out pa",
        ),
    ),
    "compare": (
        ("Compare two runs", "thorax compare run-1 run-2 --store store --out comparison"),
        (
            "Compare a run with another program's predictions",
            "thorax compare run theirs.csv --store store --out comparison",
        ),
    ),
    "localize": (
        ("Measure maps against the store's boxes", "thorax localize run --store store --out boxes"),
    ),
    "robustness": (
        (
            "Measure what JPEG and noise change",
            "thorax robustness run --store store --perturbations jpeg,noise --out robust",
        ),
    ),
    "site": (
        (
            "Measure and adjust calibration at another hospital",
            "thorax site run --store theirs --name Lund --out lund --save run-lund",
        ),
        ("Predict there", "thorax predict run-lund chest.dcm --site Lund"),
    ),
    "audit": (
        ("Check a store and a split", "thorax audit store --split nih-official"),
        ("Check a report", "thorax audit store --bundle run --metrics report/metrics.json"),
    ),
    "predict": (
        ("Predict an image with the small model in the package", "thorax predict chest.png"),
        ("Predict a folder with your own model", "thorax predict run images --out predicted"),
        (
            "Predict it over a Ray cluster that this machine belongs to",
            "thorax predict run /data/images --out p --engine ray --address 10.0.0.1:6379",
        ),
    ),
    "explain": (
        ("Locate every positive finding of the small model", "thorax explain chest.png --out map.png"),
        (
            "Locate one finding with two methods",
            "thorax explain run chest.png --findings Mass --method cam --method layer-cam",
        ),
        ("Draw every image of a folder on a page", "thorax explain run images --out maps.pdf"),
    ),
    "serve": (
        ("Open the small model in the browser", "thorax serve --open"),
        ("Open your own", "thorax serve run --open"),
        ("Serve other machines, with a token", "thorax serve run --listen 0.0.0.0 --token-file token"),
    ),
    "node": (
        ("Send the results to Orthanc", "thorax node starter --forward ORTHANC@127.0.0.1:4242"),
        ("See what waits and what failed", "thorax node status thorax-queue"),
    ),
    "monitor": (
        ("Compare this week's images with validation", "thorax monitor thorax-queue --out report"),
        (
            "The same beside what readers said",
            "thorax monitor thorax-queue --assessments assessments.sqlite --out report",
        ),
    ),
    "node start": (
        ("Results go to a DICOMweb service", "thorax node start run --stow http://127.0.0.1:8042/dicom-web"),
    ),
    "node status": (("See what waits and what failed", "thorax node status thorax-queue"),),
    "node retry": (
        ("Try one dead letter again", "thorax node retry thorax-queue --number 7"),
        ("After a change of rules, look at what was skipped", "thorax node retry thorax-queue --skipped"),
    ),
    "node dismiss": (("Give a dead letter up", "thorax node dismiss thorax-queue --number 7"),),
    "export": (
        ("Add an ONNX engine to the run's bundle", "thorax export run --store store"),
        ("Add a quantized one to a copy", "thorax export run --store store --int8 --out exported"),
        (
            "Write a page that computes in the browser",
            "thorax export run --to web --out site --runtime onnxruntime-web-1.30.0.tgz",
        ),
    ),
    "import": (
        (
            "Import a DenseNet-121 of TorchXRayVision",
            "thorax import nih.pt --as torchxrayvision --backbone nih --out imported",
        ),
    ),
    "card": (
        ("Write a model card with results", "thorax card run --metrics report/metrics.json --out card.md"),
    ),
    "sign": (
        ("Make a key", "thorax sign --new-key key.pem"),
        ("Sign a bundle with it", "thorax sign run --key key.pem"),
    ),
    "verify": (
        ("Check the files of a bundle", "thorax verify run"),
        ("Check also who signed it", "thorax verify run --key key.pem.pub"),
        ("Check the files of a store", "thorax verify store"),
    ),
    "info": (
        ("See what a path holds", "thorax info run"),
        ("Get it as JSON", "thorax info store --json"),
    ),
    "doctor": (("See what works here, what is missing and what is slow", "thorax doctor"),),
    "help": (("Explain a command", "thorax help train"),),
    "completion": (("Complete in this bash with the Tab key", 'eval "$(thorax completion bash)"'),),
}  # fmt: skip
"""By command, such as "train" or "recipes show"; "" has those of `thorax --help`."""
