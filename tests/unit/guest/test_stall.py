"""When a silent guest is held for stuck, and when it is not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from harness.guest.verdict import liveness
from harness.guest.verdict.deadlines import Deadline
from harness.guest.verdict.liveness import LivenessMonitor, ssh_server_answers
from harness.guest.verdict.stall import BETWEEN_S, SAMPLES, SPIN_S, WAIT_S, Stall, read_cpus

IF = 0x202
#: Between two samples, on the tests' clock.
STEP_S = 1.5 * BETWEEN_S


def registers(*cpus: tuple[int, bool, int]) -> str:
    """What QEMU prints of CPUs with this in RAX, halted or not, with these flags."""
    return "".join(
        f"\r\nCPU#{number}\r\n"
        f"RAX={rax:016x} RBX=0000000000000000 RCX=0000000000000001 RDX=0000000000000000\r\n"
        "R8 =0000000000000000 R9 =0000000000000000 R10=0000000000000000 R11=0000000000000000\r\n"
        f"RIP=ffffffff81000000 RFL={flags:08x} [-------] CPL=0 II=0 A20=1 SMM=0 "
        f"HLT={int(halted)}\r\n"
        for number, (rax, halted, flags) in enumerate(cpus)
    )


def test_registers_as_qemu_prints_them() -> None:
    one, two = read_cpus(registers((5, False, 2), (6, True, IF)))
    assert "RAX=0000000000000005" in one.state
    assert "R8 =0000000000000000" in one.state
    assert not any(word.startswith("RIP") for word in one.state)
    assert (one.halted, one.wakeable) == (False, False)
    assert (two.halted, two.wakeable) == (True, True)


def ticking() -> Callable[[], float]:
    """Return a clock that advances with each sample."""
    ticks = count()
    return lambda: next(ticks) * STEP_S


def watch(sample: Callable[[], tuple[str, float] | None], scale: float = 1.0) -> Stall:
    return Stall(sample, scale, clock=ticking())


SPINS = [registers((5, False, 2))]
WORKS = [registers((number, False, 2)) for number in range(SAMPLES)]
DEAD = [registers((5, True, 2))]
IDLE = [registers((5, True, IF), (6, True, IF))]
TICKS = [registers((number, True, IF), (6, True, IF)) for number in range(SAMPLES)]
ONE_SPINS = [registers((5, False, 2), (6, True, IF))]
ONE_WORKS = [registers((number, False, 2), (6, True, IF)) for number in range(SAMPLES)]
DISTURBED = [registers((5, False, 2)), registers((5, False, 2)), registers((9, False, 2))]


@pytest.mark.parametrize(
    ("shows", "served", "after_s"),
    [
        (SPINS, 1.0, SPIN_S),
        (SPINS, 0.1, None),  # the host gives QEMU too little for anything to move
        (WORKS, 1.0, None),
        (DEAD, 0.0, SPIN_S),
        (IDLE, 0.0, WAIT_S),
        (TICKS, 0.0, WAIT_S),
        (ONE_SPINS, 1.0, SPIN_S),
        (ONE_WORKS, 1.0, None),
        (DISTURBED, 1.0, SPIN_S),
    ],
)
def test_what_is_held_for_stuck(shows: list[str], served: float, after_s: float | None) -> None:
    samples = count()

    def sample() -> tuple[str, float]:
        number = next(samples)
        return shows[number % len(shows)], number * STEP_S * served

    def verdicts(quiet_s: float) -> list[str | None]:
        watched = watch(sample)
        return [watched.check(quiet_s, longest_gap_s=0.5) for _ in range(3 * SAMPLES)]

    if after_s is None:
        assert not any(verdicts(1000.0))
        return
    assert not any(verdicts(after_s - 0.1))
    found = verdicts(after_s)
    assert not any(found[: SAMPLES - 1]), "it was not sampled often enough"
    assert found[-1]


def test_a_guest_that_was_slow_before_is_borne_with() -> None:
    watched = watch(lambda: (DEAD[0], 0.0))
    assert not any(watched.check(19.9, longest_gap_s=4.0) for _ in range(3 * SAMPLES))
    assert [watched.check(20.0, longest_gap_s=4.0) for _ in range(3 * SAMPLES)][-1]
    patient = watch(lambda: (DEAD[0], 0.0), scale=3.0)
    assert not any(patient.check(14.9, longest_gap_s=0.1) for _ in range(3 * SAMPLES))


def test_looks_before_a_sign_of_life_do_not_count() -> None:
    watched = watch(lambda: (DEAD[0], 0.0))
    for _ in range(SAMPLES - 1):
        assert watched.check(SPIN_S, 0.0) is None
    assert watched.check(0.1, 0.0) is None
    assert watched.check(SPIN_S, 0.0) is None


def test_a_monitor_that_does_not_answer_proves_nothing() -> None:
    watched = watch(lambda: None)
    assert not any(watched.check(1000.0, 0.0) for _ in range(3 * SAMPLES))


# --- a guest's sign of life while a command runs -------------------------------------------


@pytest.fixture
def port() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def serve(server: socket.socket, greeting: bytes) -> None:
    """Answer every connection with a greeting."""

    def run() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(greeting)

    threading.Thread(target=run, daemon=True).start()


def test_a_greeting_is_told_from_an_answer(port: socket.socket) -> None:
    address = port.getsockname()
    serve(port, b"SSH-2.0-x\r\n")
    assert ssh_server_answers(address, Deadline("test", 5))
    with socket.create_server(("127.0.0.1", 0)) as other:
        serve(other, b"")
        assert liveness.kernel_answers(other.getsockname(), Deadline("test", 5))
        assert not ssh_server_answers(other.getsockname(), Deadline("test", 5))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PERIOD_S", 0.1)
    monkeypatch.setattr(liveness, "BEAT_S", 0.1)


@pytest.mark.usefixtures("quick")
def test_a_guest_that_stopped_is_told_once_and_with_the_time(port: socket.socket) -> None:
    stopped = threading.Event()
    monitor = LivenessMonitor(
        port.getsockname(), 1.0, stopped.set
    )  # takes connections, says nothing
    assert not stopped.wait(0.5), "nobody listened"
    with monitor.listening():
        assert stopped.wait(10)
    assert monitor.stopped is not None
    assert "no sign of life" in monitor.stopped
    monitor.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("sign", ["a greeting", "output"])
def test_a_sign_of_life_is_enough(port: socket.socket, sign: str) -> None:
    stopped = threading.Event()
    monitor = LivenessMonitor(port.getsockname(), 1.0, stopped.set)
    if sign == "a greeting":
        serve(port, b"SSH-")
    with monitor.listening():
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            if sign == "output":
                monitor.heard()
            time.sleep(0.01)
    monitor.close()
    assert not stopped.is_set()
    assert monitor.stopped is None
