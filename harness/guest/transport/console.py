"""The serial console: a log with a time stamp per line, the boot's phases, and splats."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from harness.guest.alarm import Alarm
from harness.guest.verdict.splat_report import Splat
from harness.guest.verdict.splats import Scanner

#: Phase → texts on the console that mark its begin. In the order of a boot.
MARKS: Mapping[str, tuple[bytes, ...]] = {
    "decompress": (b"early console in extract_kernel", b"Decompressing Linux"),
    "kernel": (b"Linux version ",),
    "init": (b"uintr-harness: init",),
    "sshd": (b"uintr-harness: sshd",),
}
#: Last messages of a kernel that user space told to end (kernel/reboot.c).
FAREWELLS = tuple(
    b"reboot: " + words
    for words in (b"Restarting system", b"Power down", b"System halted", b"machine restart")
)
#: Lines kept in memory, besides the log.
TAIL_LINES = 500
#: Bytes after which a line is split.
MAX_LINE = 8192
#: Seconds of silence that end the wait for a splat that is being printed.
REPORT_PAUSE_S = 0.3
#: Limit for this wait, in seconds.
REPORT_WAIT_S = 2.0
#: Limit for the log, in bytes.
MAX_LOG = 64 << 20


class Console:
    """Reads and interprets a guest's console output. Thread-safe.

    :param log: file for the lines, each prefixed with the seconds since QEMU's start.
    :param alarm: notified of each change, and tripped by a panic.
    :param clock: returns the seconds since QEMU's start.
    """

    def __init__(self, log: Path, alarm: Alarm, clock: Callable[[], float] | None = None) -> None:
        started = time.monotonic()
        self._clock = clock or (lambda: time.monotonic() - started)
        self._alarm = alarm
        self._log = log.open("wb", buffering=0)
        self._logged = 0
        self._pending = b""
        self._pending_since: float | None = None
        self._lock = threading.Lock()
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._scanner = Scanner()
        self._muted = False
        self._reader: threading.Thread | None = None
        #: Error in reading the console or writing the log, which is then incomplete.
        self.error: str | None = None
        self.bytes = 0
        self.lines = 0
        #: Seconds from QEMU's start to the last output, and the longest pause so far.
        self.last = 0.0
        self.longest_gap = 0.0
        self.phases: dict[str, float] = {}
        self.panic: str | None = None
        #: The kernel's last message if user space told it to end, see :data:`FAREWELLS`.
        self.shutdown_message: str | None = None

    def follow(self, stream: IO[bytes]) -> None:
        """Read ``stream`` in a thread until its end."""
        self._reader = threading.Thread(
            target=self._read, args=(stream,), name="console", daemon=True
        )
        self._reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        try:
            while data := stream.read(65536):
                self.feed(data)
        except Exception as error:  # whichever: splats behind it are lost, so it is no pass
            self.error = (
                f"the console was not read to its end: {str(error) or type(error).__name__}"
            )
        finally:
            stream.close()
            self.flush()

    def feed(self, data: bytes) -> None:
        """Process the next bytes."""
        with self._lock:
            now = self._clock()
            self.longest_gap = max(self.longest_gap, now - self.last)
            self.last = now
            self.bytes += len(data)
            if not self.phases:
                self.phases["firmware"] = now
            *lines, rest = (self._pending + data).split(b"\n")
            begun = self._pending_since
            for line in lines:
                for at in range(0, len(line) or 1, MAX_LINE):
                    self._line(line[at : at + MAX_LINE], now if begun is None else begun)
                    begun = None
            while len(rest) > MAX_LINE:
                self._line(rest[:MAX_LINE], now)
                rest = rest[MAX_LINE:]
            self._pending = rest
            self._pending_since = (begun if begun is not None else now) if rest else None
        self._alarm.changed()

    def flush(self) -> None:
        """Process an unfinished last line."""
        with self._lock:
            if self._pending:
                self._line(self._pending, self._pending_since or self._clock())
            self._pending, self._pending_since = b"", None
        self._alarm.changed()

    def _line(self, line: bytes, stamp: float) -> None:
        line = line.rstrip(b"\r")
        self.lines += 1
        self._tail.append(line)
        self._write(b"[%10.3f] %s\n" % (stamp, line))
        text = self._scanner.feed(line)
        self._look_for_marks(line)
        if self.panic is None and self._scanner.panic is not None:
            self.panic = self._scanner.panic.decode(errors="replace")
            self._alarm.trip()
        if text is not None and text.startswith(FAREWELLS):
            self.shutdown_message = text.decode(errors="replace")

    def _look_for_marks(self, line: bytes) -> None:
        # Marks are printed twice. A snapshot may have been saved between the last mark's two.
        if "restored" in self.phases:
            return
        for phase, marks in MARKS.items():
            if phase not in self.phases and any(mark in line for mark in marks):
                self.phases[phase] = self._clock()

    def _write(self, data: bytes) -> None:
        if self._logged >= MAX_LOG:
            return
        self._logged += len(data)
        if self._logged >= MAX_LOG:
            data = b"[ the console log has reached its limit: only the last lines follow ]\n"
        try:
            self._log.write(data)
        except (OSError, ValueError) as error:
            self.error = f"the console log cannot be written: {error}"

    @property
    def phase(self) -> str:
        """The last phase that was reached; ``start`` if there was no output."""
        return max(self.phases, key=lambda name: self.phases[name], default="start")

    def tail(self, lines: int) -> str:
        """Return the last lines, as text."""
        with self._lock:
            kept = [*self._tail, *([self._pending] if self._pending else [])]
        return b"\n".join(kept[-lines:] if lines > 0 else []).decode(errors="replace")

    def splats(self) -> tuple[Splat, ...]:
        """Return the splats so far.

        If one is just being printed, wait for its end: otherwise it would look cut.
        """
        self._await_report()
        with self._lock:
            return self._scanner.splats()

    @property
    def stamped(self) -> bool:
        """Whether the kernel stamps its messages, so that others are told apart."""
        return self._scanner.stamped

    def restored(self, *, stamped: bool) -> None:
        """Continue the console of a guest that was saved with this :attr:`stamped`."""
        self.phases["restored"] = self._clock()
        self._scanner.stamped = stamped

    def excuse(self, known: Callable[[Splat], bool]) -> None:
        """Set the test for known splats, which do not count towards the limit on splats."""
        with self._lock:
            self._scanner.excuse(known)

    def _await_report(self) -> None:
        end = time.monotonic() + REPORT_WAIT_S
        while self._reader is not None and self._reader.is_alive() and time.monotonic() < end:
            with self._lock:
                silent = self._clock() - self.last > REPORT_PAUSE_S
                if silent or self._muted or not self._scanner.unfinished:
                    return
            time.sleep(0.02)

    def mute(self) -> None:
        """Stop looking for splats. From now on the harness itself causes console output."""
        with self._lock:
            self._muted = True
            self._scanner.mute()

    def settle(self, wait_s: float = 5.0) -> None:
        """Wait until all output of a QEMU that has ended is read."""
        if self._reader is not None:
            self._reader.join(wait_s)

    def close(self, wait_s: float = 5.0) -> None:
        """Wait for the reader and close the log, after QEMU has ended."""
        self.settle(wait_s)
        self.flush()
        with self._lock:
            if self._logged >= MAX_LOG and not self._log.closed:
                with contextlib.suppress(OSError):
                    self._log.write(b"\n".join(self._tail) + b"\n")
            self._log.close()
