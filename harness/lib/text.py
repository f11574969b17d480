"""Escaping of a guest's output, which must not control the user's terminal or a CI system."""

from __future__ import annotations

import re

#: The characters of Unicode's category Cf: among others direction marks, which reorder a line on
#: display, and tags, which nobody sees. Hexadecimal.
_FORMAT = (
    "ad 600-605 61c 6dd 70f 890-891 8e2 180e 200b-200f 202a-202e 2060-2064 2066-206f feff "
    "fff9-fffb 110bd 110cd 13430-1343f 1bca0-1bca3 1d173-1d17a e0001 e0020-e007f"
)


def _shown(code: int) -> str:
    """Return the escape of a character. From U+007F on it is also one in JSON."""
    if code < 0x7F:
        return f"\\x{code:02x}"
    units = chr(code).encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _unsafe() -> dict[int, str]:
    """Return the escapes of controls, C1 ones included, of invisible characters and surrogates."""
    ranges = [(0, 0x1F), (0x7F, 0x9F), (0x2028, 0x2029), (0xD800, 0xDFFF)]
    for word in _FORMAT.split():
        first, _, last = word.partition("-")
        ranges.append((int(first, 16), int(last or first, 16)))
    return {code: _shown(code) for first, last in ranges for code in range(first, last + 1)}


_ONE_LINE = {**_unsafe(), 0x0A: "\\n", 0x09: " "}
_UNSAFE = {code: shown for code, shown in _ONE_LINE.items() if chr(code) not in "\n\t"}

#: What makes a line a workflow command of GitHub Actions: ``::`` at its begin, and ``##[``.
_COMMAND = re.compile(r"((?:^|[\r\n])\s*:):|##\[")


def clean(text: str) -> str:
    r"""Return a text with its control characters escaped, as in ``\x1b``.

    Line ends stay, tabs become blanks. A JSON text stays the same value.
    """
    return text.translate(_UNSAFE).expandtabs(4)


def clean_line(text: str) -> str:
    r"""Return a text on one line: control characters are escaped, line ends as ``\n``."""
    return text.translate(_ONE_LINE)


def without_commands(text: str) -> str:
    r"""Return a text in which no line is a workflow command of GitHub Actions.

    A character of each command becomes an escape, as in ``:\u003a``, which is also one in JSON.
    Nothing before that character changes.
    """
    return _COMMAND.sub(lambda found: found[1] + "\\u003a" if found[1] else "##\\u005b", text)


def clean_for_log(text: str) -> str:
    """Return a text as :func:`clean` does, without workflow commands."""
    return without_commands(clean(text))


def excerpt(text: str, lines: int, *, width: int = 200) -> list[str]:
    """Return the first and last lines of a text, at most `lines`, cleaned and cut to `width`.

    A case's first lines tell what it did, its last ones why it failed.
    """
    every = [clean(line) for line in text.rstrip("\n").split("\n")] if text.strip() else []
    if len(every) > lines:
        head = max(1, lines // 2 - 1)
        tail = lines - head - 1
        left_out = len(every) - head - tail
        every = [*every[:head], f"… {left_out} more lines …", *every[len(every) - tail :]]
    return [line if len(line) <= width else line[: width - 1] + "…" for line in every]
