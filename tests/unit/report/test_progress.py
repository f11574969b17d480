from __future__ import annotations

import io

import pytest

from harness.progress import Progress
from harness.report.progress import HEARTBEAT_S, RichProgress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


def test_a_log_has_a_line_when_a_step_begins_and_when_it_ends(
    log: io.StringIO, clock: Clock
) -> None:
    with RichProgress(log, now=clock) as shown:
        progress: Progress = shown
        with progress.step("kernel linux-6.12") as step:
            step.update("compiling", done=1, total=4)
            clock.now += 12.34
    assert log.getvalue() == "==> kernel linux-6.12\n    done in 12 s\n"


def test_a_step_that_fails_says_so_and_the_error_goes_on(log: io.StringIO, clock: Clock) -> None:
    def boot(progress: Progress) -> None:
        with progress.step("boot"):
            clock.now += 1
            raise ValueError("x")

    with RichProgress(log, now=clock) as shown, pytest.raises(ValueError, match="x"):
        boot(shown)
    assert log.getvalue() == "==> boot\n    failed after 1.0 s\n"


def test_the_end_of_a_step_is_named_where_others_stand_between(
    log: io.StringIO, clock: Clock
) -> None:
    with RichProgress(log, now=clock) as shown, shown.step("outer"):
        with shown.step("inner"):
            pass
        shown.note("cache hit")
    assert log.getvalue().split("\n") == [
        "==> outer",
        "==> inner",
        "    done in 0.0 s",
        "cache hit",
        "    outer: done in 0.0 s",
        "",
    ]


def test_a_long_step_speaks_after_half_a_minute_of_silence(log: io.StringIO, clock: Clock) -> None:
    with RichProgress(log, now=clock) as shown, shown.step("kernel") as step:
        step.update("compiling", done=1, total=4)
        shown.beat()
        clock.now += HEARTBEAT_S
        shown.beat()
        clock.now += HEARTBEAT_S - 1
        shown.beat()
        clock.now += 1
        shown.beat()
    assert log.getvalue().split("\n")[1:-2] == [
        "    ... kernel: compiling: 25 % (30 s)",
        "    ... kernel: compiling: 25 % (1 min 00 s)",
    ]


def test_nothing_open_nothing_said(log: io.StringIO, clock: Clock) -> None:
    with RichProgress(log, now=clock) as shown:
        clock.now += 1000
        shown.beat()
    assert log.getvalue() == ""


def test_quiet_shows_notes_alone(log: io.StringIO, clock: Clock) -> None:
    with RichProgress(log, mode="quiet", now=clock) as shown, shown.step("kernel"):
        clock.now += 1000
        shown.beat()
        shown.note("falls back to TCG")
        shown.table().program("cell", "api/open")
        shown.table().program_done("cell")
    assert log.getvalue() == "falls back to TCG\n"


def test_a_log_has_no_cursor_tricks_even_with_forced_colours(
    log: io.StringIO, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with RichProgress(log, now=clock) as shown, shown.step("kernel \x1b[2J") as step:
        step.update("x\x1b[2J")
        shown.note("note \x1b[2J")
    text = log.getvalue()
    assert "\x1b[1m==> kernel \\x1b[2J" in text
    assert all(word not in text for word in ("\x1b[2J", "\x1b[?25l", "\x1b[1A", "\x1b[2K", "\r"))


def test_results_in_a_log(log: io.StringIO, clock: Clock) -> None:
    with RichProgress(log, now=clock) as shown:
        table = shown.table()
        assert shown.table() is table
        table.program("cell", "api/open")
        table.case("cell", "pass")
        clock.now += 2
        table.program_done("cell")
    assert log.getvalue() == "pass cell  api/open  1 pass  2.0 s\n"


def test_a_terminal_has_a_live_display_that_goes_away(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    with RichProgress(screen, now=clock) as shown:
        shown.table().program("cell", "api/open")
        with shown.step("guest") as step:
            step.update("booting", done=1, total=2)
            shown.note("a note stays")
            with shown.paused():
                screen.write("SHELL")
        shown.close()
    text = screen.getvalue()
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "a note stays" in text
    assert "api/open" in text
    assert "guest: done in" in text


def test_a_dumb_terminal_is_a_log(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    screen = Terminal()
    with RichProgress(screen, now=clock) as shown, shown.step("guest"):
        pass
    assert screen.getvalue() == "==> guest\n    done in 0.0 s\n"
