"""Quilt's ``series`` file: which patches, in which order, with how many leading folders.

The file is read as bytes, because a comment or a patch's name may be in any encoding.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError

#: Largest patch after decompression, in bytes.
MAX_PATCH = 256 << 20

_WIDE = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_GUARD = re.compile(r"[+-][^\s#]+")
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}


@dataclass(frozen=True)
class Entry:
    """A patch that a ``series`` file names."""

    #: Path below the folder, as the file system spells it.
    name: str
    #: Leading folders to strip from the file names in the patch.
    strip: int = 1
    #: Guards in front of the name (``+x`` or ``-x``), as ``guards(1)`` reads them.
    guards: tuple[str, ...] = ()

    @property
    def chosen(self) -> bool:
        """Tell whether the patch is used when no guard's symbol is set.

        The last guard that applies decides: ``+x`` leaves the patch out, ``-x`` keeps it.
        """
        return not self.guards or self.guards[-1].startswith("-")

    @property
    def shown(self) -> str:
        """The name for display: bytes that are not UTF-8 are replaced."""
        return os.fsencode(self.name).decode(errors="replace")


def read_series(listing: Path) -> tuple[Entry, ...]:
    """Return the entries of a ``series`` file.

    :raise UserError: the file cannot be read, or a line holds an option that is not understood.
    """
    try:
        content = listing.read_bytes()
    except OSError as error:
        raise UserError(f"the series cannot be read: {error.strerror}", where=listing) from error
    return parse_series(content, listing)


def parse_series(content: bytes, where: Path) -> tuple[Entry, ...]:
    """Return the entries of the text of a ``series`` file.

    A line is a patch's name, perhaps with guards before it and one of ``-pN``, ``-p N`` and
    ``-pab`` after it. ``#`` at the start of a word begins a comment. Quotes are ordinary
    characters.

    :raise UserError: a line holds another option.
    """
    found = []
    for number, line in enumerate(_text(content).split("\n"), 1):
        words = _COMMENT.sub("", line).split()
        guards = []
        while len(words) > 1 and _GUARD.fullmatch(words[0]):
            guards.append(words.pop(0))
        if words:
            strip = _strip(words[1:], f"{where}:{number}")
            found.append(Entry(words[0], strip, tuple(guards)))
    return tuple(found)


def _text(content: bytes) -> str:
    for mark, encoding in _WIDE:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    return os.fsdecode(content.removeprefix(codecs.BOM_UTF8))


def _strip(options: list[str], where: str) -> int:
    """Return how many leading folders a line's options strip; one by default."""
    joined = " ".join(options)
    if not joined or re.fullmatch(r"-p ?ab", joined):  # -pab only names the folders a/ and b/
        return 1
    match = re.fullmatch(r"-p ?(\d{1,3})", joined)
    if match is None:
        raise UserError(
            f"option {joined!r} is not understood",
            where=where,
            hint="a line is a patch's name, and perhaps -p0, -p1 or -pab after it",
        )
    return int(match[1])


def read_patch(path: Path) -> bytes:
    """Return a patch's text, decompressed if it is a gzip, bzip2 or xz file.

    :raise UserError: it cannot be read or decompressed, or is larger than :data:`MAX_PATCH`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(6)
            file.seek(0)
            kind = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")
            if kind == "gzip":
                content = gzip.GzipFile(fileobj=file).read(MAX_PATCH + 1)
            elif kind == "bzip2":
                content = bz2.BZ2File(file).read(MAX_PATCH + 1)
            elif kind == "xz":
                with lzma.LZMAFile(file) as packed:
                    content = packed.read(MAX_PATCH + 1)
            else:
                content = file.read(MAX_PATCH + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(
            f"the patch cannot be read: {getattr(error, 'strerror', None) or error}", where=path
        ) from error
    if len(content) > MAX_PATCH:
        raise UserError(f"the patch is larger than {MAX_PATCH >> 20} MiB", where=path)
    return content
