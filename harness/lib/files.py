"""Atomic replacement of files: a reader sees either the old content or the new."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from harness.errors import GuestError

#: Limit for a file that is read as a whole.
MOST = 64 << 20


def may_exist(path: Path) -> bool:
    """Return true unless there is no such file. One that cannot be looked at may be there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def is_folder(path: Path) -> bool:
    """Return true for a folder. One that cannot be looked at is none."""
    return os.path.isdir(path)  # noqa: PTH112 -- Path.is_dir() raises for those


def read_bounded(path: Path, most: int = MOST) -> bytes:
    """Return the content of a file.

    :raise OSError: it cannot be read, is no regular file, or has more than ``most`` bytes.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "this is not a file", str(path))
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"the file has more than {most >> 20} MiB", str(path))
    return data


def link_out_of(folder: Path) -> Path | None:
    """Return a symbolic link below a folder that leads out of it; None if there is none."""
    top = Path(os.path.realpath(folder))
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)  # noqa: PTH118 -- Path is slow for each file of a run
            if os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(top):  # noqa: PTH114
                return Path(path)
    return None


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Replace a file by rename.

    :param text: the content, or its parts.

    :raise GuestError: the file cannot be written; the old one is untouched.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        # The hint names no option, because not every command has --out.
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise GuestError(
            f"the file cannot be written: {error.strerror}",
            where=path,
            hint="make room on that file system" if full else "use a folder that you can write to",
        ) from error
