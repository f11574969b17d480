"""Atomic replacement of files: a reader sees either the old content or the new."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from harness.errors import GuestError


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by rename.

    :raise GuestError: the file cannot be written; the old one is untouched.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        # The hint names no option, because not every command has --out.
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise GuestError(
            f"the file cannot be written: {error.strerror}",
            where=path,
            hint="make room on that file system" if full else "use a folder that you can write to",
        ) from error
