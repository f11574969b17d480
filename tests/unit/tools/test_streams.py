"""The limits that ``tools.streams`` holds readers to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools import streams

Reader = tuple[str, Callable[[bytes], object], Callable[[], object]]


def only(monkeypatch: pytest.MonkeyPatch, feed: Callable[[bytes], object]) -> None:
    """Let this be the one reader there is."""

    def readers(folder: Path) -> Iterator[Reader]:
        assert folder.is_dir()
        yield "hoarder", feed, lambda: None

    monkeypatch.setattr(streams, "_readers", readers)


def test_the_readers_are_within_the_limits() -> None:
    assert [line for seed in range(8) for line in streams.beside(seed, 4096)] == []


def test_a_reader_that_keeps_much_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytearray] = []
    only(monkeypatch, lambda data: kept.append(bytearray(len(data) << 14)))
    (line,) = streams.beside(1, 4096)
    assert line == "seed 1: hoarder used more than 64 MiB for 8192 bytes"
    only(monkeypatch, lambda data: kept.append(bytearray(len(data) << 10)))
    assert streams.beside(1, 4096) == []


def test_a_reader_that_takes_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0

    def feed(data: bytes) -> None:
        nonlocal seen
        seen += len(data)
        end = time.process_time() + (0.7 if seen > 2 * 4096 else 0.01)
        while time.process_time() < end:
            pass

    only(monkeypatch, feed)
    (line,) = streams.beside(1, 4096)
    assert line.startswith("seed 1: hoarder took 0.")


def test_a_reader_that_ends_its_process_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def feed(data: bytes) -> None:
        raise RuntimeError(data)

    only(monkeypatch, feed)
    assert streams.beside(1, 4096) == ["seed 1: the readers died"]
