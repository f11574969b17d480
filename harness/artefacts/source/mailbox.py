"""Mailboxes: which of their mails are the patches of a series.

Git splits the mailbox and parses the mails (``git mailsplit``, ``git mailinfo``), so that a mail is
read as ``git am`` reads it. The role of a mail in its thread is decided here, by the rules of b4:

- a mail whose subject begins with ``Re:`` or the like is a reply, whatever its content;
- a mail numbered 0 is a cover letter;
- any other mail with a diff is a patch. If it answers a mail of the mailbox, it must be numbered;
  or, in a thread without numbers, be marked ``[PATCH]`` and answer a mail of its own author;
- of several versions of a series the highest is used;
- a duplicate is ignored.
"""

from __future__ import annotations

import contextlib
import email.errors
import email.header
import email.parser
import email.policy
import email.utils
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import Literal

from harness.artefacts.source.patch import (
    Patch,
    has_diff,
    has_remains_of_diff,
    open_patch,
    split_mails,
)
from harness.errors import UserError
from harness.lib.quilt import read_patch
from harness.progress import Progress

Kind = Literal["patch", "cover letter", "reply", "older version", "duplicate", "other"]

#: Singular and plural of each kind of mail, for notes.
_WORDS: dict[Kind, tuple[str, str]] = {
    "patch": ("patch", "patches"),
    "cover letter": ("cover letter", "cover letters"),
    "reply": ("reply", "replies"),
    "older version": ("patch of an older version", "patches of an older version"),
    "duplicate": ("duplicate", "duplicates"),
    "other": ("other mail", "other mails"),
}
_REPLY = re.compile(r"(?:re|aw|fwd?|sv|antw)\s*(?:\[\d+\])?:|\w{2,3}:\s*\[", re.IGNORECASE)
_BRACKETS = re.compile(r"\s*\[([^\]]*)\]\s*")
_VERSION = re.compile(r"(?:patch)?v(\d{1,4})(?:\.\d+)?", re.IGNORECASE)
_COUNT = re.compile(r"(\d{1,4})/(\d{1,4})")


@dataclass(frozen=True)
class Mail:
    """A mail with its place in a thread and in a series, from its headers."""

    patch: Patch
    subject: str
    author: str
    message_id: str
    answers: tuple[str, ...]
    #: The subject without the brackets at its start.
    bare: str
    is_reply: bool
    says_patch: bool
    version: int
    #: Number and total of ``[PATCH 2/3]``.
    count: tuple[int, int] | None
    with_diff: bool
    kind: Kind = "other"

    @property
    def title(self) -> str:
        """The mail's name for display: its number in the mailbox and its subject."""
        return f"{self.patch.name} ({self.subject})" if self.subject else self.patch.name


def read_mailbox(path: Path, progress: Progress) -> tuple[Patch, ...]:
    """Return the patches of a mailbox in order, and print a note on each other mail.

    A gzipped mailbox is decompressed. A file with one diff and no mail is a patch, too.

    :raise UserError: the file does not exist, has no patch, or has one that git cannot read.
    """
    if not path.is_file():
        raise UserError("no such mbox", where=path, hint="give the path of an mbox of patches")
    contents = _split(path)
    patches = [Patch(f"mail {number:04}", one) for number, one in enumerate(contents, 1)]
    if len(patches) == 1 and has_diff(open_patch(patches[0]).diff):
        return tuple(patches)  # a single mail is in no thread
    mails = sort_out([_read(patch) for patch in patches])
    _report(mails, path, progress)
    found = tuple(mail.patch for mail in mails if mail.kind == "patch")
    if not found:
        raise UserError(
            "no mail in the mbox holds a patch",
            where=path,
            detail="\n".join(f"{mail.title}: {mail.kind}" for mail in mails[:40]),
            hint="`git format-patch --stdout` and `b4 am` write an mbox of patches",
        )
    return found


def _split(path: Path) -> list[bytes]:
    """Return the mails of a file.

    :raise UserError: there are none.
    """
    mails, complaint = split_mails(read_patch(path))
    if not mails:
        raise UserError(
            "this is no mbox of patches",
            where=path,
            detail=complaint,
            hint="`git format-patch --stdout` and `b4 am` write one",
        )
    return mails


# --- one mail ------------------------------------------------------------------------------


def _read(patch: Patch) -> Mail:
    """Read a mail's headers and look for a diff in it.

    :raise UserError: it says that it is a patch, and git cannot read its diff.
    """
    headers = _headers(patch.content)
    subject = _decoded(headers.get("Subject"))
    bare, chunks = _split_subject(subject)
    version = next((int(m[1]) for m in map(_VERSION.fullmatch, chunks) if m), 1)
    count = next(((int(m[1]), int(m[2])) for m in map(_COUNT.fullmatch, chunks) if m), None)
    is_reply = _REPLY.match(subject) is not None
    says_patch = any(chunk.lower().startswith("patch") for chunk in chunks)
    diff = b"" if is_reply else open_patch(patch).diff
    mail = Mail(
        patch=patch,
        subject=subject,
        author=email.utils.parseaddr(_decoded(headers.get("From")))[1].lower(),
        message_id=_first_id(headers.get("Message-ID")),
        answers=tuple(_ids(headers.get_all("In-Reply-To", []) + headers.get_all("References", []))),
        bare=bare,
        is_reply=is_reply,
        says_patch=says_patch,
        version=version,
        count=count,
        with_diff=has_diff(diff),
    )
    is_cover = count is not None and count[0] == 0
    if is_reply or is_cover or mail.with_diff:
        return mail
    if has_remains_of_diff(diff) or says_patch:
        raise UserError(
            f"{mail.title} has no diff that git can read",
            where=patch.name,
            hint="`git am` would refuse it, too: save the mail again, or remove it from the mbox",
        )
    return mail


def _headers(content: bytes) -> Message:
    # compat32 never raises on what a mail says.
    return email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(content)


def _decoded(value: object) -> str:
    """Return a header as text on one line; one that cannot be decoded is left unchanged."""
    text = str(value or "")
    with contextlib.suppress(LookupError, UnicodeError, ValueError, email.errors.MessageError):
        text = str(email.header.make_header(email.header.decode_header(text)))
    return " ".join(text.split())


def _ids(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        yield from re.findall(r"<([^<>\s]+)>", str(value))


def _first_id(value: object) -> str:
    return next(_ids([value]), "")


def _split_subject(subject: str) -> tuple[str, list[str]]:
    """Return a subject without the brackets at its start, and the words in them."""
    subject = re.sub(r"^\w{2,3}:\s*(?=\[)", "", subject)
    chunks: list[str] = []
    while match := _BRACKETS.match(subject):
        text = re.sub(r"(?i)(patch)(v\d+)", r"\1 \2", match[1])
        # Patchwork separates them by commas.
        chunks += [word.strip(";") for word in re.split(r"[\s,]+", text) if word]
        subject = subject[match.end() :]
    return subject, chunks


# --- a thread ------------------------------------------------------------------------------


def sort_out(mails: Sequence[Mail]) -> list[Mail]:
    """Return the mails with their kinds, the patches of a series in order."""
    kinds: list[Kind] = []
    groups = _groups(mails)
    seen: set[tuple[str, str]] = set()
    for mail in mails:
        twice = bool(mail.message_id) and (mail.message_id, mail.subject) in seen
        seen.add((mail.message_id, mail.subject))
        kinds.append("duplicate" if twice else _kind(mail, mails, groups))
    found = [replace(mail, kind=kind) for mail, kind in zip(mails, kinds, strict=True)]
    for group in set(groups):
        members = [at for at, one in enumerate(groups) if one == group]
        _choose_version(found, [at for at in members if found[at].kind == "patch"])
    return found


def _kind(mail: Mail, mails: Sequence[Mail], groups: Sequence[int]) -> Kind:
    if mail.is_reply:
        return "reply"
    if mail.count is not None and mail.count[0] == 0:
        return "cover letter"
    parent = next(
        (one for one in mails if one is not mail and one.message_id in mail.answers), None
    )
    if not mail.with_diff:
        return "other" if parent is None else "reply"
    if parent is None or mail.count is not None:
        return "patch"
    group = groups[mails.index(mail)]
    numbered = any(
        one.count and not one.is_reply for one, at in zip(mails, groups, strict=True) if at == group
    )
    by_author = mail.author == parent.author or mail.version > parent.version
    own = mail.says_patch and not numbered and by_author
    return "patch" if own else "reply"


def _groups(mails: Sequence[Mail]) -> list[int]:
    """Return for each mail the number of its group: a thread with all versions of its series.

    Without thread headers, versions are recognised by a common subject, and the mails of a version
    by consecutive numbers.
    """
    groups = list(range(len(mails)))

    def root(at: int) -> int:
        while groups[at] != at:
            at = groups[at]
        return at

    by_id = {mail.message_id: at for at, mail in enumerate(mails) if mail.message_id}
    by_subject: dict[tuple[str, str], int] = {}
    for at, mail in enumerate(mails):
        linked = [by_id[one] for one in mail.answers if one in by_id]
        if not mail.is_reply and mail.bare and (mail.with_diff or mail.count):
            linked.append(by_subject.setdefault((mail.author, mail.bare), at))
        if at and _follows(mails[at - 1], mail):
            linked.append(at - 1)
        for other in linked:
            groups[root(other)] = root(at)
    return [root(at) for at in range(len(mails))]


def _follows(one: Mail, other: Mail) -> bool:
    if one.count is None or other.count is None or one.is_reply or other.is_reply:
        return False
    return one.version == other.version and other.count == (one.count[0] + 1, one.count[1])


def _choose_version(mails: list[Mail], members: Sequence[int]) -> None:
    """Mark a group's patches of older versions, and sort its numbered patches; in place."""
    highest = max((mails[at].version for at in members), default=1)
    for at in members:
        if mails[at].version < highest:
            mails[at] = replace(mails[at], kind="older version")
    chosen = [at for at in members if mails[at].kind == "patch"]
    counts = [mails[at].count for at in chosen]
    known = [count for count in counts if count is not None]
    if len(known) == len(set(known)) == len(chosen) and len({total for _, total in known}) == 1:
        ordered = sorted((mails[at] for at in chosen), key=lambda mail: mail.count or (0, 0))
        for at, mail in zip(chosen, ordered, strict=True):
            mails[at] = mail


def _report(mails: Sequence[Mail], path: Path, progress: Progress) -> None:
    """Print notes: the number of mails of each kind, each mail not applied, and missing patches."""
    counts = Counter(mail.kind for mail in mails)
    said = ", ".join(
        f"{counts[kind]} {words[counts[kind] > 1]}"
        for kind, words in _WORDS.items()
        if counts[kind]
    )
    progress.note(f"{path.name}: {len(mails)} mail{'s' * (len(mails) != 1)}: {said}")
    for mail in mails:
        if mail.kind != "patch":
            progress.note(f"not applied, {mail.kind}: {mail.title}")
    numbers = [mail.count for mail in mails if mail.kind == "patch" and mail.count]
    if len({total for _, total in numbers}) == 1:
        total = numbers[0][1]
        lacking = [str(n) for n in range(1, total + 1) if (n, total) not in numbers]
        if lacking and total < 1000:
            progress.note(f"{path.name} lacks patch {', '.join(lacking)} of {total}")
