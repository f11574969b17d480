from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from harness.results.latency import DIFFERENT_SPINS, HIGHEST, merge, parse_name, read_folder
from tests.unit.results import make


def pack(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


@pytest.mark.parametrize(
    ("word", "spin", "errors"),
    [
        (None, None, 0),
        (b"bare\n", "bare", 0),
        (b"pause\n", "pause", 0),
        (b"", None, 1),
        (b"fast\n", None, 1),
        (b"\xff\x00", None, 1),
    ],
)
def test_the_spin_is_that_of_times(
    tmp_path: Path, word: bytes | None, spin: str | None, errors: int
) -> None:
    (tmp_path / "uintr.ping-pong.ns.u64").write_bytes(pack(5))
    (tmp_path / "uintr.ping-pong.insn.u64").write_bytes(pack(5))
    if word is not None:
        (tmp_path / "spin").write_bytes(word)
    found = read_folder(tmp_path, cell="c", program="p")
    assert {record.unit: record.spin for record in found.records} == {"ns": spin, "insn": None}
    assert len(found.errors) == errors


def test_different_spins_in_one_distribution_are_noted(tmp_path: Path) -> None:
    (tmp_path / "uintr.ping-pong.ns.u64").write_bytes(pack(5))
    (record,) = read_folder(tmp_path, cell="c", program="p").records
    bare, pause = (record.model_copy(update={"spin": spin}) for spin in ("bare", "pause"))
    assert merge([bare, bare]).notes == ()
    assert merge([bare, pause]).notes == (DIFFERENT_SPINS,)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("uintr.ping-pong.ns.u64", ("uintr", "ping-pong", "ns")),
        ("signalfd.one-way-blocked.insn.u64", ("signalfd", "one-way-blocked", "insn")),
        (
            "shm.throughput-blocked-fair-same-cpu-16-senders.ns.u64",
            ("shm", "throughput-blocked-fair-same-cpu-16-senders", "ns"),
        ),
        ("unix.sender-fair-busy.ns.u64", ("unix", "sender-fair-busy", "ns")),
        (
            "pipe.ping-pong-blocked-same-cpu-processes.insn.u64",
            ("pipe", "ping-pong-blocked-same-cpu-processes", "insn"),
        ),
        ("futex.sender-self.insn.u64", ("futex", "sender-self", "insn")),
        ("eventfd.ping-pong-talk.ns.u64", ("eventfd", "ping-pong-talk", "ns")),
        ("futex.sender-self-user.insn.u64", ("futex", "sender-self-user", "insn")),
        ("pipe.delivery-kernel.insn.u64", ("pipe", "delivery-kernel", "insn")),
        ("signal.return.insn.u64", ("signal", "return", "insn")),
    ],
)
def test_names(name: str, words: tuple[str, str, str]) -> None:
    assert parse_name(name) == words


@pytest.mark.parametrize(
    "name",
    [
        "uintr.ping-pong.ns",
        "uintr.ping-pong.u64",
        "carrier.ping-pong.ns.u64",
        "uintr.pong.ns.u64",
        "uintr.ping-pong.us.u64",
        "uintr.ping-pong-fair-blocked.ns.u64",
        "uintr.ping-pong-0-senders.ns.u64",
        "uintr.ping-pong-busy-blocked.ns.u64",
        "uintr.sender-user-kernel.ns.u64",
        "uintr.ping-pong.ns.u64\n",
        "notes.txt",
    ],
)
def test_wrong_names_are_told_with_the_words_that_there_are(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not|is none of"):
        parse_name(name)


def test_a_folder_of_samples(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    values = list(range(1, 1001))
    random.Random(1).shuffle(values)
    (folder / "pipe.one-way.ns.u64").write_bytes(pack(*values))
    samples = read_folder(folder, cell="c", program="latency/pipe", run=tmp_path)
    (record,) = samples.records
    assert samples.errors == ()
    assert (record.mechanism, record.mode, record.unit) == ("pipe", "one-way", "ns")
    assert (record.count, record.min, record.max, record.mean) == (1000, 1, 1000, 500.5)
    assert (record.p50, record.p90, record.p99) == (500, 900, 990)
    assert record.samples == "samples/pipe.one-way.ns.u64"
    assert HdrHistogram.decode(record.histogram).get_total_count() == 1000


def test_percentiles_of_instructions_are_exact(tmp_path: Path) -> None:
    # The histogram cannot tell these apart: it has three digits.
    for name, median in (("a", 70_001), ("b", 70_002)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "pipe.sender-self.insn.u64").write_bytes(pack(69_999, median, 80_003))
        (record,) = read_folder(folder, cell="c", program="p").records
        assert (record.min, record.p50, record.p90, record.p99) == (69_999, median, 80_003, 80_003)


def test_odd_empty_and_foreign_files_are_errors_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "uintr.one-way.ns.u64").write_bytes(pack(5, 6) + b"abc")
    (tmp_path / "pipe.one-way.ns.u64").write_bytes(b"")
    (tmp_path / "core").write_bytes(b"\x7fELF")
    (tmp_path / "shm.one-way.ns.u64").mkdir()
    samples = read_folder(tmp_path, cell="c", program="latency/x")
    assert [record.count for record in samples.records] == [2]
    assert [error.split(":")[0].split(" ")[0] for error in samples.errors] == [
        "'core'",
        "pipe.one-way.ns.u64",
        "'shm.one-way.ns.u64'",
        "uintr.one-way.ns.u64",
    ]
    assert read_folder(tmp_path / "none", cell="c", program="p").records == ()


def test_zero_and_huge_values_are_counted_and_told(tmp_path: Path) -> None:
    (tmp_path / "uintr.sender.ns.u64").write_bytes(pack(0, 0, 7, 2**64 - 1))
    (record,) = read_folder(tmp_path, cell="c", program="p").records
    assert (record.count, record.min, record.max) == (4, 0, 2**64 - 1)
    assert record.p50 == 0
    assert [note.split(" samples")[0] for note in record.notes] == ["2 of 4", "1 of 4"]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60))
def test_percentiles_are_within_a_thousandth_of_the_exact_ones(values: list[int]) -> None:
    record = make.latency(values=values)
    assert record.min <= record.p50 <= record.p90 <= record.p99 <= record.max
    ranked = sorted(values)
    for percent, found in [(50, record.p50), (90, record.p90), (99, record.p99)]:
        exact = min(ranked[max(1, int(percent * len(ranked) / 100 + 0.5)) - 1], HIGHEST)
        assert exact <= max(found, record.min) or found == record.max
        assert abs(found - max(exact, record.min)) <= max(1, exact / 1000) or exact == HIGHEST


def test_merging_is_the_distribution_of_all_samples() -> None:
    parts = [make.latency(values=[10, 20, 30]), make.latency(values=[1000])]
    whole = make.latency(values=[10, 20, 30, 1000])
    assert merge(parts) == whole
    assert merge(parts[:1]) == parts[0]
    with pytest.raises(ValueError, match="no distributions"):
        merge([])
