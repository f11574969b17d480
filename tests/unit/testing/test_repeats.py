"""Programs that run more than once: by --repeat, or again after a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.results.reading import read_records
from harness.results.records import (
    CaseRecord,
    GuestFailureRecord,
    LatencyRecord,
    ProgramRecord,
)
from harness.results.summary import flaky_programs, fold
from tests.unit.runs import cell, prepared
from tests.unit.testing.started import BAD, GOOD, Start, cases, records, starts


def fails_the_second_time(count: Path) -> str:
    """Return a program that keeps its number of runs in a file."""
    return (
        f"echo x >>{count}; echo 'KTAP version 1'; echo 1..1;"
        f"case $(wc -l <{count}) in 2) echo 'not ok 1 first'; exit 1;; esac; echo 'ok 1 first'"
    )


def test_a_repeated_program_runs_in_a_row_and_keeps_each_result(
    tmp_path: Path, start: Start
) -> None:
    flaky = fails_the_second_time(tmp_path / "count")
    run = prepared(tmp_path, {"api/a": flaky, "api/b": GOOD}, cells=(cell(smp=1), cell(smp=2)))
    result = start(run, "--uintr-repeat", "3")
    assert result.ret == 1
    found = [
        (record.cell[9:13], record.program, record.attempt, record.status)
        for record in records(run, CaseRecord)
        if isinstance(record, CaseRecord) and record.case == "first"
    ]
    assert found == [
        ("smp1", "api/a", 1, "pass"),
        ("smp1", "api/a", 2, "fail"),
        ("smp1", "api/a", 3, "pass"),
        *(("smp1", "api/b", n, "pass") for n in (1, 2, 3)),
        *(("smp2", "api/a", n, "pass") for n in (1, 2, 3)),
        *(("smp2", "api/b", n, "pass") for n in (1, 2, 3)),
    ]
    ends = [record for record in records(run, ProgramRecord) if isinstance(record, ProgramRecord)]
    assert [record.attempt for record in ends] == [1, 2, 3] * 4
    kept = run.cell("k-hidden-smp1-gcc") / "output"
    assert {path.name for path in kept.glob("api.a*")} == {
        "api.a.txt",
        "api.a.run-2.txt",
        "api.a.run-3.txt",
    }
    assert b"not ok" in (kept / "api.a.run-2.txt").read_bytes()
    # The guest is booted once all the same.
    assert starts(run) == ["booted", "restored", "booted"]


def test_a_failed_program_is_tried_again_in_a_fresh_guest(tmp_path: Path, start: Start) -> None:
    mark = tmp_path / "mark"
    shaky = f"if test -e {mark}; then {GOOD}; else touch {mark}; {BAD}; fi"
    run = prepared(tmp_path, {"api/a": shaky, "api/b": BAD, "api/c": GOOD})
    assert start(run, "--uintr-retries", "1").ret == 1
    attempts = [
        (record.program, record.attempt)
        for record in records(run, ProgramRecord)
        if isinstance(record, ProgramRecord)
    ]
    assert attempts == [("api/a", 1), ("api/a", 2), ("api/b", 1), ("api/b", 2), ("api/c", 1)]
    assert starts(run) == ["booted", "restored", "restored", "restored"]
    outcome = fold(read_records(run.results).records)
    assert flaky_programs(outcome) == {("k-hidden-smp1-gcc", "api/a")}
    assert outcome.exit_code == 1


def test_a_program_that_killed_its_guest_is_tried_again(tmp_path: Path, start: Start) -> None:
    mark = tmp_path / "mark"
    dies = "echo 'KTAP version 1'; echo 1..2; echo 'die: panic' >&2"
    run = prepared(
        tmp_path, {"api/a": f"if test -e {mark}; then {GOOD}; else touch {mark}; {dies}; fi"}
    )
    start(run, "--uintr-retries", "3")
    assert starts(run) == ["booted", "restored"]
    assert ("api/a", "second", "pass") in cases(run)
    assert len(records(run, GuestFailureRecord)) == 1


def test_exitfirst_ends_a_hunt_at_the_run_that_failed(tmp_path: Path, start: Start) -> None:
    run = prepared(tmp_path, {"api/a": fails_the_second_time(tmp_path / "count")})
    start(run, "--uintr-repeat", "50", "-x")
    assert [status for _, _, status in cases(run)] == ["pass", "fail"]


def test_samples_of_repeated_programs_are_all_kept(tmp_path: Path, start: Start) -> None:
    write = r'''printf '\5\0\0\0\0\0\0\0' >"$UINTR_SAMPLES/uintr.ping-pong.ns.u64"'''
    run = prepared(tmp_path, {"latency/a": f"{write};{GOOD}"})
    assert start(run, "--uintr-repeat", "2").ret == 0
    found = [one for one in records(run, LatencyRecord) if isinstance(one, LatencyRecord)]
    assert [one.attempt for one in found] == [1, 2]
    assert len({one.samples for one in found}) == 2
    assert all((run.path / one.samples).stat().st_size == 8 for one in found)


def test_a_developers_own_test_is_repeated_under_its_name(
    tmp_path: Path, start: Start, pytester: pytest.Pytester
) -> None:
    path = pytester.makepyfile(
        mine="""
        import pytest

        @pytest.mark.parametrize("size", [4, 8])
        def test_x(guest, size):
            assert guest.run(["true"]).returncode == 0
        """
    )
    run = prepared(tmp_path, {})
    assert start(run, "--uintr-repeat", "2", tests=str(path)).ret == 0
    found = [
        (record.program, record.attempt)
        for record in records(run, CaseRecord)
        if isinstance(record, CaseRecord)
    ]
    assert sorted(found) == [(f"mine.py::test_x[{n}]", m) for n in (4, 8) for m in (1, 2)]
