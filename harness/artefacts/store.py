"""The artefact store: a folder per artefact, found by the hash of the artefact's inputs.

::

    ROOT/KIND/KEY/            a finished artefact; never changes again
    ROOT/KIND/.new-KEY-…/     one being built; becomes the above by one rename
    ROOT/KIND/.old-…/         one being removed
    ROOT/locks/               one lock file for each key and kept folder
    ROOT/work/NAME/           kept build folders: a speed-up, never an input
    ROOT/logs/                build logs of the last attempts, failed ones included

Readers never wait: an artefact exists completely or not at all. Builders of one key exclude each
other by ``flock``, so that a lock ends with its holder. A killed builder leaves a ``.new-`` folder;
the next process that opens the store or builds that key removes it.

A process that found an artefact holds it as long as its ``Store`` object lives, by a shared lock on
the artefact's folder. Artefacts that no process holds can be removed
(:mod:`harness.artefacts.prune`). The time of change of an artefact's folder, or of a kept one, is
the time of its last use.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from harness import paths
from harness.errors import GuestError
from harness.lib.process import host_error
from harness.progress import Progress, Silent

#: Type of a value in ``inputs``: anything that JSON can represent.
JSON = object

#: Seconds after which waiting for another builder is announced, and given up.
ANNOUNCE_WAIT_S = 2.0
GIVE_UP_WAIT_S = 3 * 3600.0

_INPUTS = "inputs.json"
_NEW = ".new-"
_OLD = ".old-"


class Entry(NamedTuple):
    """A finished artefact."""

    key: str
    path: Path
    #: Whether it was there already.
    hit: bool


def canonical(value: JSON) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Hold:
    """A lock that keeps an artefact from being removed, as long as this object lives."""

    def __init__(self, path: Path) -> None:
        """Hold an artefact's folder, and record that it is used now.

        :raise FileNotFoundError: it does not exist, or was removed meanwhile.
        """
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Some network file systems cannot lock folders; there, nothing is removed either.
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        if not self._is(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        with suppress(OSError):
            os.utime(self._descriptor)

    def _is(self, path: Path) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), path.stat())
        except FileNotFoundError:
            return False

    def __del__(self) -> None:
        if descriptor := getattr(self, "_descriptor", None):
            os.close(descriptor)


def hold_all(paths: Iterable[Path]) -> list[Hold]:
    """Hold the artefacts that contain these paths; other paths are ignored."""
    folders = {
        folder for path in paths for folder in (path, *path.parents) if (folder / _INPUTS).is_file()
    }
    holds = []
    for folder in folders:
        with suppress(OSError):
            holds.append(Hold(folder))
    return holds


class Store:
    """The artefact store under one folder. Safe for any number of processes at once."""

    def __init__(self, root: Path, progress: Progress | None = None) -> None:
        self.root = root
        self.progress = progress or Silent()
        self._holds: dict[Path, Hold] = {}

    @classmethod
    def open(cls, progress: Progress | None = None) -> Store:
        """Open the user's store, and remove what killed builders left there.

        :raise UserError: its folder cannot be made or written to.
        """
        store = cls(paths.cache_dir(), progress)
        store.sweep()
        return store

    # --- artefacts ---------------------------------------------------------------------------

    @staticmethod
    def key(kind: str, inputs: Mapping[str, JSON]) -> str:
        """Return the SHA-256, in hex, of an artefact's kind and inputs."""
        return hashlib.sha256(canonical({"kind": kind, "inputs": dict(inputs)})).hexdigest()

    def find(self, kind: str, inputs: Mapping[str, JSON]) -> Entry | None:
        """Return the finished artefact and hold it, or None. Nothing is built."""
        key = self.key(kind, inputs)
        path = self.root / kind / key
        return Entry(key, path, hit=True) if self._hold(path) else None

    def _hold(self, path: Path) -> bool:
        """Hold an artefact as long as this store lives, and tell whether it exists."""
        if path in self._holds and path.is_dir():
            return True
        try:
            self._holds[path] = Hold(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def get(self, kind: str, inputs: Mapping[str, JSON], build: Callable[[Path], None]) -> Entry:
        """Return the artefact, building it first if it is not there.

        :param kind: its folder in the store, for example ``kernel``.
        :param inputs: everything that determines its content; stored in it as ``inputs.json``.
        :param build: fills an empty folder. It runs in at most one process at a time for the same
            key; the folder is removed if it raises.
        :raise GuestError: the disk is full, or another builder holds the key for hours.
        :raise UserError: the store cannot be written to.
        """
        found = self.find(kind, inputs)
        if found:
            return found
        key = self.key(kind, inputs)
        with self.locked(f"{kind}-{key}", f"the same {kind}"):
            found = self.find(kind, inputs)  # another process may have built it meanwhile
            if found:
                return found
            final = self.root / kind / key
            try:
                self._build(final, inputs, build)
            except OSError as error:
                raise host_error(error, final) from error
            self._hold(final)
            return Entry(key, final, hit=False)

    def _build(
        self, final: Path, inputs: Mapping[str, JSON], build: Callable[[Path], None]
    ) -> None:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(final.parent, final.name)
        new = Path(tempfile.mkdtemp(prefix=f"{_NEW}{final.name}-", dir=final.parent))
        try:
            new.chmod(0o755)
            build(new)
            text = json.dumps(dict(inputs), indent=2, sort_keys=True, ensure_ascii=False)
            (new / _INPUTS).write_text(text + "\n", encoding="utf-8")
            _flush(new)
            new.rename(final)
            _flush(final.parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    # --- folders that are kept between builds ------------------------------------------------

    @contextmanager
    def workspace(self, name: str) -> Iterator[Path]:
        """Hold a kept build folder, with the content that its last holder left.

        :raise GuestError: another process holds it for hours.
        """
        with self.locked(f"work-{name}", f"in the build folder {name}"):
            path = self.root / "work" / name
            try:
                path.mkdir(parents=True, exist_ok=True)
                os.utime(path)
            except OSError as error:
                raise host_error(error, path) from error
            yield path

    def log(self, name: str) -> Path:
        """Return the path of an empty log file that survives a failed build."""
        path = self.root / "logs" / f"{name}.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        except OSError as error:
            raise host_error(error, path) from error
        return path

    # --- locks and leftovers -----------------------------------------------------------------

    @contextmanager
    def locked(self, name: str, doing: str) -> Iterator[None]:
        """Hold a lock of the store; print a note if another process holds it.

        :param doing: what the other process is building, for the note and the error.
        :raise GuestError: it was not free within ``GIVE_UP_WAIT_S`` seconds.
        """
        path = self.root / "locks" / f"{name}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=ANNOUNCE_WAIT_S)
            except Timeout:
                self.progress.note(f"waiting for another run that is building {doing}")
                lock.acquire(timeout=GIVE_UP_WAIT_S)
        except Timeout as error:
            raise GuestError(
                f"another run was building {doing} for {GIVE_UP_WAIT_S / 3600:.0f} hours",
                where=path,
                hint="see with `fuser -v` on that file which process holds it, and end it",
            ) from error
        except OSError as error:
            raise host_error(error, path) from error
        try:
            yield
        finally:
            lock.release()

    def remove(self, kind: str, name: str) -> bool:
        """Remove an artefact or a kept folder, unless a process builds, uses or holds it.

        :param kind: the artefact's kind, or ``work``.
        :param name: its key, or the kept folder's name.
        :return: whether it is gone.
        :raise UserError: it cannot be removed.
        """
        path = self.root / kind / name
        gone = path.with_name(f"{_OLD}{name}")
        try:
            with FileLock(self.root / "locks" / f"{kind}-{name}.lock").acquire(timeout=0):
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.rename(gone)
                finally:
                    os.close(descriptor)
        except (Timeout, BlockingIOError, FileNotFoundError):
            return not path.exists()
        except OSError as error:
            raise host_error(error, path) from error
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def sweep(self) -> None:
        """Remove what killed builders left. Folders of live builders are locked, and stay."""
        for old in self.root.glob(f"*/{_OLD}*"):
            shutil.rmtree(old, ignore_errors=True)
        for new in self.root.glob(f"*/{_NEW}*"):
            key = new.name.removeprefix(_NEW)[:64]
            lock = FileLock(self.root / "locks" / f"{new.parent.name}-{key}.lock")
            try:
                with lock.acquire(timeout=0):
                    shutil.rmtree(new, ignore_errors=True)
            except (Timeout, OSError):
                continue


def _remove_leftovers(folder: Path, key: str) -> None:
    """Remove unfinished builds of a key. The caller holds its lock, so no builder is alive."""
    for leftover in folder.glob(f"{_NEW}{key}-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Flush the folder's file system to the disk (``syncfs``).

    Without it, a power cut can leave a finished artefact with empty files.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
