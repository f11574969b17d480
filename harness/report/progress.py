"""Display of progress: spinners and bars on a terminal, plain lines in a CI log.

A log gets ``==> TITLE`` when a step begins and ``    done in 12.3 s`` when it ends. If nothing was
printed for half a minute, it gets a line with the state of the current step, because a silent job
looks like one that hangs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Literal

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from harness.lib.text import clean_line
from harness.report.console import is_terminal, make_console
from harness.report.figures import seconds
from harness.report.table import ResultsTable

#: Longest silence in a log, in seconds.
HEARTBEAT_S = 30.0

Mode = Literal["auto", "quiet"]


class _Task:
    """A step of the progress. Use it as a context manager."""

    def __init__(self, shown: RichProgress, title: str) -> None:
        self.title = clean_line(title)
        self.text = ""
        self.started = 0.0
        self.done: float | None = None
        self.total: float | None = None
        self.bar: TaskID | None = None
        self._shown = shown

    def __enter__(self) -> _Task:
        self._shown.begin(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self._shown.end(self, failed=bool(exc) and exc[0] is not None)

    def update(
        self, text: str | None = None, *, done: float | None = None, total: float | None = None
    ) -> None:
        """Update the step's state; ``done`` of ``total`` units."""
        if text is not None:
            self.text = clean_line(text)
        if done is not None:
            self.done = done
        if total is not None:
            self.total = total
        self._shown.refresh(self)

    def __str__(self) -> str:
        """Return title, text and percentage, as far as they are known."""
        parts = [self.title]
        if self.text:
            parts.append(self.text)
        if self.done is not None and self.total:
            parts.append(f"{100 * self.done / self.total:.0f} %")
        return ": ".join(parts)


class RichProgress:
    """Shows steps, notes and the table of results. Use it as a context manager.

    Steps may be nested, and several may be open at a time. Thread-safe.

    :param stream: by default standard error, so that standard output has only results.
    :param mode: ``quiet`` shows only notes.
    :param now: a clock in seconds.
    """

    def __init__(
        self,
        stream: IO[str] | None = None,
        *,
        mode: Mode = "auto",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        file = stream if stream is not None else sys.stderr
        self._console = make_console(file)
        self._quiet = mode == "quiet"
        self._terminal = is_terminal(file) and not self._quiet
        self._now = now
        self._lock = threading.RLock()
        self._open: list[_Task] = []
        self._spoke = now()
        self._latest: _Task | None = None
        self._stop = threading.Event()
        self._beat: threading.Thread | None = None
        self._table: ResultsTable | None = None
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._live: Live | None = None

    # --- start and end ---

    def __enter__(self) -> RichProgress:
        if self._terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        elif not self._quiet:
            self._stop.clear()
            self._beat = threading.Thread(target=self._beats, name="heartbeat", daemon=True)
            self._beat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the display from the terminal. Idempotent."""
        self._stop.set()
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._beat is not None:
            self._beat.join(timeout=5)
            self._beat = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the display while the block uses the terminal, for a shell or a prompt."""
        live = self._live
        if live is not None:
            live.stop()
        try:
            yield
        finally:
            if live is not None and self._live is live:
                live.start()

    # --- the protocol ---

    def step(self, title: str) -> _Task:
        """Return a step, which is shown while its context lasts."""
        return _Task(self, title)

    def note(self, text: str) -> None:
        """Print permanent lines, also in quiet mode."""
        with self._lock:
            self._latest = None
            for line in text.split("\n"):
                self._line(Text(clean_line(line)))

    def table(self) -> ResultsTable:
        """Return the table of results, which is shown on a terminal. In a log it prints lines."""
        with self._lock:
            if self._table is None:
                self._table = ResultsTable(
                    None if self._terminal or self._quiet else self._say, self._now
                )
            return self._table

    # --- called by steps ---

    def begin(self, task: _Task) -> None:
        """Open a step."""
        with self._lock:
            task.started = self._now()
            self._open.append(task)
            if self._live is not None:
                task.bar = self._bars.add_task(task.title, total=None)
            else:
                self._line(Text(f"==> {task.title}", style="bold"), step=True)
                self._latest = task

    def end(self, task: _Task, *, failed: bool) -> None:
        """Close a step."""
        with self._lock:
            self._open.remove(task)
            took = seconds(self._now() - task.started)
            said = f"failed after {took}" if failed else f"done in {took}"
            # If other lines were printed since the step's title, repeat the title.
            name = "" if self._latest is task else f"{task.title}: "
            if task.bar is not None:
                self._bars.remove_task(task.bar)
            else:
                name = f"    {name}"
            self._latest = None
            self._line(Text(f"{name}{said}", style="red" if failed else "green"), step=True)

    def refresh(self, task: _Task) -> None:
        """Show a step's current state."""
        with self._lock:
            if task.bar is not None:
                said = f"{task.title}: {task.text}" if task.text else task.title
                self._bars.update(
                    task.bar, description=said, total=task.total, completed=task.done or 0
                )

    def beat(self) -> None:
        """Print the state of the latest step, if nothing was printed for :data:`HEARTBEAT_S`."""
        with self._lock:
            if self._open and self._now() - self._spoke >= HEARTBEAT_S:
                task = self._open[-1]
                took = seconds(self._now() - task.started)
                self._latest = None
                self._line(Text(f"    ... {task} ({took})", style="dim"), step=True)

    def _beats(self) -> None:
        while not self._stop.wait(1.0):
            self.beat()

    def _say(self, line: Text) -> None:
        with self._lock:
            self._latest = None
            self._line(line, step=True)

    def _line(self, line: Text, *, step: bool = False) -> None:
        """Print a line. In quiet mode, lines about steps are not shown."""
        self._spoke = self._now()
        if not (step and self._quiet):
            self._console.print(line, soft_wrap=True)

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [self._table] if self._table is not None else []
        return Group(*parts, self._bars.get_renderable())
