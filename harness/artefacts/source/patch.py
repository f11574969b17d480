"""A patch, parsed by ``git mailinfo`` as in ``git am``."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from harness.artefacts.source.git import own_environment
from harness.errors import BuildError
from harness.lib.process import Captured, capture

#: Messages of ``git apply`` on a text without a diff, since git 2.35 and before.
_NO_DIFF = re.compile(r"^error: (?:No valid patches in input|unrecognized input)", re.MULTILINE)
#: Lines that occur only in a diff, intact or damaged.
_DIFF_LINE = re.compile(rb"^(?:diff --git |@@ -\d|GIT binary patch|\+\+\+ \S)", re.MULTILINE)
#: Patches that are remembered once they are parsed, which takes two processes each.
_REMEMBERED = 8192
#: Lines of ``git apply --summary`` on files that are new or gone.
_SUMMARY = re.compile(
    rb"^ (create|delete) (?:mode \d+ )?(.*?)\n(?=\Z| (?:create|delete|rename|copy|rewrite|mode) )",
    re.MULTILINE | re.DOTALL,
)
#: Lines of a diff that hold no text of a file, with a CR at their end.
_HEADER_CR = re.compile(
    rb"^(?:diff --git [^\r\n]+|@@ -[\d,]+ \+[\d,]+ @@"
    rb"|--- [^\r\n]+\r\n\+\+\+ [^\r\n]+(?=\r\n@@ -))\r$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Patch:
    """A patch as it was given: a mail, or a bare diff with or without a description."""

    #: The file's name, or the mail's number in its mbox.
    name: str
    content: bytes
    #: Leading folders to strip from the file names (``-p``).
    strip: int = 1

    @property
    def identity(self) -> dict[str, object]:
        """The patch's part of an artefact's key."""
        return {"sha256": sha256(self.content).hexdigest(), "strip": self.strip}


@dataclass(frozen=True)
class Opened:
    """The parts of a patch; a bare diff has no subject and no message."""

    subject: str
    message: str
    diff: bytes


@dataclass(frozen=True)
class Changes:
    """The files that a patch changes, by their paths in the tree, as ``git apply`` reads them."""

    #: Files that exist with the patch: changed, added, or the target of a rename or a copy.
    kept: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    #: The patch deletes or renames a file.
    removes: bool = False


def split_mails(content: bytes, *, keep_cr: bool = False) -> tuple[list[bytes], str]:
    """Return the mails of a mailbox, and git's error message if it cannot be split.

    A text that is no mail is returned as the only one.

    :param keep_cr: keep the CR of a CRLF; by default it is removed, as in ``git am``.
    """
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        box = Path(scratch) / "mbox"
        box.write_bytes(content)
        mails, complaint = split_box(box, keep_cr=keep_cr)
        return mails, complaint.replace(str(box), "mbox")


def split_box(box: Path, *, keep_cr: bool = False) -> tuple[list[bytes], str]:
    """Return the mails of an mbox file or a Maildir as :func:`split_mails` does."""
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as folder:
        option = ["--keep-cr"] if keep_cr else []
        result = capture(
            ["git", "mailsplit", "-d4", "-b", *option, f"-o{folder}", "--", str(box)],
            env=own_environment(),
        )
        if result.returncode != 0:
            return [], result.complaint
        mails = sorted(Path(folder).iterdir(), key=lambda mail: int(mail.name))
        return [mail.read_bytes() for mail in mails], ""


@lru_cache(maxsize=_REMEMBERED)
def open_patch(patch: Patch) -> Opened:
    """Split a patch into subject, message and diff.

    :raise BuildError: it is a mail that git cannot read.
    """
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        message, diff = Path(scratch) / "message", Path(scratch) / "diff"
        result = capture(
            # Without --encoding: with it, git 2.39 accepts a charset that it does not know.
            ["git", "mailinfo", "-b", str(message), str(diff)],
            cwd=Path(scratch),
            env=own_environment(),
            stdin=patch.content,
        )
        if result.returncode != 0 or not diff.exists():
            if is_mail(patch.content):
                raise BuildError(
                    f"patch {patch.name} cannot be read as a mail",
                    detail=result.complaint,
                    hint="save the mail again with its charset and encoding as it was sent",
                )
            return Opened("", "", patch.content)
        subject = re.search(r"^Subject: (.*)$", result.text, re.MULTILINE)
        if subject is None and not is_mail(patch.content):
            return Opened("", "", patch.content)
        return Opened(
            re.sub(r"^\[[^\]]*\]\s*", "", subject[1]) if subject else "",
            message.read_text(encoding="utf-8", errors="replace"),
            diff.read_bytes(),
        )


def is_mail(content: bytes) -> bool:
    """Tell whether a text is a mail with a sender, not a patch with a description."""
    head = re.split(rb"\r?\n\r?\n", content.lstrip(b"\r\n"), maxsplit=1)[0]
    if head.startswith(b"From "):
        return True
    sender = re.search(rb"^From:", head, re.IGNORECASE | re.MULTILINE)
    return sender is not None and re.match(rb"[!-9;-~]+:", head) is not None


@lru_cache(maxsize=_REMEMBERED)
def has_diff(diff: bytes) -> bool:
    """Tell whether ``git apply`` finds a diff in a text, even a damaged one."""
    if not diff.strip():
        return False
    found = _look(diff, "--numstat")
    return found.returncode == 0 or not _NO_DIFF.search(found.complaint)


@lru_cache(maxsize=_REMEMBERED)
def changes(patch: Patch) -> Changes:
    """Return the files that a patch changes; none if git finds no diff in it."""
    found = _look(open_patch(patch).diff, "--numstat", "-z", "--summary", f"-p{patch.strip}")
    if found.returncode != 0:
        return Changes()
    # A name is not quoted in either part, and may have line ends.
    *counts, summary = found.stdout.split(b"\0")
    names = [os.fsdecode(count.split(b"\t", 2)[2]) for count in counts]
    said = [(match[1], os.fsdecode(match[2])) for match in _SUMMARY.finditer(summary)]
    added = dict.fromkeys(name for what, name in said if what == b"create")
    deleted = {name for what, name in said if what == b"delete"}
    # A file that becomes a link is deleted and added.
    kept = dict.fromkeys(name for name in names if name in added or name not in deleted)
    removes = bool(deleted) or re.search(rb"^ rename ", summary, re.MULTILINE) is not None
    return Changes(tuple(kept), tuple(added), removes)


def _look(diff: bytes, *options: str) -> Captured:
    """Have ``git apply`` describe a diff, outside of any repository."""
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        return capture(
            ["git", "apply", *options, "-"],
            cwd=Path(scratch),
            env={**own_environment(), "GIT_CEILING_DIRECTORIES": scratch},
            stdin=diff,
        )


def has_remains_of_diff(diff: bytes) -> bool:
    """Tell whether a text has lines that occur only in a diff, as ``@@ -1,2 +1,3 @@``."""
    return _DIFF_LINE.search(diff) is not None


def without_carriage_returns(content: bytes) -> bytes:
    """Return a text with ``\\n`` for each ``\\r\\n``."""
    return content.replace(b"\r\n", b"\n")


def was_saved_with_crs(content: bytes) -> bool:
    """Tell whether the CRs of a text come from how it was saved, not from the files it changes.

    Each line ends in CRLF, or those of a diff do that hold no text of a file. GNU patch, and quilt
    with it, look at such lines, too.
    """
    ends = content.count(b"\n")
    return (ends > 0 and content.count(b"\r\n") == ends) or _HEADER_CR.search(content) is not None
