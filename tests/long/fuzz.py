"""Mutated inputs of every kind: each is read or refused, in processes with limits on memory and time.

`make fuzz`, or `python -m tests.long.fuzz tables graphs --count 100000 --seed 7`. A case fails if it raises
anything but a `ThoraxError`, writes outside of its folder, starts a program, gives a message that is too long
or has control characters, or ends its process. Decoders of images may crash: the program has a message for
what ended its process. `--case tables:123` reads one case again, here, and shows its traceback.
"""

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from thorax.imaging.decode_pool import DecodePool, Done, Work

KINDS = ("images", "tables", "archives", "checkpoints", "manifests", "graphs", "settings")
COUNT = 145_000
"""Cases of each kind: a million in all."""

AT_ONCE = 20
ROOT = Path(__file__).parents[2]


def works(corpus: Path, kind: str, *, count: int, seed: int) -> Iterator[Work[tuple[str, str, int], int]]:
    """Yield numbers of cases; the processes mutate and read them."""
    for first in range(0, count, AT_ONCE):
        yield Work((str(corpus), kind, seed), tuple(range(first, min(first + AT_ONCE, count))))


def fuzz(
    corpus: Path, kind: str, *, count: int, seed: int, workers: int
) -> tuple[Counter[str], dict[str, list[str]]]:
    """Read cases of a kind; return the outcomes, and what failed by where it did."""
    outcomes, failures = Counter[str](), dict[str, list[str]]()
    pool = DecodePool[Any, int](f"tests.long.targets.{kind}:run", workers)
    began = time.monotonic()
    try:
        for number, result in enumerate(pool.results(works(corpus, kind, count=count, seed=seed)), start=1):
            if isinstance(result, Done):
                outcome, where, what = result.answer["outcome"], result.answer.get("where", ""), result.answer
            else:
                outcome = "lost" if kind == "images" else "failed"
                where, what = result.reason.partition(";")[0], {}
            outcomes[outcome] += 1
            if outcome in {"failed", "lost"}:
                failures.setdefault(f"{outcome}: {where}", []).append(
                    f"--case {kind}:{result.item} {what.get('sample', '')} {what.get('what', '')}"
                )
            if number % 5_000 == 0:
                print(
                    f"  {number:,} of {count:,} in {time.monotonic() - began:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    finally:
        pool.close()
    return outcomes, failures


def show(
    kind: str, outcomes: Counter[str], failures: dict[str, list[str]], *, seed: int, seconds: float
) -> None:
    """Print the counts, and of each place where cases failed the number and the first."""
    counted = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"{kind}: {sum(outcomes.values()):,} cases (seed {seed}) in {seconds:.0f} s: {counted}", flush=True)
    for where, cases in sorted(failures.items(), key=lambda item: -len(item[1])):
        print(f"  {len(cases):,} {where}, first {cases[0]}", flush=True)


def read_once(corpus: Path, case: str, *, seed: int) -> None:
    """Read one case in this process, without limits."""
    kind, _, number = case.partition(":")
    target = importlib.import_module(f"tests.long.targets.{kind}")
    from tests.long.targets.case import Place, input_of

    sample, content = input_of(Place(corpus, corpus, seed, kind), int(number))
    name, reader = target._read(sample)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        Path(f"case-{kind}-{number}-{sample}").write_bytes(content)
        print(f"case-{kind}-{number}-{sample} has the input", flush=True)
        print(reader(path))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read as many cases as the arguments say; the status is 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"{', '.join(KINDS)}; default: all")
    parser.add_argument("--count", type=int, default=COUNT, help=f"cases of each kind; default: {COUNT}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--case", help="kind:number of one case to be read again")
    options = parser.parse_args(arguments)
    kinds = [options.case.partition(":")[0]] if options.case else options.kinds or KINDS
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    failed = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for kind in kinds:
            corpus = Path(folder)
            (corpus / kind).mkdir()
            importlib.import_module(f"tests.long.targets.{kind}").write_samples(corpus / kind)
            if options.case:
                read_once(corpus, options.case, seed=options.seed)
                return
            began = time.monotonic()
            outcomes, failures = fuzz(
                corpus, kind, count=options.count, seed=options.seed, workers=options.workers
            )
            show(kind, outcomes, failures, seed=options.seed, seconds=time.monotonic() - began)
            failed += outcomes["failed"]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
