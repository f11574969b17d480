"""Changes of a file's bytes, and of the values in JSON and TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from random import Random
from typing import Any

import tomli_w

#: What a stranger may write where a text is expected.
TEXTS = (
    "", " ", "\0", "a\0b", "\x1b[2J", "\x1b]52;c;YQ==\a", "\x9b2J", "\u202e", "\u2066", "\ud800",
    "\U000e0041", "\r\n::add-mask::x", "##[group]", "section_start:0:x\r", "\n", "a\nb\n",
    "../../canary", "/dev/zero", "/proc/self/environ", "~", "-x", "--help", "ext::sh", "../" * 200,
    "--upload-pack=touch pwned", "$(touch pwned)", "`touch pwned`", "; touch pwned", "x" * 5000,
    "%s%n", "{0}", "<script>alert(1)</script>", "]]>", "&amp;", "nan", "1e999", "true", "null",
    "[bold]", "a" * 300 + "/b",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(2**70), 0.5, -0.0, 1e308, [], {},
    [[]], {"": ""}, ["a"] * 2000, *TEXTS,
)  # fmt: skip
#: Pieces that are put between the bytes of a file.
PIECES = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\x1b[31m", b"\x1b]0;x\x07", b"\xc2\x9b",
    b"\xe2\x80\xae", b"[" * 3000, b"{\"a\":" * 3000, b"x" * 70_000, b"\n" * 3000, b"9" * 5000,
    b"NaN", b"Infinity", b"-", b"\\u0000", b"\\ud800", b"../", b"From x\n", b"diff --git a/x b/x\n",
    b"--- /dev/null\n+++ b/../../canary\n@@ -0,0 +1 @@\n+x\n", b"ok 1 a\n", b"not ok 1 a\n",
    b"1..0\n",
)  # fmt: skip


def mutated(data: bytes, name: str, chance: Random) -> bytes:
    """Return a changed copy of a file; of JSON and TOML, mostly with changed values."""
    reader = _READERS.get(name.rpartition(".")[2])
    if reader and chance.random() < 0.7:
        try:
            return reader(data, chance)
        except (ValueError, TypeError, RecursionError, OverflowError):
            pass  # not changed by value: it is no such file, or the value cannot be written
    return _bytes(data, chance)


def _bytes(data: bytes, chance: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5, 20))):
        start = chance.randrange(len(changed) + 1)
        end = min(len(changed), start + chance.choice((1, 1, 4, 30, 300, 3000)))
        match chance.randrange(7):
            case 0:
                changed[start:end] = b""
            case 1:
                changed[start:start] = chance.choice(PIECES)
            case 2:
                changed[start:start] = changed[start:end] * chance.choice((1, 1, 3, 50))
            case 3:
                changed[start:end] = chance.randbytes(end - start)
            case 4:
                del changed[start:]
            case 5:
                other = chance.randrange(len(changed) + 1)
                changed[start:end], changed[other:other] = b"", changed[start:end]
            case _:
                if start < len(changed):
                    changed[start] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _changed(value: Any, chance: Random) -> Any:
    """Return a copy of a value in which one part is another one, lacks, or is doubled."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        match chance.randrange(8):
            case 0:
                return {name: one for name, one in value.items() if name != key}
            case 1:
                return {**value, chance.choice(TEXTS): value[key]}
            case _:
                return {**value, key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        match chance.randrange(6):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return value[:place] + [value[place]] * chance.choice((2, 2, 300)) + value[place:]
            case _:
                return [*value[:place], _changed(value[place], chance), *value[place + 1 :]]
    if isinstance(value, str) and chance.random() < 0.3:
        place = chance.randrange(len(value) + 1)
        return value[:place] + chance.choice(TEXTS) + value[place:]
    return chance.choice(VALUES)


def _json(data: bytes, chance: Random) -> bytes:
    return json.dumps(_changed(json.loads(data), chance), indent=1).encode()


def _lines(data: bytes, chance: Random) -> bytes:
    lines = data.splitlines()
    place = chance.randrange(len(lines))
    lines[place] = json.dumps(_changed(json.loads(lines[place]), chance)).encode()
    return b"\n".join(lines) + b"\n"


def _toml(data: bytes, chance: Random) -> bytes:
    changed = _changed(tomllib.loads(data.decode()), chance)
    if not isinstance(changed, dict):
        raise TypeError("TOML is a table")
    return tomli_w.dumps(changed).encode(errors="replace")


_READERS: dict[str, Callable[[bytes, Random], bytes]] = {
    "json": _json,
    "jsonl": _lines,
    "toml": _toml,
}
