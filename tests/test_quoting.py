import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thorax.errors import DataError, ImageError
from thorax.quoting import cut, json_visible, quoted, visible, visible_lines

ESCAPES = [
    ("\x1b[31mred", "\\x1b[31mred"),
    ("bell\x07", "bell\\x07"),
    ("title\x9d0;x\x9c", "title\\x9d0;x\\x9c"),
    ("two\r\nlines\t", "two\\r\\nlines\\t"),
    ("turned \u202egnp.exe", "turned \\u202egnp.exe"),
    ("p\u200b1", "p\\u200b1"),
    ("not text \udcff", "not text \\udcff"),
    ("null\0", "null\\x00"),
]


@pytest.mark.parametrize(("text", "shown"), ESCAPES)
def test_what_a_terminal_would_act_on_is_shown_as_an_escape(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["Größe 12.5 % – 胸部.png", "C:\\new\\x1b", "😀 _1_", "Hernia's"])
def test_other_text_is_unchanged(text):
    assert visible(text) == text


def test_lines_stay_lines_where_they_may():
    assert visible_lines("a\n\tb\x1b") == "a\n\tb\\x1b"


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_shown_and_is_shown_once(text):
    shown = visible(text)
    assert "\x1b" not in shown.encode().decode()  # it can be encoded
    assert visible(shown) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_json_means_the_same(text):
    written = json_visible(json.dumps([text], ensure_ascii=False))
    assert json.loads(written.encode()) == [text]
    assert visible_lines(written) == written


@given(st.text(), st.integers(20, 60))
def test_text_is_cut_in_its_middle(text, limit):
    shorter = cut(text, limit)
    assert len(shorter) <= limit
    assert shorter == text or (text.startswith(shorter[:8]) and text.endswith(shorter[-3:]))


def test_a_quoted_value_has_at_most_sixty_characters():
    assert quoted("Edema") == "'Edema'"
    assert quoted("patient's") == '"patient\'s"'
    assert quoted(3) == "'3'"
    assert quoted("x" * 10**7) == f"'{'x' * 57}...'"
    assert len(quoted("\x1b" * 100)) == 62


def test_messages_are_one_line_of_bounded_length():
    error = ImageError("a.png\n\x1b[2J: the file is " + "x" * 10**7 + "; copy it again")
    assert str(error).startswith("a.png\\n\\x1b[2J: the file is xx")
    assert str(error).endswith("xx; copy it again")
    assert len(str(error)) == 2000
    assert str(pickle.loads(pickle.dumps(DataError("\x1b")))) == "\\x1b"
