"""Commands that a build starts: bounded, logged, and never left behind.

Every command gets a session of its own and a death signal, so that it ends with the harness
however the harness ends (``kill -9`` included); :mod:`harness.lib.reaper` ends what it has started.
``setpriv`` (util-linux) sets the signal: doing it in Python between fork and exec is not safe in a
process with threads.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from harness.errors import BuildError, GuestError, HarnessError, UserError
from harness.lib import sessions
from harness.lib.memory import lifted
from harness.lib.scrubbed import build_environment
from harness.paths import CACHE_ENV

#: Seconds that a command has to end after SIGTERM before SIGKILL.
GRACE_S = 5.0


class Captured(NamedTuple):
    """The exit code and the output of a finished command."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, without the final line end."""
        return self.stdout.decode(errors="replace").rstrip("\n")

    @property
    def complaint(self) -> str:
        """Standard error as text, without the final line end."""
        return self.stderr.decode(errors="replace").rstrip("\n")


def bound(argv: Sequence[str], *rights: str, death: str = "TERM") -> list[str]:
    """Return ``argv`` with a signal sent to it when the harness dies, and no limit on its memory.

    :param rights: more options of ``setpriv``, which take rights away.
    :param death: the signal.
    """
    setpriv = shutil.which("setpriv") or "setpriv"  # the environment may have another PATH
    return lifted([setpriv, *rights, "--pdeathsig", death, "--", *argv])


def require(*tools: str, needed_for: str) -> None:
    """Check that programs are on the PATH.

    :raise BuildError: one is not; the error names all that are missing.
    """
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise BuildError(
            f"{needed_for} needs {', '.join(missing)}, not found on this host",
            where=os.environ.get("PATH", ""),
            hint="`ci/bootstrap run` installs what is missing",
        )


def host_error(error: OSError, where: Path | str) -> HarnessError:
    """Turn an error of the operating system into one of the three families.

    A full disk is the host's failure (exit code 4), a missing permission is the user's (2), and
    anything else is a failed build (3).
    """
    place = error.filename or where
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return disk_full(place)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return UserError(
            f"no permission to write: {error.strerror}",
            where=place,
            hint=f"set {CACHE_ENV} to a folder that you can write to",
        )
    return BuildError(f"{error.strerror or error}", where=place)


def disk_full(where: Path | str) -> GuestError:
    """Return the error for a full disk."""
    return GuestError(
        "the disk is full",
        where=where,
        hint=f"free some space, or set {CACHE_ENV} to a folder on a larger disk",
    )


def says_disk_full(output: str) -> bool:
    """Tell whether a command's output complains about a full disk."""
    return os.strerror(errno.ENOSPC) in output or os.strerror(errno.EDQUOT) in output


def capture(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout_s: float = 600.0,
) -> Captured:
    """Run a command and return its exit code and output; no exit code is an error.

    :param env: the whole environment, or None for that of a build.
    :raise BuildError: it is not installed, or did not end in ``timeout_s`` seconds.
    """
    with _started(argv, cwd, env, stderr=subprocess.PIPE, stdin=stdin is not None) as process:
        try:
            out, err = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise BuildError(
                f"{argv[0]} did not end within {timeout_s:.0f} s", where=" ".join(argv)
            ) from error
    return Captured(process.returncode, out, err)


def stream(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> int:
    """Run a command, pass each line of its output to a log and a function, return its exit code.

    There is no deadline: how long a build takes is unknown, and its output shows progress.

    :param env: the whole environment, or None for that of a build.
    :raise BuildError: it is not installed.
    """
    sink = log.open("ab") if log else None
    try:
        with _started(argv, cwd, env, stderr=subprocess.STDOUT, stdin=False) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if sink:
                    sink.write(line)
                    sink.flush()
                if on_line:
                    on_line(line.decode(errors="replace").rstrip("\n"))
            return process.wait()
    finally:
        if sink:
            sink.close()


@contextmanager
def _started(
    argv: Sequence[str],
    cwd: Path | None,
    env: Mapping[str, str] | None,
    *,
    stderr: int,
    stdin: bool,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in its own process group, and end the group whatever happens."""
    env = build_environment() if env is None else env
    if shutil.which(argv[0], path=env.get("PATH")) is None:
        raise BuildError(
            f"{argv[0]} is not installed", hint="`ci/bootstrap run` installs what is missing"
        )
    sessions.ready()
    process = subprocess.Popen(
        bound(argv),
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )
    sessions.begin(process.pid)
    try:
        yield process
    finally:
        _end(process)
        sessions.forget(process.pid)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that still runs: SIGTERM to its group, then SIGKILL."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
        break
    process.wait()
