"""The plugin in a developer's own pytest, with workers, and with exceptions of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.errors import GuestError
from harness.guest.verdict import leaks
from harness.results.folder import RunFolder
from harness.results.outcome import read_outcome
from harness.results.records import (
    BootRecord,
    GuestFailureRecord,
)
from harness.results.summary import fold
from tests.unit import fake_guest
from tests.unit.runs import KEY, cell, prepared
from tests.unit.testing.started import BAD, GOOD, MEASURE, Start, cases, records


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


def test_the_plugin_by_its_name_warns_of_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    words = ("--disable-plugin-autoload", "-p", "harness.testing.plugin")
    result = pytester.runpytest_subprocess(*words)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*warning*")


def test_a_folder_that_is_no_run_is_named(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(
        "-p", "harness.testing.plugin", "--uintr-run", str(pytester.path)
    )
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*not the folder of a prepared run*", "*hint:*"])


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
        assert len(failed) == (2 if method == "splats" else 1)  # after the test, and at the end
        for one in failed:
            assert one.verdict == ("host-failed" if odd == "harness" else "harness-failed")
            assert one.message


def failures(run: RunFolder) -> list[str]:
    return [
        f"{one.verdict}: {one.message}"
        for one in records(run, GuestFailureRecord)
        if isinstance(one, GuestFailureRecord)
    ]


def test_an_exception_beside_a_failed_case_is_not_lost(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(fake_guest.FakeGuest, "fetch", fail)
    run = prepared(tmp_path, {"latency/a": BAD})
    assert start(run).ret == 1
    assert ("latency/a", "broken", "fail") in cases(run)
    assert failures(run) == ["harness-failed: MemoryError: no room"]


def test_the_error_of_each_attempt_is_recorded_once(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(10))

    def fail(*_: object, **__: object) -> None:
        raise GuestError(f"attempt {next(numbers)}")

    monkeypatch.setattr(fake_guest.FakeGuest, "fetch", fail)
    run = prepared(tmp_path, {"latency/a": BAD, "api/b": GOOD})
    assert start(run, "--uintr-retries", "2").ret == 1
    assert failures(run) == [f"host-failed: attempt {number}" for number in range(3)]


def test_pytest_does_not_pass_if_the_records_say_otherwise(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest dies after its last test, while its kernel is searched for leaks."""
    monkeypatch.setattr(leaks, "COMMAND", ("sh", "-c", "echo 'die: hang' >&2"))
    run = prepared(tmp_path, {"api/a": GOOD})
    for setup in run.read_artefacts().cells:
        setup.kernel.config.write_text("CONFIG_DEBUG_KMEMLEAK=y\n")
    result = start(run)
    result.assert_outcomes(passed=1)
    assert failures(run) == ["hang: hang: as the script said"]
    assert result.ret == 1
    result.stdout.fnmatch_lines(["not passed: a guest failed: hang in *"])


def test_teardown_errors_are_all_recorded(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def splats(guest: fake_guest.FakeGuest) -> None:
        raise ValueError(f"odd line {guest.folder.name}")

    def close(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(fake_guest.FakeGuest, "splats", splats)
    monkeypatch.setattr("harness.run.cellguest.CellGuest.close", close)
    run = prepared(tmp_path, {"api/a": GOOD})
    start(run)
    assert sorted(failures(run)) == [
        "harness-failed: MemoryError: no room",
        "harness-failed: ValueError: odd line k-hidden-smp1-gcc",
    ]


@pytest.mark.parametrize(("code", "ret"), [(None, 2), (0, 2), (1, 1), (7, 7)])
def test_a_test_that_stops_pytest_does_not_pass(
    code: int | None, ret: int, tmp_path: Path, start: Start, pytester: pytest.Pytester
) -> None:
    own = pytester.makepyfile(
        "import pytest\n\n"
        "def test_one(guest): pass\n\n"
        f"def test_two(guest): pytest.exit('enough', returncode={code})\n\n"
        "def test_three(guest): assert False\n"
    )
    run = prepared(tmp_path, {"api/a": GOOD})
    run.end(0)
    assert start(run, tests=str(own)).ret == ret
    assert read_outcome(run).outcome.exit_code != 0
