"""Codes: of public schemes as DICOM has them, and private ones as the conformance statement lists them."""

import re
from pathlib import Path

from pydicom.sr.codedict import codes

from thorax.findings import NIH14, VOCABULARY, Finding
from thorax.pacs.codes import PRIVATE_CODES, finding_code, finding_site


def test_the_conformance_statement_lists_every_private_code():
    text = (Path(__file__).parents[2] / "docs" / "pacs.md").read_text()
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", text, re.MULTILINE))
    assert listed == PRIVATE_CODES


def test_codes_fit_their_elements():
    """Code values have at most 16 characters, meanings 64 (PS3.5, SH and LO)."""
    own = (Finding("Silicosis"), Finding("a" * 200), Finding("back\\slash"))
    for finding in (*VOCABULARY, *own):
        for code in (finding_code(finding), finding_site(finding)):
            assert 1 <= len(code.value) <= 16
            assert 1 <= len(code.meaning) <= 64
            assert "\\" not in code.meaning
    assert all(len(value) <= 16 and len(meaning) <= 64 for value, meaning in PRIVATE_CODES.items())


def test_findings_have_codes_of_their_own():
    values = {
        (finding_code(finding).value, finding_code(finding).scheme_designator) for finding in VOCABULARY
    }
    assert len(values) == len(VOCABULARY)
    own = [finding_code(Finding(name)) for name in ("Silicosis", "silicosis", "Other")]
    assert own[0].value == own[1].value != own[2].value
    assert own[0].value.startswith("F_")


def test_public_codes_agree_with_dicoms_own_tables():
    by_name = {finding.name: finding for finding in NIH14}
    assert finding_code(by_name["Effusion"]) == codes.SCT.PleuralEffusion
    assert finding_code(by_name["Pneumothorax"]) == codes.SCT.Pneumothorax
    assert finding_code(by_name["Edema"]) == codes.SCT.PulmonaryEdema
    assert finding_site(by_name["Effusion"]) == codes.SCT.Pleura
    assert finding_site(by_name["Mass"]) == codes.SCT.Lung
    assert finding_site(by_name["Cardiomegaly"]) == codes.SCT.Heart
    (equivalent,) = finding_code(by_name["Effusion"]).EquivalentCodeSequence
    assert (equivalent.value, equivalent.scheme_designator) == ("RID34539", "RADLEX")
