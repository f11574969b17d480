"""The guest of a cell: booted, restored, replaced, and searched for splats and leaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import GuestError
from harness.guest.runtime import runtime_root
from harness.guest.verdict import leaks
from harness.report.rows import troubles
from harness.results.records import (
    BootRecord,
    CaseRecord,
    GuestFailureRecord,
    ProgramRecord,
    SplatRecord,
)
from harness.results.summary import fold
from harness.run.cellguest import CellGuest
from tests.unit.runs import cell, prepared
from tests.unit.testing.started import BAD, GOOD, WARN, Start, cases, records, starts


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


def test_what_goes_wrong_in_a_later_guest_is_looked_up_in_its_console(
    tmp_path: Path, start: Start
) -> None:
    dying = "echo 'KTAP version 1'; echo 1..2; echo 'die: panic' >&2"
    run = prepared(tmp_path, {"api/a": dying, "api/b": f"echo 'console: {WARN}' >&2; {BAD}"})
    start(run)
    folder = run.cell("k-hidden-smp1-gcc")
    found = troubles(fold(records(run)), run.path)
    shown = {trouble.kind + " " + trouble.title: trouble.files[0] for trouble in found}
    (splat,) = [files for title, files in shown.items() if title.startswith("SPLAT WARNING")]
    assert splat[1] == folder / "guest-2" / "console.log"
    line = int(splat[0].removeprefix("console, line "))
    assert WARN in splat[1].read_text().split("\n")[line - 1]
    assert shown["FAIL api/b::broken"] == ("console", folder / "guest-2" / "console.log")
    assert shown["FAIL api/a::(program)"] == ("console", folder / "console.log")
    assert shown["GUEST panic during api/a"] == ("console", folder / "console.log")


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


def test_a_boot_that_took_a_second_qemu_is_noted(tmp_path: Path, start: Start) -> None:
    run = prepared(tmp_path, {"api/a": GOOD}, cells=(cell("k", cmdline="abort-once"),))
    assert start(run).ret == 0
    assert starts(run) == ["booted (QEMU aborted during a first boot: an assertion failed)"]


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
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*splats in *:*", "*uintr_post*(during api/b)*"])


def test_the_end_of_a_cell_takes_no_program_from_the_next(tmp_path: Path, start: Start) -> None:
    run = prepared(
        tmp_path,
        {"api/a": f"echo 'console: {WARN}' >&2;{GOOD}", "api/b": GOOD},
        cells=(cell(smp=1), cell(smp=2)),
    )
    assert start(run).ret == 1
    ran = [(one.cell, one.program) for one in records(run) if isinstance(one, ProgramRecord)]
    assert ran == [
        (f"k-hidden-smp{smp}-gcc", program) for smp in (1, 2) for program in ("api/a", "api/b")
    ]


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


def test_data_that_cannot_be_collected_stops_one_program_only(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest has too many counters, say. It is replaced nevertheless."""

    def collect(cell: CellGuest) -> None:
        if cell._used and cell._guest and cell._guest.folder == cell.folder:  # the first guest
            raise GuestError("too much to copy from the guest")

    monkeypatch.setattr(CellGuest, "_collect_from_kernel", collect)
    programs = {f"api/{name}": GOOD for name in "abcd"}
    run = prepared(tmp_path, programs, isolated=tuple(programs))
    start(run)
    assert [name for name, case, _ in cases(run) if case == "first"] == ["api/a", "api/c", "api/d"]
    (failure,) = records(run, GuestFailureRecord)
    assert isinstance(failure, GuestFailureRecord)
    assert (failure.verdict, failure.program) == ("host-failed", "api/b")
