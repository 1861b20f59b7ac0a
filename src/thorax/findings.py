"""The vocabulary of findings, used everywhere from CSV to DICOM.

The set is open. `VOCABULARY` has the findings of public data sets, with each data set's spelling and the
codes in RadLex and SNOMED CT; a user's own finding is `Finding("Silicosis")`. `NIH14` (in CheXNet's order)
and `NIH15` (with No Finding) are ordered tuples from it. An array with one column per finding is always
accompanied by the tuple that it follows.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from thorax.errors import DataError
from thorax.quoting import is_formula, quoted, visible

__all__ = [
    "NIH14",
    "NIH15",
    "NO_FINDING",
    "VOCABULARY",
    "Finding",
    "Findings",
    "find_finding",
    "finding_or_new",
    "parse_finding",
    "parse_findings",
    "select_findings",
]


_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a radiologist may see on a chest radiograph.

    Two findings are equal when their names are.

    Attributes:
        name: The canonical name, in NIH ChestX-ray14's spelling if it has the finding. It is the column
            name in tables and the key in JSON.
        meaning: What the name means in plain words, if it does not say so itself.
        spellings: Other names in public data sets. Case, spaces, hyphens and underscores are ignored.
        snomed: SNOMED CT concept identifier, or None if no concept fits.
        radlex: RadLex identifier, or None if no concept fits.
    """

    name: str
    meaning: str = field(default="", compare=False)
    spellings: tuple[str, ...] = field(default=(), compare=False)
    snomed: str | None = field(default=None, compare=False)
    radlex: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse a name that cannot be shown or written."""
        if not self.name.strip():
            raise DataError("the name of a finding is empty; give it a name")
        if not self.name.isprintable() or len(self.name) > _LONGEST_NAME or is_formula(self.name):
            raise DataError(
                f"a finding cannot be called {quoted(self.name)}: a name has at most {_LONGEST_NAME} "
                "characters, all of which print, and is not a spreadsheet's formula; give it another name"
            )
        if visible(self.name) != self.name:
            raise DataError(
                f"the name of a finding, {quoted(self.name)}, has control characters; remove them"
            )

    @property
    def label(self) -> str:
        """The name as it is shown everywhere: with spaces for underscores."""
        return self.name.replace("_", " ")

    def __str__(self) -> str:
        return self.name


Findings = tuple[Finding, ...]
"""The ordered findings that the last axis of an array follows."""

VOCABULARY: Findings = (
    Finding("Atelectasis", snomed="46621007", radlex="RID28493"),
    # RadLex has no concept for an enlarged heart: RID35057 is the "box-like heart" sign.
    Finding("Cardiomegaly", snomed="8186001"),
    Finding("Effusion", "pleural effusion", ("Pleural Effusion",), "60046008", "RID34539"),
    Finding("Infiltration", "infiltrate", ("Infiltrate", "Infiltrates"), "409609008", "RID39317"),
    Finding("Mass", "", ("Pulmonary Mass",), "309529002", "RID39056"),
    Finding("Nodule", snomed="786838002", radlex="RID50149"),
    Finding("Pneumonia", snomed="233604007", radlex="RID5350"),
    Finding("Pneumothorax", snomed="36118008", radlex="RID5352"),
    Finding("Consolidation", snomed="95436008", radlex="RID43255"),
    Finding("Edema", "pulmonary edema", ("Pulmonary Edema",), "19242006", "RID4866"),
    Finding("Emphysema", snomed="87433001", radlex="RID4799"),
    # RadLex has fibrosis of any organ (RID3820) and idiopathic pulmonary fibrosis (RID28836), but not this.
    Finding("Fibrosis", "pulmonary fibrosis", ("Pulmonary Fibrosis",), "51615001"),
    Finding("Pleural_Thickening"),
    # NIH does not say which hernia; those visible on a chest radiograph pass through the diaphragm.
    Finding("Hernia", "", ("Hiatal Hernia",), "39839004", "RID4934"),
    Finding("No Finding", spellings=("Normal",)),
    Finding("Enlarged Cardiomediastinum"),
    Finding("Fracture", snomed="125605004", radlex="RID4650"),
    Finding("Lung Lesion"),
    Finding("Lung Opacity"),
    # Majkowska et al. 2020. CheXpert's Lung Opacity is broader: it includes Lung Lesion and Edema.
    Finding("Airspace opacity"),
    Finding("Nodule or Mass", spellings=("Nodule/Mass",)),
    Finding("Pleural Other", "other pleural disease"),
    Finding("Support Devices"),
    Finding("Tuberculosis", "", ("TB",), "56717001", "RID29116"),
    Finding("COVID-19", "", ("COVID",), "840539006"),
)
"""Every finding that Thorax knows by name, starting with NIH ChestX-ray14's in CheXNet's order."""

NIH14: Findings = VOCABULARY[:14]
"""The 14 findings of NIH ChestX-ray14 in CheXNet's order (Rajpurkar et al. 2017, table 1)."""

NO_FINDING: Finding = VOCABULARY[14]
"""The label for images without any reported finding; never included in a macro mean."""

NIH15: Findings = (*NIH14, NO_FINDING)
"""`NIH14` and No Finding."""


def _folded(spelling: str) -> str:
    return "".join(letter for letter in spelling.casefold() if letter not in " _-")


_BY_SPELLING = {
    _folded(spelling): finding for finding in VOCABULARY for spelling in (finding.name, *finding.spellings)
}


def find_finding(spelling: str) -> Finding | None:
    """Return the vocabulary's finding with this name or spelling, or None."""
    return _BY_SPELLING.get(_folded(spelling))


def finding_or_new(spelling: str) -> Finding:
    """Return the vocabulary's finding with this name or spelling, or a new finding of that name."""
    return find_finding(spelling) or Finding(spelling)


def parse_finding(spelling: str, *, where: str) -> Finding:
    """Return the vocabulary's finding with this name or spelling.

    Args:
        spelling: Any data set's spelling of a finding.
        where: Where the spelling was read, for the error message.

    Raises:
        DataError: The vocabulary has no such finding; the message lists the closest names.
    """
    finding = find_finding(spelling)
    if finding is None:
        names = [known.name for known in VOCABULARY]
        near = difflib.get_close_matches(spelling, names, n=3)
        known = f"did you mean {', '.join(near)}?" if near else f"known are {', '.join(names)}."
        raise DataError(
            f"unknown finding {quoted(spelling)} in {where}; {known} "
            "Declare a finding of your own with a column named 'finding:NAME' in a folder's CSV"
        )
    return finding


def select_findings(
    names: str | Iterable[str], available: Findings, *, setting: str = "findings"
) -> Findings:
    """Return some of the available findings, in the order of `names`.

    Args:
        names: As `parse_findings` takes them; empty means all that are available.
        available: Findings in the vocabulary or not.
        setting: What messages call the names.

    Raises:
        DataError: A name is repeated, or is not available; the message lists those that are.
    """
    listed = [names] if isinstance(names, str) and names else list(names)
    wanted = {"NIH14": NIH14, "NIH15": NIH15}.get("".join(listed)) or tuple(map(finding_or_new, listed))
    absent = [finding.name for finding in wanted if finding not in available]
    if absent:
        known = [finding.name for finding in available]
        near = difflib.get_close_matches(absent[0], known, n=1)
        advice = f"did you mean {near[0]}?" if near else "choose some of these"
        raise DataError(
            f"`{setting}` has {', '.join(absent)}, and there are only {', '.join(known)}; {advice}"
        )
    repeated = [finding.name for finding in wanted if wanted.count(finding) > 1]
    if repeated:
        raise DataError(f"`{setting}` has {repeated[0]} more than once; name it once")
    return wanted or available


def parse_findings(names: str | Iterable[str]) -> Findings:
    """Return the findings of a recipe's list: "NIH14", "NIH15", or names in order.

    A name that starts with "finding:" need not be in the vocabulary.

    Raises:
        DataError: A name is unknown or repeated, or the list is empty.
    """
    match names:
        case "NIH14":
            return NIH14
        case "NIH15":
            return NIH15
        case str():
            names = [names]
    findings = tuple(
        finding_or_new(name.removeprefix("finding:"))
        if name.startswith("finding:")
        else parse_finding(name, where="the list of findings")
        for name in names
    )
    if not findings:
        raise DataError("the list of findings is empty; name at least one, or NIH14 or NIH15")
    for finding in findings:
        if findings.count(finding) > 1:
            raise DataError(f"finding {finding} is repeated in the list of findings; name it once")
    return findings
