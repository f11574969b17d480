from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.results.latency import (
    DIFFERENT_SPINS,
    merge,
    parse_name,
    read_folder,
    with_samples,
)
from harness.results.records import LatencyRecord
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
        ("uintr.one-way-umwait.ns.u64", ("uintr", "one-way-umwait", "ns")),
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
        "uintr.ping-pong-busy-umwait.ns.u64",
        "uintr.sender-user-kernel.ns.u64",
        "uintr.ping-pong.ns.u64\n",
        "notes.txt",
    ],
)
def test_wrong_names_are_told_with_the_words_that_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="is not"):
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
    assert [take.count for take in record.takes] == [1000]


def nearest_rank(values: list[int], percent: int) -> int:
    """Return the smallest value that has so many percent at or below it, by its definition."""
    enough = [v for v in values if 100 * sum(w <= v for w in values) >= percent * len(values)]
    return min(enough)


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
def test_percentiles_are_exact(values: list[int]) -> None:
    record = make.latency(values=values)
    found = {50: record.p50, 90: record.p90, 99: record.p99}
    assert found == {percent: nearest_rank(values, percent) for percent in found}


@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60), min_size=1, max_size=4)
)
def test_merging_is_the_distribution_of_all_samples(parts: list[list[int]]) -> None:
    merged = merge([make.latency(values=part) for part in parts])
    whole = make.latency(values=[value for part in parts for value in part])
    assert merged.mean == pytest.approx(whole.mean)
    same = {"mean": 0.0, "takes": (), "notes": ()}
    assert merged.model_copy(update=same) == whole.model_copy(update=same)


def test_merging_nothing() -> None:
    with pytest.raises(ValueError, match="no distributions"):
        merge([])


def test_of_a_million_samples_a_record_keeps_little_and_the_figures_are_exact() -> None:
    values = list(range(2_000_000, 3_000_000))
    random.Random(1).shuffle(values)
    record = make.latency(values=values)
    assert (record.p50, record.p90, record.p99) == (2_499_999, 2_899_999, 2_989_999)
    assert len(record.model_dump_json()) < 40_000
    # Another take, of one sample, is one of a million and one.
    assert merge([record, make.latency(values=[1])]).p50 == pytest.approx(2_500_000, abs=2000)


def old(tmp_path: Path, name: str, *values: int) -> LatencyRecord:
    """Return a record as a version wrote it that kept a histogram."""
    (tmp_path / f"{name}.u64").write_bytes(pack(*values))
    line = make.latency(values=list(values), samples=f"{name}.u64").model_dump(exclude={"takes"})
    return LatencyRecord.model_validate({**line, "histogram": "HISTFAAAA"})


def test_samples_of_an_old_record_are_read_from_its_file(tmp_path: Path) -> None:
    before = old(tmp_path, "a", 5, 6, 7)
    assert (before.takes, before.p50) == ((), 6)
    now = with_samples(before, tmp_path)
    assert now.takes == make.latency(values=[5, 6, 7]).takes
    assert "histogram" not in now.model_dump()
    with_more = merge([now, with_samples(old(tmp_path, "b", 1, 2, 3, 4), tmp_path)])
    assert (with_more.count, with_more.p50) == (7, 4)


def test_old_records_whose_files_are_gone_cannot_be_merged(tmp_path: Path) -> None:
    records = [old(tmp_path, name, 5, 6, 7) for name in ("a", "b")]
    (tmp_path / "b.u64").unlink()
    known, unknown = (with_samples(record, tmp_path) for record in records)
    assert merge([unknown]).p50 == 6
    with pytest.raises(UserError, match="uintr ping-pong was measured 2 times") as caught:
        merge([known, unknown])
    assert caught.value.where == "b.u64"
