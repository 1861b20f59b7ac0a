"""How long `thorax --help` and `import thorax` take, beside an empty Python and beside importing torch.

    python bench/startup.py [--rounds 9]

Prints one table: medians of interleaved rounds, and the ratios.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import thorax": [sys.executable, "-c", "import thorax"],
    "thorax --help": [str(Path(sys.executable).with_name("thorax")), "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{platform.machine()}, Python {platform.python_version()}, medians of {rounds} interleaved rounds")
    for name, median in medians.items():
        print(f"{name:16} {median:6.3f} s   {median / medians['thorax --help']:5.2f} of thorax --help")


if __name__ == "__main__":
    main()
