"""Energy that a device used: of NVIDIA's GPUs by their driver, of processors by RAPL, where these tell."""

import ctypes
import functools
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["EnergyCounter", "processor_joules"]

_RAPL: Final = Path("/sys/class/powercap")


class EnergyCounter:
    """Counts joules since it was made.

    A GPU's counter is its own; a processor's counts all its cores, whoever uses them.

    Args:
        device: "cpu", "cuda" or "cuda:N"; "auto" is the first GPU where there is a driver, or else the CPU.
        rapl: Where the processor's counters are.
    """

    def __init__(self, device: str, *, rapl: Path = _RAPL) -> None:
        self._device, self._rapl = device, rapl
        self._last = self._read()

    def joules(self) -> float | None:
        """Return the joules since the last call, or since the counter was made; None if they are unknown.

        A counter that has begun again in between, as a processor's does now and then, is of no use.
        """
        now, before = self._read(), self._last
        self._last = now
        return None if now is None or before is None or now < before else now - before

    def _read(self) -> float | None:
        number = _gpu_number(self._device)
        return processor_joules(self._rapl) if number is None else _gpu_joules(number)


def _gpu_number(device: str) -> int | None:
    """Return which GPU a device is, as the driver counts them; None for the CPU."""
    if device == "cpu" or (device == "auto" and _driver() is None):
        return None
    number = int(device.removeprefix("cuda:")) if device.startswith("cuda:") else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    listed = [name.strip() for name in visible.split(",") if name.strip()]
    if listed and number < len(listed) and listed[number].isdecimal():
        return int(listed[number])
    return number


@functools.cache
def _driver() -> ctypes.CDLL | None:
    """Return NVIDIA's library for its counters, ready for use; None without one."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def _gpu_joules(number: int) -> float | None:
    """Return the joules that a GPU has used since its driver was loaded; None if that is unknown."""
    library = _driver()
    if library is None:
        return None
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    with suppress(AttributeError):
        if (
            library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(handle)) == 0
            and library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)) == 0
        ):
            return millijoules.value / 1e3
    return None


def processor_joules(rapl: Path = _RAPL) -> float | None:
    """Return the sum of the counters of all processors, in joules; None if one cannot be read, or none is."""
    try:
        return _sum(
            int((package / "energy_uj").read_text()) / 1e6 for package in sorted(rapl.glob("intel-rapl:?"))
        )
    except (OSError, ValueError):
        return None


def _sum(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) if listed else None
