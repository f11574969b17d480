"""A patch, parsed by ``git mailinfo`` as in ``git am``."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from harness.artefacts.source.git import own_environment
from harness.errors import BuildError
from harness.lib.process import capture

#: Messages of ``git apply`` on a text without a diff, since git 2.35 and before.
_NO_DIFF = re.compile(r"^error: (?:No valid patches in input|unrecognized input)", re.MULTILINE)
#: Lines that occur only in a diff, intact or damaged.
_DIFF_LINE = re.compile(rb"^(?:diff --git |@@ -\d|GIT binary patch|\+\+\+ \S)", re.MULTILINE)


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


def split_mails(content: bytes, *, keep_cr: bool = False) -> tuple[list[bytes], str]:
    """Return the mails of a mailbox, and git's error message if it cannot be split.

    A text that is no mail is returned as the only one.

    :param keep_cr: keep the CR of a CRLF; by default it is removed, as in ``git am``.
    """
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        folder, box = Path(scratch) / "mails", Path(scratch) / "mbox"
        folder.mkdir()
        box.write_bytes(content)
        option = ["--keep-cr"] if keep_cr else []
        result = capture(
            ["git", "mailsplit", "-d4", "-b", *option, f"-o{folder}", "--", str(box)],
            env=own_environment(),
        )
        if result.returncode != 0:
            return [], result.complaint.replace(str(box), "mbox")
        mails = sorted(folder.iterdir(), key=lambda mail: int(mail.name))
        return [mail.read_bytes() for mail in mails], ""


@lru_cache(maxsize=256)
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


@lru_cache(maxsize=256)
def has_diff(diff: bytes) -> bool:
    """Tell whether ``git apply`` finds a diff in a text, even a damaged one."""
    if not diff.strip():
        return False
    with tempfile.TemporaryDirectory(prefix="uintr-harness-") as scratch:
        found = capture(
            ["git", "apply", "--numstat", "-"],
            cwd=Path(scratch),
            env={**own_environment(), "GIT_CEILING_DIRECTORIES": scratch},
            stdin=diff,
        )
    return found.returncode == 0 or not _NO_DIFF.search(found.complaint)


def has_remains_of_diff(diff: bytes) -> bool:
    """Tell whether a text has lines that occur only in a diff, as ``@@ -1,2 +1,3 @@``."""
    return _DIFF_LINE.search(diff) is not None


def without_carriage_returns(content: bytes) -> bytes:
    """Return a text with ``\\n`` for each ``\\r\\n``."""
    return content.replace(b"\r\n", b"\n")


def has_crlf_throughout(content: bytes) -> bool:
    """Tell whether each line of a text ends in CRLF, so that the CRs come from how it was saved."""
    ends = content.count(b"\n")
    return ends > 0 and content.count(b"\r\n") == ends
