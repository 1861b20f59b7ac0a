"""How numbers are written."""

import pytest

from thorax.wording import as_rate, three_digits


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.04, "0.0/s"), (0.4, "0.4/s"), (9.94, "9.9/s"), (9.96, "10/s"), (90.4, "90/s"), (4875.2, "4,875/s")],
)
def test_slow_rates_have_a_decimal(rate, text):
    assert as_rate(rate) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.5, "1.50"), (-1.8, "-1.80"), (0.801, "0.801"), (425.2, "425"), (0.0, "0"), (1.23e-6, "1.23e-06")],
)
def test_numbers_in_one_column_have_as_many_digits(value, text):
    assert three_digits(value) == text
