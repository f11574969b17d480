"""The command of a step, and what its run says of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal
from unittest.mock import ANY

import pytest

from harness.campaigns.bisect import BisectOptions, judge, run_argv
from harness.campaigns.child_runs import run_child
from harness.errors import BuildError, GuestError, HarnessError, UserError
from harness.request.request import Request
from harness.results.folder import RunFolder
from harness.results.records import CaseRecord, Record, SplatRecord
from tests.unit.runs import ended

from .searches import (
    CELL,
    failing,
    lost,
)


def test_the_command_of_a_step() -> None:
    argv = run_argv(Request(), BisectOptions(), Path("/p/k.toml"), Path("/o"))
    assert argv[1:] == [
        *("-m", "harness", "run", "-x", "--kernel", "/p/k.toml", "--cpu", "hidden"),
        *("--cc", "gcc", "--accel", "auto", "--clock", "host"),
        *("--jobs", "1", "--repeat", "1", "--out", "/o"),
    ]
    request = Request(
        cpus=("exposed", "hidden"),
        smp=(1, 2),
        clock="host",
        cmdline="a=b c",
        qemu="bundled",
        select="api or wait",
    )
    options = BisectOptions(jobs=2, repeat=9, baseline=(Path("before"),))
    argv = run_argv(request, options, Path("/p/k.toml"), Path("/o"))
    assert argv[5:] == [
        *("--kernel", "/p/k.toml", "--cpu", "exposed,hidden", "--smp", "1,2", "--cc", "gcc"),
        *("--accel", "auto", "--clock", "host", "--qemu", "bundled", "--cmdline", "a=b c"),
        *("-k", "api or wait", "--jobs", "2", "--repeat", "9", "--out", "/o"),
        *("--baseline", "before", "--allow-missing"),
    ]


def judged(
    folder: Path, code: int, *records: Record, boot_failure: Literal["skip", "bad"] = "skip"
) -> dict[str, object]:
    """Return what a run says of its kernel that ended so."""

    def start(_argv: Sequence[str], _log: Path, on_line: Callable[[str], None]) -> int:
        on_line("error: no disk")
        ended(
            folder, code, *records, errors=(BuildError("it does not build"),) if code == 3 else ()
        )
        return code

    ran = run_child([], folder, folder.parent / "log", lambda _: None, start)
    return judge(ran, folder, boot_failure)


PASSED, SKIPPED = (
    CaseRecord(cell=CELL, program="api/a", case="x", status=status, message="")
    for status in ("pass", "skip")
)
SPLAT = SplatRecord(cell=CELL, kind="warn", title="WARNING: x")


@pytest.mark.parametrize(
    ("code", "records", "expected"),
    [
        (0, [], ("good", None, "")),
        (1, [failing()], ("bad", None, "api/a::first")),
        (1, [SPLAT], ("bad", None, "(kernel log)")),
        (1, [], ("bad", None, "(baseline)")),
        # An unpatched kernel skips what the series is tested by. That is no failure.
        (1, [SKIPPED], ("skip", "untested", "")),
        (1, [SKIPPED, PASSED], ("bad", None, "(baseline)")),
        (3, [], ("skip", "build", "")),
        # One cell failed although programs for another could not be built: the kernel is bad.
        (3, [failing()], ("bad", None, "api/a::first")),
        (4, [lost("panic", "api/a")], ("bad", None, "api/a::(panic)")),
        (4, [lost("hang", "api/a"), failing()], ("bad", None, "api/a::(hang)")),
        (4, [failing(), lost("panic", "api/a")], ("bad", None, "api/a::first")),
        (4, [lost("panic-before-init")], ("skip", "boot", "(panic-before-init)")),
        (4, [lost("panic")], ("skip", "boot", "(panic)")),
        (4, [lost("hang-in-init"), failing("x", "api/b")], ("bad", None, "api/b::x")),
        # QEMU was killed: what failed with it is no verdict on the kernel.
        (4, [lost("qemu-died", "api/a"), failing()], ("skip", "guest", "api/a::(qemu-died)")),
        (4, [failing(), lost("qemu-died", "api/a")], ("skip", "guest", "api/a::(qemu-died)")),
        (4, [lost("qemu-died")], ("skip", "guest", "(qemu-died)")),
    ],
)
def test_what_a_run_says_of_its_kernel(
    tmp_path: Path, code: int, records: list[Record], expected: tuple[str, str | None, str]
) -> None:
    found = judged(tmp_path / "run", code, *records)
    assert (found["verdict"], found.get("cause"), found.get("by", "")) == expected
    if found.get("cause") == "build":
        assert found["message"] == "it does not build"


def test_what_does_not_boot_is_bad_if_so_asked(tmp_path: Path) -> None:
    found = judged(tmp_path / "run", 4, lost("silent"), boot_failure="bad")
    assert (found["verdict"], found["cause"]) == ("bad", None)
    found = judged(tmp_path / "other", 4, lost("qemu-died"), boot_failure="bad")
    assert found["verdict"] == "skip"


@pytest.mark.parametrize(
    ("code", "family"), [(2, UserError), (4, GuestError), (130, KeyboardInterrupt)]
)
def test_a_run_that_says_nothing_ends_the_search(
    tmp_path: Path, code: int, family: type[HarnessError]
) -> None:
    with pytest.raises(family):
        judged(tmp_path / "run", code)


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 4), (1, 4), (2, 2), (3, 4), (4, 4), (-9, 4), (130, 130)]
)
def test_a_process_alone_makes_no_run_pass_or_fail(
    tmp_path: Path, code: int, expected: int
) -> None:
    def start(_argv: Sequence[str], _log: Path, on_line: Callable[[str], None]) -> int:
        on_line("error: this line is nobody's")
        return code

    ran = run_child([], tmp_path / "run", tmp_path / "log", lambda _: None, start)
    assert ran.exit_code == expected
    assert ran.error == f"the run ended with {code} and did not say why"
    # It was killed at its work, and what it had recorded is no verdict.
    RunFolder(tmp_path / "run").begin([])
    assert run_child([], tmp_path / "run", tmp_path / "log", lambda _: None, start) == ran._replace(
        seconds=ANY
    )
