"""The temporary folder of a running guest. Folders of killed runs are removed later.

The harness holds a lock on each of its guests' folders. The kernel releases the lock when the
harness ends, in whatever way. So the next run can tell which folders are left over, removes them,
and kills a QEMU that still runs there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from harness.errors import GuestError

LOCK = "lock"
PIDFILE = "qemu.pid"


def runtime_root() -> Path:
    """Return this user's folder for guests, and create it if it does not exist.

    :raise GuestError: it cannot be created, or belongs to another user.
    """
    named = os.environ.get("XDG_RUNTIME_DIR")
    base = named if named and _is_own(named) else tempfile.gettempdir()
    root = Path(base) / f"uintr-harness-{os.getuid()}"
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        owner = root.lstat()
    except OSError as error:
        raise GuestError(
            f"the folder for running guests cannot be created: {error.strerror}",
            where=root,
            hint="free space there, or set TMPDIR to a folder that you can write to",
        ) from error
    if owner.st_uid != os.getuid() or root.is_symlink():
        raise GuestError(
            "the folder for running guests belongs to another user",
            where=root,
            hint="set TMPDIR to a folder of your own",
        )
    if owner.st_mode & 0o077:
        root.chmod(0o700)
    return root


def _is_own(folder: str) -> bool:
    """Tell whether a folder is this user's, and nobody else can write to it.

    ``su`` and ``sudo`` can leave the variable of another user, whose folder root could write to.
    """
    try:
        found = Path(folder).stat()
    except OSError:
        return False
    mine = found.st_uid == os.getuid() and not found.st_mode & 0o022
    return mine and os.access(folder, os.W_OK | os.X_OK)


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """Create a folder for one guest, yield it, and remove it at the end.

    :raise GuestError: it cannot be created.
    """
    root = runtime_root()
    with _locked(root / ".sweep", block=True):
        sweep(root)
        folder = Path(tempfile.mkdtemp(dir=root))
        lock = _lock(folder / LOCK, block=True)
    assert lock is not None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def sweep(root: Path) -> list[Path]:
    """Remove the folders in ``root`` whose harness has ended, and return them."""
    removed = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        lock = _lock(folder / LOCK, block=False)
        if lock is None:
            continue
        with lock:
            _kill_left_over(folder)
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def _kill_left_over(folder: Path) -> None:
    """Kill a QEMU that is left over in ``folder``, if its process id was not reused."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((folder / PIDFILE).read_text())
        if os.fsencode(folder / PIDFILE) in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


def _lock(path: Path, *, block: bool) -> IO[bytes] | None:
    """Return the locked file, None if it is locked or cannot be opened."""
    try:
        file = path.open("ab")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
    except OSError:
        file.close()
        return None
    return file


@contextlib.contextmanager
def _locked(path: Path, *, block: bool) -> Iterator[None]:
    file = _lock(path, block=block)
    try:
        yield
    finally:
        if file is not None:
            file.close()
