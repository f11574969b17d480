"""``uintr-harness run --watch``: run again each time that one of the sources changes.

Each run is a child process, so that it reads everything anew, and watching continues if it fails or
dies. A change during a run starts the next one.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from watchfiles import Change, DefaultFilter, watch

from harness import paths
from harness.errors import ExitCode
from harness.request.request import Request
from harness.values import FolderSeries, MboxSeries, TreeSource

#: Suffixes of files that the user's own build leaves in a tree; a run builds elsewhere.
BUILT = (".o", ".a", ".ko", ".mod", ".cmd", ".d", ".order", ".symvers")
#: Changes closer together than this count as one, in milliseconds.
TOGETHER_MS = 400


class Sources(DefaultFilter):
    """A filter for changes that can change the result of a run."""

    def __call__(self, change: Change, path: str) -> bool:
        """Return true if a change counts."""
        name = Path(path).name
        return (
            not name.endswith(BUILT)
            and not name.startswith(".tmp")
            and super().__call__(change, path)
        )


def watched(request: Request, tests: Sequence[str]) -> tuple[Path, ...]:
    """Return the files and folders that determine a run.

    :raise UserError: a profile names something that does not exist.
    """
    found = [paths.GUEST_TESTS, paths.KERNELS, paths.FRAGMENTS, paths.CPUS, paths.IMAGES]
    found += [one for kind in ("kernels", "fragments", "cpus") for one in paths.own_folders(kind)]
    for profile in request.kernel_profiles():
        if isinstance(profile.source, TreeSource):
            found.append(profile.source.path)
        if isinstance(profile.series, FolderSeries | MboxSeries):
            found.append(profile.series.path)
    found += [Path(name) for name in (*request.kernels, *request.cpus) if "/" in name]
    found += [Path(test.partition("::")[0]) for test in tests]
    return tuple(dict.fromkeys(path.resolve() for path in found if path.exists()))


def run_and_watch(
    once: Callable[[], int],
    places: Sequence[Path],
    note: Callable[[str], None],
    stop: threading.Event | None = None,
) -> int:
    """Run, and again after each change, until ^C, or until ``stop`` is set.

    :param once: does one run and returns its exit code.
    :return: the exit code of the last run.
    """
    stop = stop or threading.Event()
    # Watching begins before the first run, so that no change falls between the two.
    changes = _changes(places, stop)
    next(changes)
    try:
        while True:
            code = once()
            if code == ExitCode.INTERRUPTED:
                return code
            note(f"watching {', '.join(map(str, places))}; ^C ends")
            names = next(changes, None)
            if names is None:
                return code
            note(f"changed: {', '.join(names)}")
    finally:
        stop.set()


def _changes(places: Sequence[Path], stop: threading.Event) -> Iterator[list[str]]:
    """Yield an empty list when watching has begun, then the names of changed files each time."""
    waiting = watch(
        *places,
        watch_filter=Sources(),
        debounce=TOGETHER_MS,
        stop_event=stop,
        rust_timeout=200,
        yield_on_timeout=True,
        raise_interrupt=True,
    )
    next(waiting)
    yield []
    for found in waiting:
        if found:
            yield sorted({Path(path).name for _, path in found})


def run_once(argv: Sequence[str]) -> int:
    """Run this command line without ``--watch`` as a child process, and return its exit code.

    ^C reaches both processes. Only the run reacts to it, and ends in its own time.
    """
    words = [word for word in argv[1:] if word != "--watch"]
    # An empty handler instead of SIG_IGN, which the run would inherit.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.Popen([sys.executable, "-m", "harness", *words]).wait()
    finally:
        signal.signal(signal.SIGINT, before)
