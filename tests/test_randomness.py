import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thorax.randomness import integer_seed, permutation, uniform

MASK = 2**64 - 1


def mix(value: int) -> int:
    """SplitMix64's finaliser with Python's own integers: the slow twin."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def absorb(state: int, key: int) -> int:
    return mix(((state ^ mix((key + 0x9E3779B97F4A7C15) & MASK)) * 3 + 0x9E3779B97F4A7C15) & MASK)


def one(seed: int, stream: str, *, epoch: int, position: int, which: int) -> float:
    state = absorb(0, seed & MASK)
    for letter in stream.encode():
        state = absorb(state, letter)
    return (absorb(absorb(absorb(state, epoch), position), which) >> 11) / 2**53


@given(st.integers(-(2**40), 2**40), st.text(max_size=5), st.integers(0, 10**6), st.integers(0, 10**9))
def test_equals_the_slow_twin(seed, stream, epoch, position):
    found = uniform(seed, stream, epoch=epoch, positions=np.array([position]), count=3)
    assert found.tolist() == [[one(seed, stream, epoch=epoch, position=position, which=k) for k in range(3)]]


def test_a_draw_depends_on_nothing_but_its_arguments():
    everything = uniform(7, "augment", epoch=3, positions=np.arange(1000), count=5)
    some = np.array([999, 3, 500, 3])
    assert np.array_equal(uniform(7, "augment", epoch=3, positions=some, count=5), everything[some])
    assert np.array_equal(uniform(7, "augment", epoch=3, positions=some, count=2), everything[some, :2])


def test_fixed_values():
    """A change of these breaks the reproduction of every earlier run."""
    drawn = uniform(0, "order", epoch=0, positions=np.array([0]), count=1)[0, 0]
    assert drawn == one(0, "order", epoch=0, position=0, which=0)
    assert permutation(3, "o", epoch=1, length=10).tolist() == [0, 2, 7, 8, 1, 6, 4, 9, 5, 3]
    assert integer_seed(1, "d", step=3) == 1580355619055158228


def test_draws_are_uniform_and_independent():
    drawn = uniform(1, "a", epoch=0, positions=np.arange(50_000), count=4)
    other = uniform(1, "b", epoch=0, positions=np.arange(50_000), count=4)
    counts, _ = np.histogram(drawn, bins=64, range=(0, 1))
    expected = drawn.size / 64
    # Chi-square with 63 degrees of freedom is below 104 with probability 0.999.
    assert ((counts - expected) ** 2 / expected).sum() < 104
    together = np.corrcoef(np.concatenate([drawn, other], axis=1).T)
    assert np.abs(together - np.eye(8)).max() < 0.02
    neighbors = np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]
    assert abs(neighbors) < 0.02


@given(st.integers(0, 2**32), st.integers(0, 50), st.integers(0, 300))
def test_a_permutation_has_every_row_once(seed, epoch, length):
    assert sorted(permutation(seed, "order", epoch=epoch, length=length)) == list(range(length))
