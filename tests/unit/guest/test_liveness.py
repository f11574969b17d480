"""Waits that have no bound of their own, and signs of life."""

from __future__ import annotations

import socket
import threading

import pytest

from harness.guest.verdict import liveness
from harness.guest.verdict.deadlines import CALIBRATION, MAX_PROBE_S, Deadline
from harness.guest.verdict.liveness import close_at, kernel_answers
from tests.unit.guest.conftest import MakeSpec


class Line:
    """A connection that one waits on for ever, unless it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def test_a_wait_is_cut_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "GRACE_S", 0.01)
    line = Line()
    with close_at(Deadline("test", 0.01), line):
        assert line.closed.wait(30)


def test_what_ends_in_time_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "GRACE_S", 0.2)
    line = Line()
    with close_at(Deadline("test", 0.0), line):
        pass
    assert not line.closed.wait(0.4)
    assert "ssh-cut" not in {thread.name for thread in threading.enumerate()}


def test_a_greeting_is_a_sign_of_life() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-test\r\n")

        threading.Thread(target=greet, daemon=True).start()
        assert kernel_answers(server.getsockname(), Deadline("test", 30.0))


def test_a_refusal_is_one_too() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert kernel_answers(nobody.getsockname(), Deadline("test", 30.0))


def test_silence_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not kernel_answers(server.getsockname(), Deadline("test", 0.1))


def test_a_slow_guest_is_not_waited_for_without_end(make_spec: MakeSpec) -> None:
    assert CALIBRATION.probe(make_spec(patience=100.0)).seconds == MAX_PROBE_S
    assert CALIBRATION.probe(make_spec(patience=0.1)).seconds < MAX_PROBE_S
