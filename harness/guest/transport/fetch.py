"""Copying files out of a guest over SFTP, within a budget.

The guest's SFTP server may be hostile. Its listings are read entry by entry and its files in
chunks. A stated size is only used to refuse a file that is too large. Folders are walked without
recursion. Links and devices are skipped, because a link could point out of the folder or form a
loop.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import paramiko
from paramiko.message import Message
from paramiko.sftp import (
    CMD_ATTRS,
    CMD_CLOSE,
    CMD_HANDLE,
    CMD_LSTAT,
    CMD_NAME,
    CMD_OPENDIR,
    CMD_READDIR,
)
from paramiko.sftp_attr import SFTPAttributes

from harness.guest.limits import NONSENSE, Budget, CopyLimitError, CopyUsage, printable
from harness.guest.verdict.deadlines import Deadline

_CHUNK = 32 << 10


class _Entry(NamedTuple):
    remote: bytes
    local: Path
    depth: int


class _Found(NamedTuple):
    raw: bytes
    mode: int
    size: int


def copy(
    channel: paramiko.Channel, remote: str, local: Path, deadline: Deadline, budget: Budget
) -> None:
    """Copy a file, or a folder with its contents, over a new channel.

    Files that were copied before a limit was reached are kept.

    :raise FileNotFoundError: there is no ``remote``.
    :raise CopyLimitError: the budget or the deadline was exceeded, or the server violates SFTP.
    """
    usage = CopyUsage(budget, remote)
    try:
        channel.invoke_subsystem("sftp")
        sftp = paramiko.SFTPClient(channel)
        _walk(sftp, _Entry(remote.encode(), local, 0), deadline, usage)
    except UnicodeError as error:
        raise CopyLimitError(
            f"the guest has a file whose name the host cannot store: {error}", where=remote
        ) from error
    except (paramiko.SFTPError, *NONSENSE) as error:
        raise CopyLimitError(
            f"the guest's SFTP server violates the protocol: {error}", where=remote
        ) from error


def _walk(sftp: paramiko.SFTPClient, start: _Entry, deadline: Deadline, usage: CopyUsage) -> None:
    kind, answer = _request(sftp, CMD_LSTAT, start.remote)
    if kind != CMD_ATTRS:
        raise ValueError(f"answer {kind} to a question for attributes")
    mode, size = _attributes(answer)
    if not stat.S_ISDIR(mode):
        if stat.S_ISREG(mode):
            start.local.parent.mkdir(parents=True, exist_ok=True)
            _copy_file(sftp, start, size, deadline, usage)
        return
    start.local.mkdir(parents=True, exist_ok=True)
    folders = [start]
    while folders:
        folder = folders.pop()
        for found in _listing(sftp, folder.remote, deadline, usage):
            name = usage.name(found.raw)
            entry = _Entry(folder.remote + b"/" + found.raw, folder.local / name, folder.depth + 1)
            if stat.S_ISDIR(found.mode):
                usage.entry(entry.depth)
                entry.local.mkdir(exist_ok=True)
                folders.append(entry)
            elif stat.S_ISREG(found.mode):
                usage.entry(folder.depth)
                _copy_file(sftp, entry, found.size, deadline, usage)


def _copy_file(
    sftp: paramiko.SFTPClient, entry: _Entry, size: int, deadline: Deadline, usage: CopyUsage
) -> None:
    """Copy a file in chunks. Its stated size may be too small or too large."""
    name = printable(entry.remote)
    usage.claim(size, name)
    try:
        source = sftp.open(entry.remote, "rb")
    except FileNotFoundError:
        if entry.depth == 0:
            raise
        return  # it was removed in the meantime
    with source, entry.local.open("wb") as target:
        while chunk := source.read(_CHUNK):
            usage.add(len(chunk))
            target.write(chunk)
            if deadline.expired:
                raise usage.timed_out(deadline.seconds)


def _listing(
    sftp: paramiko.SFTPClient, folder: bytes, deadline: Deadline, usage: CopyUsage
) -> Iterator[_Found]:
    """Yield the entries of a folder, however many there are.

    paramiko's own listings decode names as UTF-8, and fail for a whole folder if one is not.
    """
    kind, answer = _request(sftp, CMD_OPENDIR, folder)
    if kind != CMD_HANDLE:
        raise ValueError(f"answer {kind} to the opening of a folder")
    handle = answer.get_string()
    try:
        while True:
            if deadline.expired:
                raise usage.timed_out(deadline.seconds)
            try:
                kind, answer = _request(sftp, CMD_READDIR, handle)
            except EOFError:
                return  # SSH_FX_EOF: the listing is complete
            if kind != CMD_NAME:
                raise ValueError(f"answer {kind} to the reading of a folder")
            yield from _names(answer)
    finally:
        if not deadline.expired:
            _request(sftp, CMD_CLOSE, handle)


def _names(answer: Message) -> Iterator[_Found]:
    """Yield the entries in one answer of a listing (draft-ietf-secsh-filexfer-02, section 7)."""
    count = answer.get_int()
    if count == 0:
        raise ValueError("a listing that neither goes on nor ends")
    for _ in range(count):
        if not answer.get_remainder():
            raise ValueError("a listing with fewer names than it says")
        raw = answer.get_string()
        answer.get_string()  # the line that `ls -l` would print
        mode, size = _attributes(answer)
        if raw not in {b".", b".."}:
            yield _Found(raw, mode, size)


def _attributes(answer: Message) -> tuple[int, int]:
    """Return the mode and the size among a file's attributes, 0 if they are not stated.

    Section 5 of the draft has them. paramiko would read as many extended ones as are announced.
    """
    flags = answer.get_int()
    size = answer.get_int64() if flags & SFTPAttributes.FLAG_SIZE else 0
    if flags & SFTPAttributes.FLAG_UIDGID:
        answer.get_bytes(8)
    mode = answer.get_int() if flags & SFTPAttributes.FLAG_PERMISSIONS else 0
    if flags & SFTPAttributes.FLAG_AMTIME:
        answer.get_bytes(8)
    if flags & SFTPAttributes.FLAG_EXTENDED:
        raise ValueError("extended attributes, which nobody has asked for")
    return mode, size


def _request(sftp: paramiko.SFTPClient, kind: int, *words: bytes) -> tuple[int, Message]:
    answer: tuple[int, Message] = sftp._request(kind, *words)  # type: ignore[attr-defined]
    return answer
