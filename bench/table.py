"""Everything about speed that has a target, beside what it is compared with: one command, one table.

    python bench/table.py [--images FOLDER] [--bundle BUNDLE] [--rounds 5]

Training, `prepare` and prediction, each figure a ratio of medians of interleaved rounds in this one run. What
this machine cannot show (a GPU, a quantised net that passed its gate) is n/a. Evaluation, explanation and
scaling have scripts of their own.
"""

import argparse
import tempfile
from pathlib import Path

import prepare
import torch
import train
from predict import inputs
from predict import rows as predict_rows
from rows import environment, print_rows

from thorax.hardware import num_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=Path, help="a folder of PNG files of 1024 pixels; phantoms if not given"
    )
    parser.add_argument("--bundle", type=Path, help="random weights if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=500, help="files that are predicted a round")
    parser.add_argument("--repeat", type=int, default=40, help="copies of each file that are prepared")
    arguments = parser.parse_args()
    torch.set_num_threads(num_threads())
    print(environment(), flush=True)
    with inputs(arguments.bundle, arguments.images, arguments.batch) as (bundle, images):
        found = predict_rows(bundle, images, rounds=arguments.rounds)
        source = images[0].parent
        found += prepare.rows(source, sizes=prepare.SIZES, repeat=arguments.repeat, rounds=arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        found += train.rows(Path(folder), rounds=arguments.rounds, gpu_rounds=arguments.rounds)
    print_rows(found)


if __name__ == "__main__":
    main()
