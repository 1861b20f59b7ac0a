"""Damaged and hostile variants of a file's bytes, each a pure function of a random generator."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

TOKENS = (
    b"", b"0", b"-1", b"1e400", b"nan", b"inf", b"-0.0", b"1" * 400, b"9223372036854775808", b"null", b"true",
    b"[" * 3000, b'{"a":' * 300, b"\x00", b"\x1b[31m", b"\xff\xfe", "\u202eevil".encode(), b"../../etc/p",
    b"/etc/passwd", b"/dev/zero", b"=cmd|'C calc'!A0", b"<script>alert(1)</script>", b'"', b"'", b",", b"\r",
    b"\n", b"x" * 5000, b"%s%n", b"{{7*7}}", b"\xf0\x9f\x98\x80", b"C:\\con", b"a\tb",
)  # fmt: skip
"""What strangers write where a value belongs."""

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, "", "x" * 5000, "/dev/zero",
    "../../etc/passwd", "\x1b[31m", "\u202eevil", "\ud800", [], {}, [[]], [None], {"a": 1}, [0] * 3000, "nan",
    float("nan"), float("inf"),
)  # fmt: skip
"""What strangers write where JSON has another value."""


def mutated(content: bytes, draw: random.Random, *, is_text: bool) -> bytes:
    """Return the content after one to four changes; of text, some replace a word by a token."""
    changes = (*BINARY, *TEXT, *TEXT) if is_text else BINARY
    result = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        draw.choice(changes)(result, draw)
    return bytes(result)


def mutated_json(content: bytes, draw: random.Random) -> bytes:
    """Return JSON with one to three values or keys replaced, removed or doubled."""
    value = json.loads(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        _change_node(value, draw)
    return json.dumps(value).encode()


def _change_node(value: Any, draw: random.Random) -> None:
    nodes: list[dict[str, Any] | list[Any]] = []

    def collect(node: Any) -> None:
        if isinstance(node, dict | list) and node:
            nodes.append(node)
            for inner in node.values() if isinstance(node, dict) else node:
                collect(inner)

    collect(value)
    if not nodes:
        return
    node = draw.choice(nodes)
    key: Any = draw.choice(list(node)) if isinstance(node, dict) else draw.randrange(len(node))
    match draw.randrange(5):
        case 0 | 1:
            node[key] = deepcopy(draw.choice(VALUES))  # the next change may be inside of it
        case 2:
            del node[key]
        case 3 if isinstance(node, dict):
            node[draw.choice(("", "extra", "x" * 5000, "\x1b"))] = node.pop(key)
        case _:
            other = draw.choice(nodes)
            node[key] = json.loads(json.dumps(other)[:20_000]) if len(json.dumps(other)) < 20_000 else 0


def _place(content: bytearray, draw: random.Random) -> int:
    """Return a position; the head of a file, where its format is decided, is as likely as the rest."""
    return draw.randrange(min(len(content), 256) if draw.random() < 0.5 else len(content)) if content else 0


def _flip(content: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 1, 3, 16))):
        if content:
            content[_place(content, draw)] ^= 1 << draw.randrange(8)


def _set(content: bytearray, draw: random.Random) -> None:
    if content:
        content[_place(content, draw)] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))


def _number(content: bytearray, draw: random.Random) -> None:
    size, at = draw.choice((2, 4, 8)), _place(content, draw)
    number = (
        draw.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63, draw.getrandbits(64))) % 256**size
    )
    content[at : at + size] = number.to_bytes(size, draw.choice(("big", "little")))


def _cut(content: bytearray, draw: random.Random) -> None:
    del content[_place(content, draw) :]


def _delete(content: bytearray, draw: random.Random) -> None:
    at = _place(content, draw)
    del content[at : at + draw.choice((1, 2, 16, 300))]


def _double(content: bytearray, draw: random.Random) -> None:
    at, size = _place(content, draw), draw.choice((1, 4, 64, 1000))
    content[at:at] = content[at : at + size] * draw.choice((1, 2, 50))


def _exchange(content: bytearray, draw: random.Random) -> None:
    one, other, size = _place(content, draw), _place(content, draw), draw.choice((1, 4, 32))
    part = content[one : one + size]
    content[one : one + size] = content[other : other + size]
    content[other : other + size] = part


def _token(content: bytearray, draw: random.Random) -> None:
    at = _place(content, draw)
    content[at : at + draw.choice((0, 1, 5))] = draw.choice(TOKENS)


def _word(content: bytearray, draw: random.Random) -> None:
    """Replace what stands between two separators."""
    marks = [at for at, byte in enumerate(content) if byte in b',\n="[]{} ']
    if len(marks) > 1:
        number = draw.randrange(len(marks) - 1)
        content[marks[number] + 1 : marks[number + 1]] = draw.choice(TOKENS)


def _line(content: bytearray, draw: random.Random) -> None:
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    match draw.randrange(3):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, draw.choice(lines))
        case _:
            lines[at] = lines[at] * 2
    content[:] = b"\n".join(lines)


Change = Callable[[bytearray, random.Random], None]
BINARY: tuple[Change, ...] = (_flip, _flip, _set, _number, _number, _cut, _delete, _double, _exchange)
TEXT: tuple[Change, ...] = (_token, _word, _word, _line)
