"""The vocabulary: what each public data set calls a finding, in which order, and with which codes."""

import csv
import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from thorax.errors import DataError
from thorax.findings import (
    NIH14,
    NIH15,
    NO_FINDING,
    VOCABULARY,
    Finding,
    find_finding,
    parse_finding,
    parse_findings,
    select_findings,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

CHEXNET_ORDER = [
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
]

# Each data set's own column names or label strings, and the finding that each means.
SPELLINGS = {
    "NIH ChestX-ray14, labels": {name: name for name in [*CHEXNET_ORDER, "No Finding"]},
    "NIH ChestX-ray14, boxes": {
        "Atelectasis": "Atelectasis",
        "Infiltrate": "Infiltration",
        "Nodule": "Nodule",
    },
    "CheXpert and MIMIC-CXR": {
        "No Finding": "No Finding",
        "Enlarged Cardiomediastinum": "Enlarged Cardiomediastinum",
        "Cardiomegaly": "Cardiomegaly",
        "Lung Opacity": "Lung Opacity",
        "Lung Lesion": "Lung Lesion",
        "Edema": "Edema",
        "Consolidation": "Consolidation",
        "Pneumonia": "Pneumonia",
        "Atelectasis": "Atelectasis",
        "Pneumothorax": "Pneumothorax",
        "Pleural Effusion": "Effusion",
        "Pleural Other": "Pleural Other",
        "Fracture": "Fracture",
        "Support Devices": "Support Devices",
    },
    "PadChest": {
        "normal": "No Finding",
        "infiltrates": "Infiltration",
        "pulmonary mass": "Mass",
        "nodule": "Nodule",
        "pulmonary edema": "Edema",
        "pulmonary fibrosis": "Fibrosis",
        "pleural effusion": "Effusion",
        "pleural thickening": "Pleural_Thickening",
        "hiatal hernia": "Hernia",
        "tuberculosis": "Tuberculosis",
    },
    "VinDr-CXR": {
        "Infiltration": "Infiltration",
        "Lung Opacity": "Lung Opacity",
        "Nodule/Mass": "Nodule or Mass",
        "Pleural effusion": "Effusion",
        "Pleural thickening": "Pleural_Thickening",
        "Pulmonary fibrosis": "Fibrosis",
        "No finding": "No Finding",
    },
    "TorchXRayVision": {
        name: name
        for name in [
            *CHEXNET_ORDER,
            "Lung Lesion",
            "Fracture",
            "Lung Opacity",
            "Enlarged Cardiomediastinum",
        ]
    },
    "Majkowska et al. 2020": {
        "Fracture": "Fracture",
        "Pneumothorax": "Pneumothorax",
        "Airspace opacity": "Airspace opacity",
        "Nodule or mass": "Nodule or Mass",
    },
    "TBX11K": {"tb": "Tuberculosis"},
    "COVID-19 Radiography Database": {
        "COVID": "COVID-19",
        "Lung_Opacity": "Lung Opacity",
        "Normal": "No Finding",
    },
}


def verhoeff_holds(digits: str) -> bool:
    """Say whether the last digit checks the others: Verhoeff 1969, by composing the group's elements."""
    # The dihedral group of the pentagon: 0-4 are rotations, 5-9 reflections.
    permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    check = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        element = digit
        for _ in range(place % 8):
            element = permutation[element]
        rotation = check % 5 + element % 5 if check < 5 else check % 5 - element % 5
        check = rotation % 5 + 5 * ((check < 5) != (element < 5))
    return check == 0


def by_name(name: str) -> Finding:
    (finding,) = [each for each in VOCABULARY if each.name == name]
    return finding


# ---- order ------------------------------------------------------------------------------------


def test_nih14_stands_in_chexnets_order_and_nih15_adds_no_finding() -> None:
    assert [finding.name for finding in NIH14] == CHEXNET_ORDER
    assert (*NIH14, NO_FINDING) == NIH15
    assert NO_FINDING.name == "No Finding"
    assert VOCABULARY[:15] == NIH15


# ---- spellings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        pytest.param(*pair, id=f"{data_set}-{pair[0]}")
        for data_set in SPELLINGS
        for pair in SPELLINGS[data_set].items()
    ],
)
def test_each_data_sets_spelling_is_known(spelling: str, name: str) -> None:
    assert parse_finding(spelling, where="a test") == by_name(name)


def test_every_spelling_is_one_that_a_data_set_uses() -> None:
    used = {re.sub("[ _-]", "", spelling).casefold() for names in SPELLINGS.values() for spelling in names}
    for finding in VOCABULARY:
        for spelling in finding.spellings:
            assert re.sub("[ _-]", "", spelling).casefold() in used, (finding.name, spelling)


def test_no_spelling_means_two_findings() -> None:
    for finding in VOCABULARY:
        for spelling in (finding.name, finding.label, *finding.spellings):
            found = find_finding(spelling)
            assert found is finding, f"{spelling!r} of {finding} is read as {found}"


def test_names_are_unique() -> None:
    assert len({finding.name for finding in VOCABULARY}) == len(VOCABULARY)


def test_findings_that_only_resemble_each_other_stay_apart() -> None:
    assert find_finding("Lung Opacity") != find_finding("Airspace opacity")
    assert find_finding("Nodule/Mass") not in {find_finding("Nodule"), find_finding("Mass")}
    assert find_finding("Rib fracture") is None  # a part of Fracture: its zeros are not Fracture's
    assert find_finding("Aortic enlargement") is None


@given(st.sampled_from(VOCABULARY), st.data())
def test_case_spaces_hyphens_and_underscores_never_matter(finding: Finding, data: st.DataObject) -> None:
    spelling = data.draw(st.sampled_from([finding.name, finding.label, *finding.spellings]))
    written = "".join(
        data.draw(st.sampled_from(["", " ", "_", "-"]))
        if letter in " _-"
        else data.draw(st.sampled_from([letter.upper(), letter.lower()]))
        for letter in spelling
    )
    assert find_finding(f" {written}_") is finding


@given(st.text())
def test_any_text_is_looked_up_without_an_error(text: str) -> None:
    assert find_finding(text) is None or find_finding(text) in VOCABULARY


def test_the_real_label_files_hold_no_unknown_spelling() -> None:
    nih = SHARED / "nih-sample"
    google = SHARED / "radiologist-labels" / "radiologist_labels_google2019.csv.gz"
    if not (nih.is_dir() and google.is_file()):
        pytest.skip(f"{SHARED} has no nih-sample and radiologist-labels")
    with gzip.open(nih / "Data_Entry_2017_v2020.csv.gz", "rt", encoding="utf-8") as file:
        labels = {label for row in csv.DictReader(file) for label in row["Finding Labels"].split("|")}
    assert {parse_finding(label, where=file.name) for label in labels} == set(NIH15)
    with gzip.open(nih / "BBox_List_2017.csv.gz", "rt", encoding="utf-8") as file:
        boxed = {parse_finding(row["Finding Label"], where="the boxes").name for row in csv.DictReader(file)}
    assert boxed == set(CHEXNET_ORDER[:8])
    with gzip.open(google, "rt", encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert [find_finding(column) for column in header[-5:-1]] == [
        by_name("Fracture"),
        by_name("Pneumothorax"),
        by_name("Airspace opacity"),
        by_name("Nodule or Mass"),
    ]


# ---- errors -----------------------------------------------------------------------------------


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(DataError) as caught:
        parse_finding("Pneumotorax", where="labels.csv, row 3")
    assert str(caught.value).startswith(
        "unknown finding 'Pneumotorax' in labels.csv, row 3; did you mean Pneumothorax"
    )
    assert str(caught.value).endswith(
        "Declare a finding of your own with a column named 'finding:NAME' in a folder's CSV"
    )


def test_a_name_like_no_other_gets_all_names() -> None:
    with pytest.raises(DataError) as caught:
        parse_finding("qqqq", where="labels.csv")
    assert f"; known are {', '.join(finding.name for finding in VOCABULARY)}. Declare" in str(caught.value)


def test_a_list_may_be_a_name_of_a_list_one_finding_or_several_in_order() -> None:
    assert parse_findings("NIH14") == NIH14
    assert parse_findings("NIH15") == NIH15
    assert parse_findings("Pleural Effusion") == (by_name("Effusion"),)
    assert parse_findings(["Hernia", "mass"]) == (by_name("Hernia"), by_name("Mass"))


def test_a_finding_of_ones_own_is_taken_as_it_stands() -> None:
    (own,) = parse_findings(["finding:Aortic_enlargement"])
    assert (own.name, own.label) == ("Aortic_enlargement", "Aortic enlargement")
    assert (own.spellings, own.snomed, own.radlex) == ((), None, None)


@pytest.mark.parametrize(
    "names", [["Effusion", "Mass", "Pleural Effusion"], ["Effusion", "Mass", "finding:Effusion"]]
)
def test_a_finding_that_stands_twice_is_refused_whatever_its_spelling(names: list[str]) -> None:
    with pytest.raises(
        DataError, match=r"^finding Effusion is repeated in the list of findings; name it once$"
    ):
        parse_findings(names)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"^the list of findings is empty; name at least one, or NIH14 or NIH15$"
    ):
        parse_findings([])


def test_some_of_the_findings_at_hand_are_taken_in_the_order_of_their_names() -> None:
    own = Finding("Own")
    at_hand = (*NIH14, own)
    assert select_findings((), at_hand) == at_hand
    assert select_findings("", at_hand) == at_hand
    assert select_findings("NIH14", at_hand) == NIH14
    assert select_findings(["Own", "pleural effusion"], at_hand) == (own, by_name("Effusion"))
    with pytest.raises(
        DataError, match=r"^`findings` has Fracture, Ow, and there are only Mass, Own; choose"
    ):
        select_findings(["Mass", "Fracture", "Ow"], (by_name("Mass"), own))
    with pytest.raises(DataError, match=r"^`findings` has Effusion more than once; name it once$"):
        select_findings(["Effusion", "Pleural Effusion"], at_hand)


@pytest.mark.parametrize("name", ["", "  "])
def test_a_finding_needs_a_name(name: str) -> None:
    with pytest.raises(DataError, match=r"^the name of a finding is empty; give it a name$"):
        Finding(name)


# ---- the value --------------------------------------------------------------------------------


def test_findings_are_equal_by_name_and_print_as_it() -> None:
    assert Finding("Mass") == by_name("Mass")
    assert hash(Finding("Mass")) == hash(by_name("Mass"))
    assert Finding("Mass") != Finding("mass")
    assert str(by_name("Pleural_Thickening")) == "Pleural_Thickening"
    assert by_name("Pleural_Thickening").label == "Pleural Thickening"


# ---- codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("digits", "valid"),
    [
        ("236", True),  # 23 with check digit 6, the customary example of the scheme
        ("138875005", True),  # SNOMED CT's root concept
        ("404684003", True),  # Clinical finding
        ("404684004", False),  # one digit off
        ("404680043", False),  # neighbours swapped
        ("196121004", False),  # "pleural thickening" in some public code; no SNOMED CT identifier at all
    ],
)
def test_the_check_digit_finds_what_it_must(digits: str, *, valid: bool) -> None:
    assert verhoeff_holds(digits) is valid


def test_snomed_codes_are_international_concept_identifiers() -> None:
    for finding in VOCABULARY:
        if finding.snomed is not None:
            assert re.fullmatch("[1-9][0-9]{5,17}", finding.snomed), finding.name
            assert finding.snomed[-3:-1] == "00", finding.name  # partition: a concept of the core release
            assert verhoeff_holds(finding.snomed), finding.name


def test_radlex_codes_are_radlex_identifiers() -> None:
    for finding in VOCABULARY:
        assert finding.radlex is None or re.fullmatch("RID[1-9][0-9]{3,4}", finding.radlex), finding.name


def test_no_code_stands_for_two_findings() -> None:
    for scheme in ("snomed", "radlex"):
        values = [getattr(finding, scheme) for finding in VOCABULARY if getattr(finding, scheme)]
        assert len(set(values)) == len(values), scheme


def test_codes_are_those_of_the_dicom_standard_where_it_has_the_finding() -> None:
    # PS3.16: CID 645 (pleural effusion), 6105 (pneumothorax) and 3700 (pulmonary edema).
    assert by_name("Effusion").snomed == codes.SCT.PleuralEffusion.value
    assert by_name("Pneumothorax").snomed == codes.SCT.Pneumothorax.value
    assert by_name("Edema").snomed == codes.SCT.PulmonaryEdema.value


def test_findings_without_a_fitting_concept_have_no_code() -> None:
    for name in (
        "No Finding",
        "Enlarged Cardiomediastinum",
        "Lung Lesion",
        "Pleural Other",
        "Nodule or Mass",
    ):
        assert (by_name(name).snomed, by_name(name).radlex) == (None, None)


def test_a_misspelled_finding_is_suggested():
    with pytest.raises(DataError, match=r"has Efusion, and there are only Mass, Effusion; did you mean Eff"):
        select_findings(["Efusion"], parse_findings(["Mass", "Effusion"]))
