"""Who the phantoms' patients are and what their images show: labels, no pixels.

Every visit has a hidden liability for each finding and for the AP view, normally distributed and
correlated; it has the finding where the liability passes the quantile of the finding's prevalence.
A patient's visits share part of the liability, so that findings persist. The three tables below were
computed from the 112,120 rows of NIH's `Data_Entry_2017_v2020.csv` (Wang et al., CVPR 2017).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from jaxtyping import Float64

from thorax.findings import NIH14, Findings
from thorax.radiograph import Sex, ViewPosition
from thorax.randomness import uniform

__all__ = ["PhantomPatient", "PhantomVisit", "draw_patient", "draw_patients"]

FLOOR: Final = 0.03
"""Smallest prevalence drawn: at NIH's 0.2 % of Hernia a few hundred patients would have none."""

_PREVALENCE: Final = (
    *(0.1031, 0.0248, 0.1188, 0.1774, 0.0516, 0.0565, 0.0128),
    *(0.0473, 0.0416, 0.0205, 0.0224, 0.0150, 0.0302, 0.0020),
    0.3997,
)
"""Share of images with each finding of NIH14, in its order, and of AP views."""

_PERSISTENCE: Final = (
    0.53,
    0.68,
    0.64,
    0.40,
    0.72,
    0.60,
    0.45,
    0.83,
    0.55,
    0.65,
    0.79,
    0.59,
    0.55,
    0.91,
    0.72,
)
"""Tetrachoric correlation between consecutive images of a patient, in the order of `_PREVALENCE`."""

_CORRELATION_PERCENT: Final[tuple[tuple[int, ...], ...]] = (
    (),
    (7,),
    (37, 39),
    (21, 5, 25),
    (6, -7, 20, 4),
    (-3, -7, 6, 12, 30),
    (14, 2, 12, 29, -1, -3),
    (10, -17, 15, 0, 12, 3, -9),
    (31, 8, 28, 14, 25, 12, 15, 0),
    (-2, 16, 23, 31, 2, 0, 56, -20, 11),
    (13, -6, 5, 0, 11, -4, -5, 51, 0, -9),
    (6, 4, -1, 4, 6, 12, -9, 0, 2, -19, -1),
    (10, 6, 23, 7, 24, 19, 2, 14, 13, -1, 14, 26),
    (11, 3, -5, -4, 13, -4, 0, -3, -11, -5, -3, 12, 2),
    (15, 4, 16, 22, -2, -8, 16, -5, 32, 53, 0, -27, -14, -23),
)
"""Tetrachoric correlation of each pair within an image, in percent: the part below the diagonal."""

_AGE_AT: Final = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)
_AGE_YEARS: Final = (1.0, 11.0, 23.0, 38.0, 49.0, 57.0, 67.0, 76.0, 90.0)
"""Quantiles of the age (NIH's ends, 0 and 95, drawn in so that follow-up cannot pass 100)."""

_MALE: Final = 0.5649
_PATIENTS_PER_TEST: Final = 5
_MOST_VISITS: Final = 40
_TAIL_EXPONENT: Final = 1.1
"""P(n images or more) = n ** -1.1, cut at 40: 3.7 on average (NIH 3.6), 53 % have one (NIH 57 %)."""

_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class PhantomVisit:
    """One image of a patient, before it is drawn.

    Attributes:
        follow_up: Number of the image among the patient's, from 0.
        age_years: Patient's age in whole years.
        view: PA or AP.
        findings: What the image shows, in NIH14's order; empty for No Finding.
    """

    follow_up: int
    age_years: int
    view: ViewPosition
    findings: Findings


@dataclass(frozen=True, slots=True)
class PhantomPatient:
    """A patient who does not exist.

    Attributes:
        number: Number in the cohort, from 0.
        identity: Eleven digits beginning with 9; NIH's patients have at most five.
        sex: Male or female.
        in_test: Whether all of the patient's images are in the test part: every fifth patient's are.
        visits: The images, in order of follow-up; at least one.
    """

    number: int
    identity: int
    sex: Sex
    in_test: bool
    visits: tuple[PhantomVisit, ...]

    def image_name(self, visit: PhantomVisit) -> str:
        """Return the file name of a visit's image, for example "90000000003_001.png"."""
        return f"{self.identity:011d}_{visit.follow_up:03d}.png"


def draw_patients(seed: int, count: int) -> Iterator[PhantomPatient]:
    """Yield the first `count` patients of the cohort of `seed`, one at a time."""
    for number in range(count):
        yield draw_patient(seed, number)


def draw_patient(seed: int, number: int) -> PhantomPatient:
    """Return patient `number` of the cohort of `seed`: a pure function of the two."""
    one = np.zeros(1, dtype=np.int64)
    draws = uniform(seed, "patient", epoch=number, positions=one, count=3 + len(_PREVALENCE))[0]
    num_visits = min(_MOST_VISITS, math.floor((1.0 - draws[0]) ** (-1.0 / _TAIL_EXPONENT)))
    first_age = float(np.interp(draws[1], _AGE_AT, _AGE_YEARS))
    shared = _correlated(draws[3:])
    each = np.arange(num_visits, dtype=np.int64)
    own = uniform(seed, "visits", epoch=number, positions=each, count=len(_PREVALENCE))
    return PhantomPatient(
        number=number,
        identity=int(f"9{seed % 10_000:04d}{number:06d}"),
        sex=Sex.MALE if draws[2] < _MALE else Sex.FEMALE,
        in_test=number % _PATIENTS_PER_TEST == _PATIENTS_PER_TEST - 1,
        visits=tuple(_visit(index, first_age, shared, own[index]) for index in range(num_visits)),
    )


def _visit(
    follow_up: int, first_age: float, shared: Float64[np.ndarray, " k"], draws: Float64[np.ndarray, " k"]
) -> PhantomVisit:
    liability = _SHARED_WEIGHT * shared + _OWN_WEIGHT * _correlated(draws)
    present = liability > _THRESHOLD
    return PhantomVisit(
        follow_up=follow_up,
        age_years=int(first_age + 0.25 * follow_up),
        view=ViewPosition.AP if present[-1] else ViewPosition.PA,
        findings=tuple(finding for finding, has in zip(NIH14, present[:-1], strict=True) if has),
    )


def _correlated(draws: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Turn uniform draws into correlated standard normal ones."""
    normal = [_NORMAL.inv_cdf(max(float(draw), 2.0**-53)) for draw in draws]
    return np.asarray(_CHOLESKY @ np.array(normal))


def _cholesky() -> Float64[np.ndarray, "k k"]:
    lower = np.zeros((len(_PREVALENCE), len(_PREVALENCE)))
    for row, percents in enumerate(_CORRELATION_PERCENT):
        lower[row, :row] = np.array(percents) / 100
    return np.asarray(np.linalg.cholesky(lower + lower.T + np.eye(len(_PREVALENCE))))


_CHOLESKY: Final = _cholesky()
_SHARED_WEIGHT: Final = np.sqrt(np.array(_PERSISTENCE))
_OWN_WEIGHT: Final = np.sqrt(1.0 - np.array(_PERSISTENCE))
_THRESHOLD: Final = np.array([_NORMAL.inv_cdf(1.0 - max(share, FLOOR)) for share in _PREVALENCE])
