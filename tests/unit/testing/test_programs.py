"""Programs as test items: cases, samples, output, limits, selection."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from harness.guest.counted import Counted
from harness.guest.limits import CopyLimitError
from harness.guest.verdict.failure import Completed
from harness.guest.verdict.splats import scan
from harness.results.records import (
    BootRecord,
    CaseRecord,
    LatencyRecord,
    SplatRecord,
)
from harness.results.summary import fold
from tests.unit.runs import cell, prepared
from tests.unit.testing.started import BAD, GOOD, MEASURE, WARN, Start, cases, records


def test_each_case_is_a_record_and_a_subtest(tmp_path: Path, start: Start) -> None:
    run = prepared(tmp_path, {"api/good": GOOD, "api/bad": BAD})
    result = start(run)
    assert result.ret == 1
    assert cases(run) == [
        ("api/good", "first", "pass"),
        ("api/good", "second", "pass"),
        ("api/bad", "fine", "pass"),
        ("api/bad", "broken", "fail"),
        ("api/bad", "later", "skip"),
    ]
    result.stdout.fnmatch_lines(["*[[]broken[]]*", "*got 3, not 4*"])
    result.assert_outcomes(passed=1, failed=2)


X86 = r"""#!/bin/sh
printf '[RUN]\tthing\n[OK]\tit held\n[FAIL]\tnot here\n'; exit 1
"""


def test_the_kernels_selftests_are_programs_of_a_cell(tmp_path: Path, start: Start) -> None:
    run = prepared(
        tmp_path,
        {
            "kselftest-a/ktap.sh": f"#!/bin/sh\n{GOOD}",
            "kselftest-a/lines": X86,
            "kselftest-a/beside.sh": "#!/bin/sh\ntest -f ./lines && echo oops >&2 && exit 2",
            "kselftest-b/none": "#!/bin/sh\nexit 4",
        },
    )
    result = start(run)
    assert result.ret == 1
    assert cases(run) == [
        ("kselftest-a/ktap.sh", "first", "pass"),
        ("kselftest-a/ktap.sh", "second", "pass"),
        ("kselftest-a/lines", "thing", "pass"),
        ("kselftest-a/lines", "thing (2)", "fail"),
        ("kselftest-a/beside.sh", "(program)", "fail"),
        ("kselftest-b/none", "(program)", "skip"),
    ]
    (oops,) = (
        record
        for record in records(run)
        if isinstance(record, CaseRecord) and record.program.endswith("beside.sh")
    )
    assert oops.message == "exit code 2; last line: 'oops'"


def test_a_selftest_in_a_guest_of_its_own_has_what_lies_beside_it(
    tmp_path: Path, start: Start
) -> None:
    scripts = {
        "kselftest-a/data": "",
        "kselftest-a/reads": "#!/bin/sh\ntest -f data",
    }
    run = prepared(tmp_path, scripts)
    start(run, "--uintr-isolate", "-k", "reads")
    assert cases(run) == [("kselftest-a/reads", "(program)", "pass")]


def test_a_selftest_that_was_not_built_is_skipped_without_a_guest(
    tmp_path: Path, start: Start
) -> None:
    name = "kselftest-a/gone"
    run = prepared(tmp_path, {name: ""}, missing={name: "not built: no popt.h\n1 | #include"})
    assert start(run).ret == 0
    (case,) = records(run, CaseRecord)
    assert isinstance(case, CaseRecord)
    assert (case.status, case.message) == ("skip", "not built: no popt.h")
    assert case.diagnostics == "1 | #include"
    assert not records(run, BootRecord)


def test_samples_become_percentiles(tmp_path: Path, start: Start) -> None:
    write = r'''printf '\5\0\0\0\0\0\0\0' >"$UINTR_SAMPLES/uintr.ping-pong.ns.u64"'''
    run = prepared(tmp_path, {"latency/a": f"{write};{GOOD}", "latency/b": GOOD})
    assert start(run).ret == 1
    (latency,) = records(run, LatencyRecord)
    assert isinstance(latency, LatencyRecord)
    assert (latency.program, latency.p50, latency.count) == ("latency/a", 5, 1)
    assert (run.path / latency.samples).read_bytes()[0] == 5
    assert ("latency/b", "(samples)", "fail") in cases(run)


def test_a_program_that_hangs_fails_by_its_deadline(tmp_path: Path, start: Start) -> None:
    run = prepared(tmp_path, {"api/a": "exec sleep 60", "api/b": GOOD}, timeout_s=0.2)
    assert start(run).ret == 1
    first, *_ = records(run, CaseRecord)
    assert isinstance(first, CaseRecord)
    assert "timed out" in first.message
    assert ("api/b", "first", "pass") in cases(run)


def test_output_is_kept_as_it_was(tmp_path: Path, start: Start) -> None:
    run = prepared(tmp_path, {"api/a": GOOD + r"; printf '\377\n'; echo oops >&2"})
    start(run)
    kept = (run.cell("k-hidden-smp1-gcc") / "output" / "api.a.txt").read_bytes()
    assert kept.endswith(b"\xff\n--- stderr ---\noops\n")


def test_select_exitfirst_and_last_failed(tmp_path: Path, start: Start) -> None:
    run = prepared(tmp_path, {"api/a": BAD, "api/b": GOOD, "stress/c": BAD, "stress/d": GOOD})
    start(run, "-k", "stress")
    assert {program for program, _, _ in cases(run)} == {"stress/c", "stress/d"}
    run.results.unlink()
    start(run, "--lf")
    assert {program for program, _, _ in cases(run)} == {"stress/c"}
    run.results.unlink()
    start(run, "-x", "--cache-clear")
    # The program that failed runs to its end; those after it do not start.
    assert cases(run) == [
        ("api/a", "fine", "pass"),
        ("api/a", "broken", "fail"),
        ("api/a", "later", "skip"),
    ]


def test_a_cell_that_counts_boots_no_guest_but_one_for_each_program(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted: list[str] = []

    def run_counted(
        spec: object, program: Path, folder: Path, samples: Path, **options: Any
    ) -> Counted:
        booted.append(program.name)
        samples.mkdir(parents=True)
        (samples / "uintr.return.insn.u64").write_bytes(struct.pack("<2Q", 416, 417))
        output = b"KTAP version 1\n1..1\nok 1 return\n"
        options["on_stdout"](output)
        done = Completed(returncode=0, signal=None, stdout=output, stderr=b"", seconds=1.0)
        return Counted(done=done, boot_s=0.5, splats=scan([WARN.encode()]))

    monkeypatch.setattr("harness.testing.counted.run_counted", run_counted)
    one = cell().model_copy(update={"clock": "icount"})
    run = prepared(tmp_path, {"latency/a": "", "latency/b": ""}, cells=(one,))
    start(run)
    assert booted == ["a", "b"]
    told = [
        (record.cell, getattr(record, "clock", None) or getattr(record, "unit", None))
        for record in records(run, BootRecord, LatencyRecord)
    ]
    assert told == [(one.name, "icount"), (one.name, "insn")] * 2
    found = records(run, SplatRecord)
    assert [getattr(record, "program", None) for record in found] == ["latency/a", "latency/b"]
    assert [record.console for record in found] == [f"latency/{name}/console.log" for name in "ab"]


def test_each_result_line_is_json(tmp_path: Path, start: Start) -> None:
    run = prepared(tmp_path, {"api/a": GOOD})
    start(run)
    for line in run.results.read_text().splitlines():
        assert json.loads(line)["schema"] == 1


def test_samples_beyond_their_limits_are_a_failed_case_and_nothing_else(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        raise CopyLimitError("too much to copy from the guest")

    monkeypatch.setattr("tests.unit.fake_guest.FakeGuest.fetch", fetch)
    run = prepared(tmp_path, {"latency/a": GOOD, "api/b": GOOD})
    assert start(run).ret == 1
    outcome = fold(records(run))
    assert [(case.program, case.case) for case in outcome.failures] == [("latency/a", "(samples)")]
    assert outcome.guest_failures == ()


def test_a_sample_file_with_an_odd_name_fails_its_program(tmp_path: Path, start: Start) -> None:
    script = f'{MEASURE}; touch "$UINTR_SAMPLES/$(printf "a\\377 b")"'
    run = prepared(tmp_path, {"latency/a": script, "api/b": GOOD})
    assert start(run).ret == 1
    outcome = fold(records(run))
    assert [(case.program, case.case) for case in outcome.failures] == [("latency/a", "(samples)")]


def test_what_pytest_prints_steers_nothing(tmp_path: Path, start: Start) -> None:
    evil = r"::add-mask::x \033]52;c;eA==\007 \302\2338m \342\200\256 ##[error]"
    says = f"printf 'KTAP version 1\\n1..2\\n# {evil}\\n# ::warning::x\\nnot ok 1 {evil}\\n'"
    skips = f"printf 'ok 2 a # SKIP {evil}\\n'"
    run = prepared(tmp_path, {"api/a": f"{says}; {skips}; echo 'console: {WARN}' >&2"})
    result = start(run, "-v", "-rA")
    text = result.stdout.str()
    assert "add-mask" in text
    assert not set("\x1b\x07\x9b\u202e") & set(text)
    for line in text.split("\n"):
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


NEEDY = (
    "echo 'KTAP version 1'; echo 1..2; echo 'ok 1 runs';"
    "echo 'ok 2 other # SKIP needs cpu:uintr: the CPU has no user interrupts'"
)


def test_a_case_for_other_cells_is_recorded_as_one(tmp_path: Path, start: Start) -> None:
    run = prepared(tmp_path, {"bare/needy": NEEDY})
    assert start(run).ret == 0
    assert [(r.case, r.lacks) for r in records(run, CaseRecord) if isinstance(r, CaseRecord)] == [
        ("runs", ""),
        ("other", "cpu:uintr"),
    ]


def test_a_case_that_denies_what_its_cell_has_fails(tmp_path: Path, start: Start) -> None:
    exposed = cell(cpu="exposed")
    exposed = exposed.model_copy(
        update={"cpu": exposed.cpu.model_copy(update={"exposes_uintr": True})}
    )
    run = prepared(tmp_path, {"bare/needy": NEEDY}, cells=(exposed,))
    assert start(run).ret == 1
    assert cases(run) == [("bare/needy", "runs", "pass"), ("bare/needy", "other", "fail")]
