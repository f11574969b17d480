"""Scratch folders and worker processes of the tools. They end with the tool, however it ends."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from harness.lib.interrupts import terminated_as_interrupted

#: Seconds that killed processes may take to end.
_WAIT_S = 10


@contextmanager
def scratch(name: str, parent: Path | None = None) -> Iterator[Path]:
    """Create a scratch folder, and remove it at the end, at Ctrl-C and at SIGTERM.

    :param name: part of the folder's name.
    :param parent: where to create it; by default, the folder for temporary files.
    """
    with (
        terminated_as_interrupted(),
        tempfile.TemporaryDirectory(prefix=f"uintr-harness-{name}-", dir=parent) as folder,
    ):
        yield Path(folder)


@contextmanager
def workers(jobs: int, folder: Path) -> Iterator[ProcessPoolExecutor]:
    """Start processes whose temporary files are in ``folder``. They end before the block does.

    At an error, they are killed together with what they have started.
    """
    with ProcessPoolExecutor(jobs, initializer=_begin, initargs=(str(folder),)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _kill_children()
            raise


def _begin(folder: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    tempfile.tempdir = folder


def _kill_children() -> None:
    own = psutil.Process().children()
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    # The pool waits for the workers. If somebody else did, it would take them for alive, for ever.
    psutil.wait_procs([child for child in children if child not in own], timeout=_WAIT_S)
