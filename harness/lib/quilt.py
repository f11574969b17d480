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
#: Largest ``series`` file, in bytes.
MAX_SERIES = 16 << 20
#: Longest name of a patch, and longest part of it, in bytes; Linux opens no longer ones.
MAX_NAME, MAX_PART = 4095, 255

_WIDE = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
#: Quilt separates words by ASCII blanks only. A name may hold others, such as U+00A0.
_BLANKS = " \t\r\f\v"
_WORD = re.compile(f"[^{_BLANKS}]+")
_COMMENT = re.compile(f"(?:^|[{_BLANKS}])#.*$")
_GUARD = re.compile(r"[+-][^#]+")
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"]\0\0": "xz"}  # last: lzma
#: Compressed files that are not read, with the program that unpacks them.
_UNREAD = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x9d": "uncompress", b"\x04\x22\x4d\x18": "lz4"}


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


def is_there(folder: Path, entry: Entry) -> bool:
    """Tell whether a patch's file exists. A path that is too long or closed is none."""
    return os.path.isfile(folder / entry.name)  # noqa: PTH113 -- Path.is_file() raises for those


def read_series(listing: Path) -> tuple[Entry, ...]:
    """Return the entries of a ``series`` file.

    :raise UserError: the file cannot be read or is too large, a line holds an option that is not
        understood, or no file can have its name.
    """
    try:
        with listing.open("rb") as file:
            content = file.read(MAX_SERIES + 1)
    except OSError as error:
        raise UserError(f"the series cannot be read: {error.strerror}", where=listing) from error
    if len(content) > MAX_SERIES:
        raise UserError(f"the series is larger than {MAX_SERIES >> 20} MiB", where=listing)
    return parse_series(content, listing)


def parse_series(content: bytes, where: Path) -> tuple[Entry, ...]:
    """Return the entries of the text of a ``series`` file.

    A line is a patch's name, perhaps with guards before it and one of ``-pN``, ``-p N`` and
    ``-pab`` after it. ``#`` at the start of a word begins a comment. Quotes are ordinary
    characters.

    :raise UserError: a line holds another option, or no file can have its name.
    """
    found = []
    for number, line in enumerate(_text(content).split("\n"), 1):
        words = _WORD.findall(_COMMENT.sub("", line))
        guards = []
        while len(words) > 1 and _GUARD.fullmatch(words[0]):
            guards.append(words.pop(0))
        if words:
            _check_name(words[0], f"{where}:{number}")
            strip = _strip(words[1:], f"{where}:{number}")
            found.append(Entry(words[0], strip, tuple(guards)))
    return tuple(found)


def _text(content: bytes) -> str:
    for mark, encoding in _WIDE:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    return os.fsdecode(content.removeprefix(codecs.BOM_UTF8))


def _check_name(name: str, where: str) -> None:
    raw = os.fsencode(name)
    if len(raw) > MAX_NAME or b"\0" in raw or any(len(p) > MAX_PART for p in raw.split(b"/")):
        raise UserError(
            f"no file can have the name {_cut(name)}",
            where=where,
            hint=f"a name has no NUL bytes, and at most {MAX_PART} bytes between slashes",
        )


def _cut(text: str) -> str:
    """Return a text for an error: one that is long is cut."""
    return repr(text if len(text) <= 100 else f"{text[:100]}...")


def _strip(options: list[str], where: str) -> int:
    """Return how many leading folders a line's options strip; one by default."""
    joined = " ".join(options)
    if not joined or re.fullmatch(r"-p ?ab", joined):  # -pab only names the folders a/ and b/
        return 1
    match = re.fullmatch(r"-p ?([0-9]{1,3})", joined)
    if match is None:
        raise UserError(
            f"option {_cut(joined)} is not understood",
            where=where,
            hint="a line is a patch's name, and perhaps -p0, -p1 or -pab after it",
        )
    return int(match[1])


def refuse_pipe(path: Path) -> None:
    """Check that a path is no pipe, as ``<(command)`` gives one.

    :raise UserError: it is one.
    """
    if path.is_fifo():
        raise UserError(
            "a pipe can be read only once, and patches are read several times",
            where=path,
            hint="write the command's output into a file first",
        )


def read_patch(path: Path) -> bytes:
    """Return a patch's text, decompressed if it is a gzip, bzip2, xz or lzma file.

    :raise UserError: it cannot be read or decompressed, is a pipe, or is larger than
        :data:`MAX_PATCH`.
    """
    refuse_pipe(path)
    try:
        with path.open("rb") as file:
            start = file.read(6)
            file.seek(0)
            for magic, program in _UNREAD.items():
                if start.startswith(magic):
                    raise UserError(
                        "the patch is compressed in a form that is not read",
                        where=path,
                        hint=f"unpack it with {program} first; gzip, bzip2, xz and lzma are read",
                    )
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
