"""A mail of a mailbox: what its headers say of its place in a thread and in a series."""

from __future__ import annotations

import contextlib
import email.errors
import email.header
import email.parser
import email.policy
import email.utils
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Literal

from harness.artefacts.source.patch import Patch, has_diff, has_remains_of_diff, open_patch
from harness.errors import UserError
from harness.lib.text import clean_line

Kind = Literal[
    "patch", "cover letter", "reply", "older version", "sent again", "duplicate", "other"
]

#: Longest part of a subject that is shown.
_SHOWN = 160
#: Starts of the subject of a reply or of a forwarded mail.
_REPLY = re.compile(r"(?:re|aw|fwd?|sv|antw)\s*(?:\[\d+\])?\s*:", re.IGNORECASE)
#: A short word before a bracket, as mail programs in other languages write it.
_FOREIGN_REPLY = re.compile(r"\w{2,3}\s*[:\uff1a]\s*(?=\[)")
#: Separator with the fixed date of ``git format-patch``.
_FORMAT_PATCH = re.compile(rb"From ([0-9a-f]{40,64}) Mon Sep 17 00:00:00 2001\r?\n")
_BRACKETS = re.compile(r"\s*\[([^\]]*)\]\s*")
_VERSION = re.compile(r"(?:patch)?v(\d{1,4})(?:\.(\d{1,4}))?", re.IGNORECASE | re.ASCII)
_COUNT = re.compile(r"(\d{1,4})/(\d{1,4})", re.ASCII)


@dataclass(frozen=True)
class Subject:
    """A subject, taken apart. Only the brackets at its start count."""

    text: str
    #: The subject without the brackets at its start.
    bare: str = ""
    #: It begins with ``Re:`` or the like, perhaps behind the tag of a list.
    is_reply: bool = False
    says_patch: bool = False
    says_resend: bool = False
    #: ``v2`` and ``v1.1`` as pairs.
    version: tuple[int, int] = (1, 0)
    #: Number and total of ``[PATCH 2/3]``.
    count: tuple[int, int] | None = None


@dataclass(frozen=True)
class Mail:
    """A mail with its place in a thread and in a series."""

    patch: Patch
    subject: Subject
    author: str
    message_id: str
    answers: tuple[str, ...]
    with_diff: bool
    #: `git format-patch` wrote it, and it was not sent.
    unsent: bool = False
    #: The commit that `git format-patch` made it of; empty if it does not say.
    commit: str = ""
    kind: Kind = "other"
    #: Number of the series that a patch is applied with.
    series: int = 0

    @property
    def title(self) -> str:
        """The mail's name for display: its number in the mailbox and its subject."""
        return titled(self.patch, self.subject.text)

    @property
    def label(self) -> tuple[tuple[int, int], int | None]:
        """Version and total, which are the same in all mails of one version of a series."""
        return self.subject.version, self.subject.count[1] if self.subject.count else None


def titled(patch: Patch, subject: str) -> str:
    """Return a patch's name for display, with its subject, which is cut if it is long."""
    shown = clean_line(subject if len(subject) <= _SHOWN else f"{subject[:_SHOWN]}...")
    return f"{patch.name} ({shown})" if subject else patch.name


def check_text(patch: Patch, where: Path) -> None:
    """Check that a patch's message can be that of a commit.

    :param where: the file that holds the patch, for an error.
    :raise UserError: it has NUL bytes, which git refuses.
    """
    opened = open_patch(patch)
    if "\0" in opened.message or "\0" in opened.subject:
        raise UserError(
            f"the message of {titled(patch, opened.subject)} has NUL bytes",
            where=where,
            hint="save it again, or remove them: `tr -d '\\000' < FILE > NEW`",
        )


def read_mail(patch: Patch, where: Path) -> Mail:
    """Read a mail's headers and look for a diff in it.

    :param where: the mailbox, for an error.
    :raise UserError: it says that it is a patch, and git cannot read its diff.
    """
    headers = _headers(patch.content)
    subject = read_subject(_decoded(headers.get("Subject")))
    diff = b"" if subject.is_reply else open_patch(patch).diff
    message_id = next(_ids([headers.get("Message-ID")]), "")
    answers = tuple(_ids(headers.get_all("In-Reply-To", []) + headers.get_all("References", [])))
    made = _FORMAT_PATCH.match(patch.content)
    commit = made[1].decode().strip("0") and made[1].decode() if made else ""
    mail = Mail(
        patch=patch,
        subject=subject,
        author=email.utils.parseaddr(_decoded(headers.get("From")))[1].lower(),
        message_id=message_id,
        answers=answers,
        with_diff=has_diff(diff),
        unsent=made is not None and (commit != "" or not (message_id or answers)),
        commit=commit,
    )
    is_cover = subject.count is not None and subject.count[0] == 0
    if subject.is_reply or is_cover or mail.with_diff:
        return mail
    if has_remains_of_diff(diff) or subject.says_patch:
        raise UserError(
            f"{mail.title} has no diff that git can read",
            where=where,
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


def read_subject(text: str) -> Subject:
    """Take a subject apart.

    ``WG: [PATCH 1/2] x`` is a reply, because what is in the bracket is of a patch;
    ``mm: [memcg] x`` is none.
    """
    rest, chunks = _brackets(text)
    of_patch = any(map(_is_of_patch, chunks))
    # Some lists put their tag before "Re:".
    is_reply = not of_patch and _REPLY.match(rest) is not None
    if not of_patch and (foreign := _FOREIGN_REPLY.match(rest)):
        is_reply = is_reply or any(map(_is_of_patch, _brackets(rest[foreign.end() :])[1]))
    found = next((m for m in map(_VERSION.fullmatch, chunks) if m), None)
    count = next((m for m in map(_COUNT.fullmatch, chunks) if m), None)
    return Subject(
        text=text,
        bare=rest,
        is_reply=is_reply,
        says_patch=any(chunk.lower().startswith("patch") for chunk in chunks),
        says_resend=any(chunk.lower().startswith("resend") for chunk in chunks),
        version=(int(found[1]), int(found[2] or 0)) if found else (1, 0),
        count=(int(count[1]), int(count[2])) if count else None,
    )


def _brackets(subject: str) -> tuple[str, list[str]]:
    """Return a subject without the brackets at its start, and the words in them."""
    chunks: list[str] = []
    while match := _BRACKETS.match(subject):
        text = re.sub(r"(?i)(patch)(v\d+)", r"\1 \2", match[1])
        # Mercurial's patchbomb writes "0 of 2".
        text = re.sub(r"\b(\d+) of (\d+)\b", r"\1/\2", text)
        # Patchwork separates them by commas.
        chunks += [word.strip(";") for word in re.split(r"[\s,]+", text) if word]
        subject = subject[match.end() :]
    return subject, chunks


def _is_of_patch(chunk: str) -> bool:
    """Tell whether a word in brackets is one of those that only patches have."""
    if chunk.lower().startswith("patch"):
        return True
    return _VERSION.fullmatch(chunk) is not None or _COUNT.fullmatch(chunk) is not None
