"""Phrases that read as translated do not occur where people read.

Code is not prose: of Markdown the text outside code is checked, of Python the docstrings, messages and
comments, and of templates everything except the tags.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CHECKED = (
    ".github",
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs",
    "src",
)
"""Files and folders whose prose is checked."""

GENERATED = "docs/api.md"
"""Written from the docstrings of src, which is the place to check and to correct them."""

_BE = r"(?:is|are|was|were|be|been|being)"
_PARTICIPLE = (
    r"(?:be|been|become|begun|broken|built|chosen|come|done|drawn|fallen|found|given|gone|had|held|kept|known"
    r"|learnt|left|lost|made|met|moved|proven|put|read|run|said|seen|sent|set|shown|stood|taken|told|won|worn"
    r"|written|\w+ed)"
)
_ADVERB = r"(?:yet|all|always|ever|only|necessarily|previously)"

PATTERNS = (
    # "There is no X", "is no longer" and "is no better than" are English.
    (rf"(?<!there )\b{_BE} no (?!(?:longer|more|less|other|different)\b|\w+er than\b)", "is not a X"),
    (rf"\b(?:has|have|had) not\b(?!,? (?:{_ADVERB} )?{_PARTICIPLE}\b)", "does not have X"),
    (rf"\bwhat [\w' -]{{1,40}}\b{_BE} worth\b", "how good X is"),
    (rf"\b{_BE} worth something\b", "is useful"),
    (r"\b(?:nobody|somebody|anybody|everybody)\b", "name who it is, or use the passive"),
    (rf"\b{_BE} told\b(?! apart)", "is given, is reported"),
    (rf"\b{_BE} said\b(?! to\b)", "is stated, is reported"),
    (rf"\b{_BE} had\b", "is available"),
    (r"\b(?:stands|stand|stood)\b(?! (?:for|out|by)\b)", "is, appears"),
    (r"\bof each kind of \w+ the\b", "the X of each Y"),
    (r"\bin the mean\b", "on average"),
    (r"(?:^|[.:;] )(?-i:Who) (?!(?:is|are|was|were|can|may|has|does)\b)\w+s\b", "to ..., anyone who ..."),
    (r"(?:^|[.:;] )else,? (?!if\b)", "otherwise"),
    (r"\b(?:go|goes|going|went) on (?:as|from|where|with|in)\b", "continues, resumes"),
    (rf"\b{_BE} of (?:a|an|another|the|other|two|one|its|these|those|this)\b", "belongs to, comes from"),
    (rf"\b{_BE} there(?=[.;:,)]|$)", "exists, is available"),
    (r"\bas [\w' -]{1,30} wants? it\b", "as X requires"),
    (r"\band no more\.", "only"),
    (r"\bscripts? of the moment\b", "an ad-hoc script"),
    (r"\bPython's lock\b", "the GIL"),
    (r"\bhangs? together\b", "are connected"),
    (r"\bat hand\b", "available"),
    (r"\bto (?:reach|stay below)(?= ?[:|)])", "target, limit"),
    (r"\ba coin\b", "chance level"),
    (r"\b(?:rightly|wrongly) (?:not )?called\b", "true positive, false positive, ..."),
    (r"\bhas it(?: not)?\b(?= ?[|<.]|$)", "positive, negative"),
    (r"\bfrom birth\b", "validated on construction"),
    (r"\bone each\b", "one per X"),
    (rf"\bof which (?:a|the|each|every) \w+ {_BE} right\b", "with all X correct"),
    (r"\bpretended\b", "how optimistic X would have been"),
    (r"\bargue with\b", "results you can defend"),
    (r"\b(?:grey|colour|centre)\w*", "gray, color, center"),
)
"""Each phrase (without regard to case) with what to write instead."""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The text that people read, in pieces, with the line where each begins."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from _python_prose(text)
        return
    for code in (r"^```.*?^```", r"`[^`]{1,200}`", r"\{[{%#].*?[}%#]\}", r"<[^>]+>"):
        text = re.sub(code, _blank, text, flags=re.MULTILINE | re.DOTALL)
    line = 1
    for paragraph in re.split(r"(?<=\n)(?=\s*\n|[|#*-])", text):
        yield line, paragraph
        line += paragraph.count("\n")


def _blank(code: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", code[0])


def _python_prose(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, re.sub(r"`[^`\n]+`", " ", node.value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def problems(text: str) -> list[str]:
    flat = re.sub(r"\s+", " ", text)
    matches = [(re.search(pattern, flat, re.IGNORECASE), instead) for pattern, instead in PATTERNS]
    return [
        f"...{flat[max(0, match.start() - 30) : match.end() + 30].strip()}... ({instead})"
        for match, instead in matches
        if match
    ]


def checked_files() -> list[Path]:
    places = [ROOT / name for name in CHECKED]
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
    return sorted(file for file in files if _is_prose(file))


def _is_prose(file: Path) -> bool:
    return file.suffix in {".md", ".py", ".j2", ".toml"} and file != ROOT / GENERATED


def test_phrases_that_read_as_translated_do_not_occur():
    listed = [
        f"{file.relative_to(ROOT)}:{line}: {problem}"
        for file in checked_files()
        for line, piece in prose(file)
        for problem in problems(piece)
    ]
    assert listed == [], "\n" + "\n".join(listed)


@pytest.mark.parametrize(
    "sentence",
    [
        "a.png is no radiograph.",
        "a pooling that this backbone has not",
        "It shows what such maps are worth.",
        "Nobody knows.",
        "The user is told which file it was.",
        "The table stands in the docs.",
        "No GPU was to be had, and none could be had.",
        "Of each kind of call the surest image.",
        "Else the first is taken.",
        "Go on where a stopped run was.",
    ],
)
def test_the_patterns_find_what_they_are_for(sentence):
    assert problems(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no GPU.",
        "It is no longer needed, and is no better than chance.",
        "The file has not been written. It has not changed.",
        "ONNX stands for Open Neural Network Exchange.",
        "No finding was reported.",
        "If it fails, it is retried, or else it stops.",
    ],
)
def test_the_patterns_spare_good_english(sentence):
    assert problems(sentence) == []
