from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

# Imported here although unused: pytester forgets, test by test, what a pytest in this process
# imports first, and would import it again each time.
import harness.results.latency
import harness.testing.counted
import harness.testing.plugin
import harness.testing.schedule  # noqa: F401
from harness import paths
from harness.errors import GuestError
from harness.guest import vm
from harness.guest.counted import Counted
from harness.guest.runtime import runtime_root
from harness.guest.verdict import leaks
from harness.guest.verdict.failure import Completed
from harness.guest.verdict.splats import scan
from harness.paths import PROGRAMS_TEST, PYTEST_INI
from harness.results.folder import RunFolder
from harness.results.reading import read_records
from harness.results.records import (
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    LatencyRecord,
    ProgramRecord,
    Record,
    SplatRecord,
)
from harness.results.summary import flaky_programs, fold
from tests.unit import fake_guest
from tests.unit.runs import KEY, cell, prepared

GOOD = "echo 'KTAP version 1'; echo 1..2; echo 'ok 1 first'; echo 'ok 2 second'"
BAD = (
    "echo 'KTAP version 1'; echo 1..3; echo 'ok 1 fine'; echo '# got 3, not 4';"
    "echo 'not ok 2 broken'; echo 'ok 3 later # SKIP no such CPU'; exit 1"
)
WARN = "WARNING: CPU: 0 PID: 7 at kernel/uintr.c:12 uintr_post+0x1/0x2"

Start = Callable[..., pytest.RunResult]


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Start:
    """Run pytest as `uintr-harness run` does, with the fake guest."""
    monkeypatch.setenv("PYTHONPATH", str(paths.ROOT))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    # pytest runs in this process, but for workers: restored at the end what the plugin replaces.
    monkeypatch.setattr(vm, "start_guest", fake_guest.start_guest)

    def start(run: RunFolder, *args: str, tests: str = str(PROGRAMS_TEST)) -> pytest.RunResult:
        return pytester.runpytest_inprocess(
            "--disable-plugin-autoload",
            *("-c", str(PYTEST_INI)),
            *("-p", "harness.testing.plugin", "-p", "tests.unit.fake_guest"),
            *("-o", f"cache_dir={pytester.path}/cache"),
            *("--uintr-run", str(run.path), *args, tests),
        )

    return start


def records(run: RunFolder, *kinds: type[Record]) -> list[Record]:
    found = read_records(run.results)
    assert not found.broken
    assert not found.unknown
    return [record for record in found.records if not kinds or isinstance(record, kinds)]


def cases(run: RunFolder) -> list[tuple[str, str, str]]:
    return [
        (record.program, record.case, record.status)
        for record in records(run)
        if isinstance(record, CaseRecord)
    ]


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


#: A program that measures.
MEASURE = (
    f'{GOOD}; python3 -c "import struct; '
    "open('$UINTR_SAMPLES/uintr.sender.ns.u64', 'wb').write(struct.pack('<4Q', 1, 2, 3, 4))\""
)

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


def test_one_boot_per_cell_for_all_its_programs(tmp_path: Path, start: Start) -> None:
    run = prepared(
        tmp_path, {"api/a": GOOD, "api/b": GOOD}, cells=(cell(smp=1), cell(smp=2), cell(smp=4))
    )
    start(run)
    order = [record.cell for record in records(run, BootRecord, CaseRecord)]
    boots = [record.cell for record in records(run, BootRecord)]
    assert boots == ["k-hidden-smp1-gcc", "k-hidden-smp2-gcc", "k-hidden-smp4-gcc"]
    assert order == sorted(order), "a cell's programs ran between those of another"
    for name in boots:
        assert (run.cell(name) / "closed").exists()


def test_a_dead_guest_loses_one_program_only(tmp_path: Path, start: Start) -> None:
    dying = "echo 'KTAP version 1'; echo 1..5; echo 'ok 1 kept'; echo 'die: panic' >&2"
    run = prepared(tmp_path, {"api/a": dying, "api/b": GOOD, "api/c": GOOD})
    result = start(run)
    assert result.ret == 1
    assert ("api/a", "kept", "pass") in cases(run)
    assert ("api/a", "(program)", "fail") in cases(run)
    assert ("api/c", "second", "pass") in cases(run)
    (failure,) = records(run, GuestFailureRecord)
    assert isinstance(failure, GuestFailureRecord)
    assert (failure.verdict, failure.program) == ("panic", "api/a")
    assert len(records(run, BootRecord)) == 2
    assert (run.cell("k-hidden-smp1-gcc") / "guest-2" / "console.log").exists()


def starts(run: RunFolder) -> list[str]:
    """How the guests of a run began, with what was noted."""
    return [
        ("restored" if record.restored else "booted") + (f" ({record.note})" if record.note else "")
        for record in records(run, BootRecord)
        if isinstance(record, BootRecord)
    ]


@pytest.mark.parametrize(
    "trouble",
    [
        BAD,
        f"{GOOD}; echo 'console: {WARN}' >&2",
        "echo 'KTAP version 1'; echo 1..2; echo 'die: panic' >&2",
    ],
    ids=["a failed case", "a splat", "a death"],
)
def test_after_a_failure_the_guest_is_a_restored_one(
    tmp_path: Path, start: Start, trouble: str
) -> None:
    run = prepared(tmp_path, {"api/a": GOOD, "api/b": trouble, "api/c": GOOD, "api/d": GOOD})
    start(run)
    assert starts(run) == ["booted", "restored"]
    assert cases(run)[-4:] == [
        (program, case, "pass") for program in ("api/c", "api/d") for case in ("first", "second")
    ]
    assert [path.name for path in runtime_root().iterdir()] == [".sweep"]


def test_isolation_is_asked_for_by_a_program_or_the_user(tmp_path: Path, start: Start) -> None:
    marks = "test ! -e /tmp-mark && echo 'ok 1 clean' || echo 'not ok 1 clean'; touch /tmp-mark"
    program = f"echo 'KTAP version 1'; echo 1..1; cd $(dirname $0)/../..; {marks}".replace(
        "/tmp-mark", "mark"
    )
    programs = {"api/a": program, "api/b": program, "stress/c": program, "stress/d": program}
    run = prepared(tmp_path / "some", programs, isolated=("stress/c", "stress/d"))
    start(run)
    assert [status for _, _, status in cases(run)] == ["pass", "fail", "pass", "pass"]
    # After api/b the guest is another one already: nothing is restored twice.
    assert starts(run) == ["booted", "restored", "restored"]
    run = prepared(tmp_path / "all", programs)
    start(run, "--uintr-isolate")
    assert [status for _, _, status in cases(run)] == ["pass"] * 4
    assert starts(run) == ["booted", "restored", "restored", "restored"]


def test_a_guest_that_cannot_be_saved_or_restored_boots(tmp_path: Path, start: Start) -> None:
    programs = {"api/a": BAD, "api/b": BAD, "api/c": GOOD}
    run = prepared(tmp_path / "save", programs, cells=(cell("k", cmdline="fail-save"),))
    start(run)
    # A guest in which a case failed is better than the seconds of a boot for each such case.
    assert starts(run) == ["booted (the guest's state could not be saved: no room)"]
    run = prepared(tmp_path / "isolated", programs, cells=(cell("k", cmdline="fail-save"),))
    start(run, "--uintr-isolate")
    assert [one.partition(" ")[0] for one in starts(run)] == ["booted"] * 3
    run = prepared(tmp_path / "restore", programs, cells=(cell("k", cmdline="fail-restore"),))
    start(run)
    assert starts(run) == [
        "booted",
        "booted (a guest could not be restored: not-restored: it was cut)",
    ]
    assert not records(run, GuestFailureRecord)


def test_a_cell_that_does_not_boot_is_tried_once(tmp_path: Path, start: Start) -> None:
    run = prepared(
        tmp_path,
        {"api/a": GOOD, "api/b": GOOD},
        cells=(cell("broken", cmdline="fail-boot"), cell()),
    )
    result = start(run)
    result.assert_outcomes(errors=2, passed=2)
    (failure,) = records(run, GuestFailureRecord)
    assert isinstance(failure, GuestFailureRecord)
    assert (failure.verdict, failure.phase, failure.program) == (
        "panic-before-init",
        "kernel",
        None,
    )
    result.stdout.fnmatch_lines(["*panic-before-init: no root*"])


@pytest.mark.parametrize(
    "option", ["CONFIG_DEBUG_KMEMLEAK=y", "# CONFIG_DEBUG_KMEMLEAK is not set"]
)
def test_a_leak_is_looked_for_before_the_guest_ends(
    option: str, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "COMMAND", tuple(w.replace("sleep 6", "") for w in leaks.COMMAND))
    # A file that keeps what is written into it, where the kernel has its own.
    leaking = (
        f"{GOOD}; root=${{0%/tests/*}}; mkdir -p $root/dev $root/sys/kernel/debug;"
        ": >$root/sys/kernel/debug/kmemleak"
    )
    run = prepared(tmp_path, {"lifetime/leaks": leaking})
    for setup in run.read_artefacts().cells:
        setup.kernel.config.write_text(f"CONFIG_MODULES=y\n{option}\n")
    start(run)
    console = (run.cell("k-hidden-smp1-gcc") / "console.log").read_text()
    assert ("scan" in console) == option.endswith("=y")


def test_what_is_found_in_a_guest_that_is_replaced_is_not_the_next_programs(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = "unreferenced object 0xffff888003a7d500 (size 96): comm a, pid 71"
    command = ("sh", "-c", f"echo '{lost}' >$1", "leaks", "/dev/console")
    monkeypatch.setattr(leaks, "COMMAND", command)
    script = f"mkdir -p ${{0%/tests/*}}/dev; {GOOD}"
    programs = {"api/a": script, "api/b": script}
    run = prepared(tmp_path, programs, isolated=("api/b",))
    for setup in run.read_artefacts().cells:
        setup.kernel.config.write_text("CONFIG_DEBUG_KMEMLEAK=y\n")
    assert start(run).ret == 1
    found = [record for record in records(run) if isinstance(record, SplatRecord)]
    assert [(splat.kind, splat.program) for splat in found] == [("leak", None)] * 2


def test_what_kmemleak_finds_fails_the_cell(tmp_path: Path, start: Start) -> None:
    found = "console: unreferenced object 0xffff888003a7d500 (size 96): comm create-fd, pid 71"
    run = prepared(tmp_path, {"lifetime/leaks": f"{GOOD}; echo '{found}' >&2"})
    assert start(run).ret == 1
    (splat,) = records(run, SplatRecord)
    assert isinstance(splat, SplatRecord)
    assert splat.kind == "leak"


def test_a_splat_fails_the_cell_although_all_passed(tmp_path: Path, start: Start) -> None:
    run = prepared(
        tmp_path,
        {"api/a": GOOD, "api/b": f"echo 'console: {WARN}' >&2;{GOOD}", "api/c": GOOD},
    )
    result = start(run)
    assert result.ret == 1
    assert {status for _, _, status in cases(run)} == {"pass"}
    (splat,) = records(run, SplatRecord)
    assert isinstance(splat, SplatRecord)
    assert (splat.kind, splat.program) == ("warn", "api/b")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*splats in *:*", "*uintr_post*(during api/b)*"])


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


def test_workers_keep_cells_together(tmp_path: Path, start: Start) -> None:
    run = prepared(
        tmp_path, {f"api/{name}": GOOD for name in "abcd"}, cells=(cell(smp=1), cell(smp=2))
    )
    result = start(run, "-p", "xdist.plugin", "-n", "2")
    result.assert_outcomes(passed=8)
    assert len(records(run, BootRecord)) == 2
    assert len(cases(run)) == 16


def test_workers_run_what_was_prepared_by_hand(
    tmp_path: Path, pytester: pytest.Pytester, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared(tmp_path, {}, cells=(cell(smp=1), cell(smp=2)))
    asked: list[Mapping[str, str]] = []

    def prepare_standalone(config: pytest.Config, given: Mapping[str, str]) -> RunFolder:
        asked.append(given)
        return run

    monkeypatch.setattr("harness.run.standalone.prepare_standalone", prepare_standalone)
    mine = pytester.makepyfile(mine="def test_x(guest): assert guest.run(['true']).returncode == 0")
    result = pytester.runpytest_inprocess(
        *("--disable-plugin-autoload", "-p", "harness.testing.plugin"),
        *("-p", "tests.unit.fake_guest", "-p", "xdist.plugin", "-n", "2"),
        *("--uintr-cpu", "hidden", str(mine)),
    )
    result.assert_outcomes(passed=2)
    # Once, by the process that has no tests of its own.
    assert asked == [{"cpu": "hidden"}]
    assert len(records(run, BootRecord)) == 2


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


def test_a_developers_own_test(tmp_path: Path, start: Start, pytester: pytest.Pytester) -> None:
    own = pytester.makepyfile(
        """
        import pytest

        def test_true(guest):
            assert guest.run(["true"]).returncode == 0

        def test_false(guest, subtests):
            with subtests.test("exit code"):
                assert guest.run(["false"]).returncode == 0

        def test_without_guest():
            pass
        """
    )
    run = prepared(tmp_path, {"api/a": GOOD}, cells=(cell(smp=1), cell(smp=2)))
    result = start(run, tests=str(own))
    result.assert_outcomes(passed=3, failed=4)
    assert {(case, status) for _, case, status in cases(run)} == {
        ("(test)", "pass"),
        ("(test)", "fail"),
        ("exit code", "fail"),
    }


def test_without_a_run_the_fixture_says_what_to_give(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(guest): pass")
    result = pytester.runpytest_inprocess("-p", "harness.testing.plugin")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*--uintr-run FOLDER*"])


def test_a_folder_that_is_no_run_is_named(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(
        "-p", "harness.testing.plugin", "--uintr-run", str(pytester.path)
    )
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*not the folder of a prepared run*", "*hint:*"])


def test_each_result_line_is_json(tmp_path: Path, start: Start) -> None:
    run = prepared(tmp_path, {"api/a": GOOD})
    start(run)
    for line in run.results.read_text().splitlines():
        assert json.loads(line)["schema"] == 1


def test_artefacts_are_held_while_pytest_runs(tmp_path: Path, start: Start) -> None:
    """Whoever prunes the store meanwhile leaves them."""
    folder = tmp_path / "store" / "programs" / KEY
    run = prepared(folder, {"api/good": GOOD})
    (folder / "inputs.json").write_text("{}")
    test = tmp_path / "test_held.py"
    test.write_text(
        "from pathlib import Path\nfrom harness.artefacts.store import Store\n\n"
        f"def test_held():\n    store = Store(Path({str(tmp_path / 'store')!r}))\n"
        f"    assert not store.remove('programs', {KEY!r})\n"
    )
    assert start(run, tests=str(test)).ret == 0
    assert folder.exists()


ODD: dict[str, Callable[[], BaseException]] = {
    "undecodable": lambda: UnicodeDecodeError("utf-8", b"a\xff b", 1, 2, "invalid start byte"),
    "memory": lambda: MemoryError("no room"),
    "depth": lambda: RecursionError("too deep"),
    "value": lambda: ValueError("embedded null byte: \udcff"),
    "exit": lambda: SystemExit(0),
    "harness": lambda: GuestError("the samples cannot be fetched"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("method", ["fetch", "push", "run", "splats"])
def test_no_exception_of_an_item_is_lost(
    odd: str, method: str, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest's file names, and whatever else nobody thought of, must not leave a green run."""

    def fail(*_: object, **__: object) -> None:
        error = ODD[odd]()
        raise error

    monkeypatch.setattr(fake_guest.FakeGuest, method, fail)
    run = prepared(tmp_path, {"latency/a": MEASURE})
    if (method, odd) == ("splats", "exit"):
        # It ends pytest itself, which `uintr-harness run` makes an error of.
        with pytest.raises((SystemExit, NameError)):
            start(run)
        return
    result = start(run)
    assert result.ret == 1
    outcome = fold(records(run))
    assert outcome.exit_code in {1, 4}
    failed = [one for one in records(run) if isinstance(one, GuestFailureRecord)]
    if not outcome.failures:
        (one,) = failed
        assert one.verdict == ("host-failed" if odd == "harness" else "harness-failed")
        assert one.message


def test_a_sample_file_with_an_odd_name_fails_its_program(tmp_path: Path, start: Start) -> None:
    script = f'{MEASURE}; touch "$UINTR_SAMPLES/$(printf "a\\377 b")"'
    run = prepared(tmp_path, {"latency/a": script, "api/b": GOOD})
    assert start(run).ret == 1
    outcome = fold(records(run))
    assert [(case.program, case.case) for case in outcome.failures] == [("latency/a", "(samples)")]


def test_splats_are_recorded_once(tmp_path: Path, start: Start) -> None:
    """The cell's last test fails for them, too, and that is nothing new."""
    run = prepared(tmp_path, {"api/a": f"{GOOD}; echo 'console: {WARN}' >&2", "api/b": GOOD})
    assert start(run).ret == 1
    assert fold(records(run)).exit_code == 1
    assert not records(run, GuestFailureRecord)


def test_a_boot_that_fails_is_recorded_once(tmp_path: Path, start: Start) -> None:
    run = prepared(tmp_path, {"api/a": GOOD, "api/b": GOOD}, cells=(cell(cmdline="fail-boot"),))
    start(run)
    assert len(records(run, GuestFailureRecord)) == 1
