"""What a path holds, and what this machine and installation can do."""

from thorax.inspection.info import Fact, Info
from thorax.inspection.machine import Check, doctor
from thorax.inspection.recognize import info

__all__ = ["Check", "Fact", "Info", "doctor", "info"]
