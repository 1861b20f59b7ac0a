"""The prose reads as native English: none of the phrases below occurs where people read.

Every pattern is one that reviewers stumbled over, with what to write instead. Code is not prose: of Markdown the
text outside code is read, of Python the docstrings, messages and comments, of templates everything but the tags.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

CHECKED = ("README.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md", "docs", ".github")
"""Files and folders whose prose is checked."""

_PARTICIPLE = (
    r"(?:been|yet|become|begun|broken|built|chosen|come|done|drawn|fallen|found|given|gone|had|held|kept|known|learnt|"
    r"left|lost|made|met|moved|proven|put|read|run|said|seen|sent|set|shown|stood|taken|told|won|worn|written|\w+ed)"
)

PATTERNS = {
    # "There is no X" and "is no longer", "is no better than" are English.
    r"(?<!there )\b(?:is|are|was|were|be|been) no (?!longer\b|more\b|less\b|other\b|different\b|\w+er than\b)": (
        "is no X -> is not a X"
    ),
    rf"\b(?:has|have|had) not\b(?!,? (?:yet |all |always |ever )?{_PARTICIPLE}\b)": "has not X -> does not have X",
    r"\bwhat [\w' -]{1,40}\b(?:is|are|was|were) worth\b": "what X is worth -> how good X is",
    r"\b(?:is|are) worth something\b": "is worth something -> is useful",
    r"\b(?:nobody|somebody|anybody|everybody)\b": "nobody, somebody, anybody -> name who it is, or use the passive",
    r"\b(?:is|are|was|were|be|been|being) told\b(?! apart)": "is told -> is given, is reported",
    r"\b(?:is|are|was|were) said\b(?! to\b)": "is said -> is stated, is reported",
    r"\b(?:is|are|was|were|be|been) had\b": "is had -> is available",
    r"\b(?:stands|stand|stood)\b(?! (?:for|out|by)\b)": "stands -> is, appears",
    r"\bof each kind of \w+ the\b": "of each kind of X the Y -> the Y of each X",
    r"\bin the mean\b": "in the mean -> on average",
    r"(?:^|[.:;] )Who (?!is\b|are\b|was\b|were\b|can\b|may\b|has\b)\w+s\b": "Who wants ... -> To ..., Anyone who ...",
    r"(?:^|[.:;] )[Ee]lse,? (?!if\b)": "Else ... -> Otherwise ...",
    r"\b(?:go|goes|going|went) on (?:as|from|where|with|in)\b": "goes on -> continues, resumes",
    r"\b(?:is|are|was|were) of (?:a|an|another|the|other|two|one|its|these|those|this)\b": "is of X -> belongs to X",
    r"\b(?:is|are|was|were|be) there(?=[.;:,)]|$)": "is there -> exists, is available",
    r"\bas [\w' -]{1,30} wants? it\b": "as X wants it -> as X requires",
    r"\band no more\.": "and no more -> only",
    r"\b(?:script|scripts) of the moment\b": "a script of the moment -> an ad-hoc script",
    r"\bPython's lock\b": "Python's lock -> the GIL",
    r"\bhangs? together\b": "hang together -> are connected",
    r"\bat hand\b": "at hand -> available",
    r"\b(?:to reach|to stay below)(?= ?[:|)])": "to reach -> target",
    r"\bbe it\b": "be it A or B -> whether A or B",
    r"\ba (?:coin|guess) ranks\b": "a coin ranks as well -> chance level",
    r"\b(?:rightly|wrongly) (?:not )?called\b": "rightly called -> true positive",
    r"\bvalid from birth\b": "valid from birth -> validated on construction",
    r"\bone each\b": "one each -> one per X",
    r"\bof which (?:a|the|each|every) \w+ is\b(?= right)": "of which every label is right -> with all labels right",
}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The text that people read, as pieces with the lines where they begin."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from _python_prose(text)
    else:
        blank = lambda match: re.sub(r"[^\n]", " ", match[0])  # noqa: E731
        for code in (r"^```.*?^```", r"`[^`]{1,200}`", r"\{[{%#].*?[}%#]\}", r"<[^>]+>"):
            text = re.sub(code, blank, text, flags=re.MULTILINE | re.DOTALL)
        line = 1
        for paragraph in re.split(r"(?<=\n)(?=\s*\n|[|#*-])", text):
            yield line, paragraph
            line += paragraph.count("\n")


def _python_prose(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, re.sub(r"`[^`]{1,200}`", " ", node.value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def findings(path: Path) -> list[str]:
    found = []
    for line, piece in prose(path):
        flat = re.sub(r"\s+", " ", piece)
        for pattern, instead in PATTERNS.items():
            if match := re.search(pattern, flat, re.IGNORECASE if not pattern.startswith("(?:^") else 0):
                context = flat[max(0, match.start() - 30) : match.end() + 30].strip()
                found.append(f"{path.relative_to(ROOT)}:{line}: ...{context}... ({instead})")
    return found


def checked_files() -> list[Path]:
    places = [ROOT / name for name in CHECKED]
    kinds = {".md", ".py", ".j2", ".toml"}
    inside = [path for place in places for path in (place.rglob("*") if place.is_dir() else [place])]
    return sorted(path for path in inside if path.suffix in kinds)


def test_phrases_that_read_as_translated_do_not_occur():
    problems = [problem for path in checked_files() for problem in findings(path)]
    assert problems == [], "\n" + "\n".join(problems)


def test_the_patterns_catch_what_they_are_for():
    wrong = (
        "This is no radiograph.",
        "a pooling that this backbone has not",
        "It shows what such maps are worth.",
        "Nobody knows.",
        "The user is told which file it was.",
        "The table stands in the docs.",
        "No GPU was to be had, so nothing is had.",
        "the surest image of each kind of call the page shows; of each kind of call the surest",
    )
    for sentence in wrong:
        assert any(re.search(pattern, sentence, re.IGNORECASE) for pattern in PATTERNS), sentence


def test_the_patterns_spare_good_english():
    right = (
        "There is no GPU.",
        "It is no longer needed, and is no better than chance.",
        "The file has not been written. It has not changed.",
        "ONNX stands for Open Neural Network Exchange.",
        "No finding was reported.",
    )
    for sentence in right:
        for pattern in PATTERNS:
            assert not re.search(pattern, sentence, re.IGNORECASE), (sentence, pattern)
