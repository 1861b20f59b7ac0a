"""Counter-based random numbers: pure functions of their keys.

Every number is a hash of (seed, stream, epoch, position, index). There is no generator state, so a resumed
run, a run on two ranks and an uninterrupted run draw the same numbers by construction. The mixing function is
SplitMix64's finalizer (Steele, Lea and Flood, OOPSLA 2014), applied once per key.
"""

from typing import Final

import numpy as np
from jaxtyping import Float64, Int64, UInt64

__all__ = ["integer_seed", "permutation", "uniform"]

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MASK: Final = 0xFFFFFFFFFFFFFFFF


def _mix(value: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(value ^ (value >> np.uint64(31)))


def _absorb(state: UInt64[np.ndarray, "..."], key: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    return _mix((state ^ _mix(key + np.uint64(_GOLDEN))) * np.uint64(3) + np.uint64(_GOLDEN))


def _key(value: int) -> UInt64[np.ndarray, " 1"]:
    return np.array([value & _MASK], dtype=np.uint64)


def _state(seed: int, stream: str, epoch: int) -> UInt64[np.ndarray, " 1"]:
    state = _absorb(_key(0), _key(seed))
    for letter in stream.encode():
        state = _absorb(state, _key(letter))
    return _absorb(state, _key(epoch))


def uniform(
    seed: int, stream: str, *, epoch: int, positions: Int64[np.ndarray, " n"], count: int = 1
) -> Float64[np.ndarray, "n count"]:
    """Return `count` numbers in [0, 1) for each position, a pure function of all arguments.

    Args:
        seed: The run's seed, any integer.
        stream: Purpose of the numbers, such as "augment" or "order"; streams are independent.
        epoch: Pass over the data.
        positions: Position of each sample in the epoch.
        count: Numbers per position.
    """
    per_position = _absorb(_state(seed, stream, epoch), positions.astype(np.uint64))
    bits = _absorb(per_position[:, None], np.arange(count, dtype=np.uint64)[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, stream: str, *, epoch: int, length: int) -> Int64[np.ndarray, " length"]:
    """Return a random order of `range(length)`, a pure function of all arguments."""
    keys = _absorb(_state(seed, stream, epoch), np.arange(length, dtype=np.uint64))
    return np.argsort(keys, kind="stable").astype(np.int64)


def integer_seed(seed: int, stream: str, *, step: int) -> int:
    """Return a seed below 2**63 for another generator in one step, such as torch's for dropout."""
    return int(_state(seed, stream, step)[0] >> np.uint64(1))
