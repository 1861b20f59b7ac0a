"""docs/audit.md says what finds each fault of published code: those kinds and tests must be there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def rows():
    text = (ROOT / "docs" / "audit.md").read_text()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]


def test_each_fault_has_a_kind_and_a_test_that_plants_it():
    header, _, *faults = rows()
    assert header == ["fault", "found as", "planted by"]
    assert len(faults) == 11  # in the list of faults found in public code
    source = "".join(path.read_text() for path in sorted((ROOT / "src" / "thorax" / "audit").glob("*.py")))
    tests = "".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))
    parts = re.compile(r"-(train|val|test)$|^rows-of-(?=val)|^near-(?=images)")
    for fault, kinds, planted in faults:
        named = [each for each in re.findall(r"`([a-z-]+)`", kinds) if each != "evaluate"]
        assert named or "no trace" in kinds, fault
        for kind in named:
            stem = parts.sub("", kind)
            assert kind in source or stem in source, kind
        functions = re.findall(r"`(test_\w+)`", planted)
        assert functions, fault
        for function in functions:
            assert f"def {function}(" in tests, function
