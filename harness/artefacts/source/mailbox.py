"""Mailboxes: the patches of the series in them.

Git splits the mailbox and parses the mails (``git mailsplit``, ``git mailinfo``), so that a mail is
read as ``git am`` reads it. Which mails are patches is decided in
:mod:`harness.artefacts.source.thread`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from harness.artefacts.source.mail import Kind, Mail, check_text, read_mail
from harness.artefacts.source.patch import Patch, has_diff, open_patch, split_box, split_mails
from harness.artefacts.source.thread import sort_out
from harness.errors import UserError
from harness.lib.maildir import check_maildir
from harness.lib.quilt import read_patch
from harness.progress import Progress

#: Singular and plural of each kind of mail, for notes.
_WORDS: dict[Kind, tuple[str, str]] = {
    "patch": ("patch", "patches"),
    "cover letter": ("cover letter", "cover letters"),
    "reply": ("reply", "replies"),
    "older version": ("patch of an older version", "patches of an older version"),
    "sent again": ("patch that was sent again", "patches that were sent again"),
    "duplicate": ("duplicate", "duplicates"),
    "other": ("other mail", "other mails"),
}


def read_mailbox(path: Path, progress: Progress) -> tuple[Patch, ...]:
    """Return the patches of a mailbox in order, and print a note on each other mail.

    A mailbox is an mbox, perhaps compressed, or a Maildir. A file with one diff and no mail is a
    patch, too.

    :raise UserError: the file does not exist, has no patch, has one that git cannot read, lacks
        patches of a series of which it has others, or has mails of which it is not certain whether
        they are the series' patches.
    """
    if not path.exists():
        raise UserError("no such mbox", where=path, hint="give the path of an mbox of patches")
    contents = _split(path)
    patches = [Patch(f"mail {number:04}", one) for number, one in enumerate(contents, 1)]
    if len(patches) == 1 and has_diff(open_patch(patches[0]).diff):
        check_text(patches[0], path)
        subject = read_mail(patches[0], path).subject
        if subject.count and subject.count[1] > 1:
            progress.note(f"{path.name} is one mail of a series: {subject.text}")
        return tuple(patches)  # a single mail is in no thread
    mails = sort_out([read_mail(patch, path) for patch in patches], path)
    _report(mails, path, progress)
    found = tuple(mail.patch for mail in mails if mail.kind == "patch")
    if not found:
        raise UserError(
            "no mail in the mbox holds a patch",
            where=path,
            detail="\n".join(f"{mail.title}: {mail.kind}" for mail in mails[:40]),
            hint="`git format-patch --stdout` and `b4 am` write an mbox of patches",
        )
    for patch in found:
        check_text(patch, path)
    return found


def _split(path: Path) -> list[bytes]:
    """Return the mails of a file.

    :raise UserError: there are none.
    """
    if path.is_dir():
        check_maildir(path)
        mails, complaint = split_box(path)
    else:
        mails, complaint = split_mails(read_patch(path))
    if not mails:
        raise UserError(
            "this is no mbox of patches",
            where=path,
            detail=complaint,
            hint="`git format-patch --stdout` and `b4 am` write one",
        )
    return mails


def _report(mails: Sequence[Mail], path: Path, progress: Progress) -> None:
    """Print notes: the number of mails of each kind, each mail not applied, and on each series.

    :raise UserError: a series is not complete.
    """
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
    series: dict[int, list[Mail]] = defaultdict(list)
    for mail in mails:
        if mail.kind == "patch" and mail.subject.count:
            series[mail.series].append(mail)
    if len(series) > 1:
        names = ", ".join(members[0].title for members in series.values())
        progress.note(f"{path.name}: {len(series)} series, which begin with {names}")
    for members in series.values():
        name = path.name if len(series) == 1 else f"{path.name}, the series of {members[0].title},"
        if text := _versions(members):
            progress.note(f"{name} {text}")
        if not (lacking := _lacking(members)):
            continue
        if all(mail.unsent for mail in members):
            progress.note(f"{name} lacks patch {lacking}, perhaps a commit without a change")
        else:
            raise UserError(
                f"{name} lacks patch {lacking}",
                where=path,
                hint="save the whole thread, as `b4 mbox MESSAGE-ID` does; to apply some patches of"
                " a series, put them into a folder, with a file named `series` that lists them",
            )


def _versions(members: Sequence[Mail]) -> str:
    """Return which patches of a partial reroll come from which version."""
    numbers: dict[tuple[int, int], list[str]] = defaultdict(list)
    for mail in members:
        if mail.subject.count:
            numbers[mail.subject.version].append(str(mail.subject.count[0]))
    if len(numbers) < 2:
        return ""
    parts = [
        f"{', '.join(found)} of v{major}{f'.{minor}' * (minor > 0)}"
        for (major, minor), found in sorted(numbers.items(), reverse=True)
    ]
    return f"is a partial reroll: patch {'; '.join(parts)}"


def _lacking(members: Sequence[Mail]) -> str:
    """Return which patches of a series are not in the mailbox, as text."""
    numbers = {mail.subject.count for mail in members}
    totals = {count[1] for count in numbers if count}
    total = min(totals)
    lacking = [str(n) for n in range(1, total + 1) if (n, total) not in numbers]
    if len(totals) > 1 or not lacking or total >= 1000:
        return ""
    return f"{', '.join(lacking)} of {total}"
