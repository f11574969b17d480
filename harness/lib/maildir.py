"""Maildirs: folders with a file for each mail, which ``git mailsplit`` reads."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UserError
from harness.lib.quilt import MAX_PATCH


def is_maildir(path: Path) -> bool:
    """Tell whether a folder is a Maildir."""
    return (path / "cur").is_dir() and (path / "new").is_dir()


def check_maildir(path: Path) -> None:
    """Check that the mails of a Maildir can be read, and have no more than :data:`MAX_PATCH` bytes.

    :raise UserError: one is no ordinary file, or they are larger.
    """
    size = 0
    for mail in (*(path / "cur").iterdir(), *(path / "new").iterdir()):
        if not mail.is_file():
            raise UserError("this is no mail", where=mail, hint="a Maildir holds files of one mail")
        size += mail.stat().st_size
    if size > MAX_PATCH:
        raise UserError(f"the mails are larger than {MAX_PATCH >> 20} MiB", where=path)
