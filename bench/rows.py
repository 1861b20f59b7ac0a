"""Rows of the tables that scripts here print: what was measured, beside what, and what is to be reached."""

import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from thorax.models.backbones import timm

__all__ = ["Row", "environment", "print_rows"]


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        what: What was measured.
        against: What it stands beside.
        measured: Both as text, with units.
        ratio: The figure; "n/a" where it could not be measured here.
        reach: What is to be reached.
        met: Whether it was; None where that cannot be said.
    """

    what: str
    against: str = ""
    measured: str = ""
    ratio: str = ""
    reach: str = ""
    met: bool | None = None

    @classmethod
    def rate(cls, what: str, against: str, ours: float, theirs: float, *, reach: float) -> "Row":
        """Compare two rates in images/s: more is better."""
        ratio = ours / theirs
        return cls(
            what,
            against,
            f"{ours:,.0f} / {theirs:,.0f} images/s",
            _short(ratio),
            f"{reach:g}",
            ratio >= reach,
        )

    @classmethod
    def time(cls, what: str, against: str, ours: float, theirs: float, *, reach: float) -> "Row":
        """Compare two times in seconds: less is better."""
        ratio = theirs / ours
        times = f"{1000 * ours:,.1f} / {1000 * theirs:,.1f} ms"
        return cls(what, against, times, _short(ratio), f"{reach:g}", ratio >= reach)

    @classmethod
    def limit(cls, what: str, measured: str, value: float, *, unit: str, below: float) -> "Row":
        """Compare a value with one that it is to stay below."""
        return cls(what, "", measured, f"{_short(value)} {unit}", f"below {below:g}", value < below)

    @classmethod
    def note(cls, what: str, measured: str) -> "Row":
        """Say something that has no target."""
        return cls(what, "", measured)

    @classmethod
    def missing(cls, what: str, against: str, *, reach: float) -> "Row":
        """Say that this could not be measured here."""
        return cls(what, against, "", "n/a", f"{reach:g}")


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def environment() -> str:
    """Return the machine and the versions, in one line."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cpu = _processor() or platform.processor() or platform.machine()
    return (
        f"{cpu}, {torch.get_num_threads()} threads, {gpu}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, timm {timm.__version__}; {platform.platform()}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def print_rows(rows: list[Row]) -> None:
    """Print a table in Markdown."""
    print("| what | against | measured | ratio | to reach | |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        met = {True: "met", False: "**missed**", None: ""}[row.met]
        print(
            f"| {row.what} | {row.against} | {row.measured} | {row.ratio} | {row.reach} | {met} |", flush=True
        )
