"""What the note beside the bands says of findings without one."""

from types import SimpleNamespace

import pytest

from thorax.findings import parse_findings
from thorax.reporting.abstention import abstention_note

FEW = "validation patients with it: {}, without: 105; at 90 % a band needs 9 of each"


@pytest.mark.parametrize(
    ("absent", "end"),
    [
        ({"Mass": FEW.format(3)}, f"by the threshold: Mass ({FEW.format(3)})."),
        (
            {"Mass": FEW.format(3), "Edema": FEW.format(5)},
            (
                "by the threshold, because at 90 % a band needs 9 of each: Mass (validation patients with "
                "it: 3, without: 105), Edema (validation patients with it: 5, without: 105)."
            ),
        ),
        (
            {"Mass": FEW.format(3), "Edema": "not labeled"},
            f"by the threshold: Mass ({FEW.format(3)}), Edema (not labeled).",
        ),
        ({}, "Each patient counts once."),
    ],
)
def test_what_several_findings_share_is_said_once(absent, end):
    findings = [
        SimpleNamespace(finding=finding, absent=why, band=None)
        for finding, why in zip(parse_findings(absent) if absent else (), absent.values(), strict=True)
    ]
    bands = SimpleNamespace(promise="On average.", chosen_on="val part", level=0.9)
    evaluation = SimpleNamespace(abstention=SimpleNamespace(bands=bands, findings=findings))
    assert abstention_note(evaluation).endswith(end)
