"""Names of images as other files write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thorax.image_names import ImageNames, has_ending, without_ending, without_folders

NAMES = ("a.png", "x/b.png", "y/b.png", "z/c.dcm", "1.2.840")


@pytest.mark.parametrize(
    ("written", "row"),
    [
        ("a.png", 0),
        (" a.png ", 0),
        ("a", 0),
        ("a.jpg", 0),
        ("C:\\data\\a.PNG", 0),
        ("x/b.png", 1),
        ("b.png", None),  # two could be meant
        ("b", None),
        ("z/c", 3),
        ("data/z/c", 3),
        ("c", 3),
        ("w/c", None),  # of another folder, as test/1.png and train/1.png are different images
        ("w/c.dcm", None),
        ("1.2.840", 4),
        ("1.2.840.png", 4),
        ("1.2", None),
        ("", None),
    ],
)
def test_an_image_is_found_unless_several_could_be_meant(written, row):
    assert ImageNames(NAMES).row(written) == row


def _slow(names, written):
    """The rule as it is said: whole, then without folders, then without ending, each only if it is one."""
    written = written.strip()
    for key in (str, without_folders, lambda name: without_ending(without_folders(name))):
        rows = [row for row, name in enumerate(names) if key(name) == key(written)]
        if len(rows) == 1:
            (row,) = rows
            one, other = sorted(
                (f"/{name.strip()}".rpartition("/")[0] for name in (names[row], written)), key=len
            )
            return row if f"{other}/".endswith(f"{one}/") else None
    return None


pieces = st.lists(st.sampled_from(["a", "b", "/", ".png", ".jpg", "."]), min_size=1, max_size=4).map("".join)


@given(st.lists(pieces, unique=True, max_size=5), pieces)
def test_the_index_and_the_rule_agree(names, written):
    assert ImageNames(names).row(written) == _slow(names, written)


def test_endings():
    assert has_ending("a.DICOM")
    assert not has_ending("a.txt")
    assert without_ending("a.tar.png") == "a.tar"
