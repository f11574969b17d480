"""Escaping of a guest's output, which must not control the user's terminal."""

from __future__ import annotations

import unicodedata


def _shown(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


#: Escape sequences begin with a C0 or C1 control; direction marks reorder a line on display.
_UNSAFE = {
    code: _shown(code)
    for code in [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]
    + [c for c in range(0x200B, 0x2070) if unicodedata.category(chr(c)) == "Cf"]
    + [0x061C, 0xFEFF]
    if chr(code) not in "\n\t"
}
_ONE_LINE = {**_UNSAFE, 0x0A: "\\n", 0x09: " "}


def clean(text: str) -> str:
    r"""Return a text with its control characters escaped, as in ``\x1b``.

    Line ends stay, tabs become blanks.
    """
    return text.translate(_UNSAFE).expandtabs(4)


def clean_line(text: str) -> str:
    r"""Return a text on one line: control characters are escaped, line ends as ``\n``."""
    return text.translate(_ONE_LINE)


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
