"""No report calls a run passed whose records do not say that it ended, and ended well."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kcidb_io.schema import V5_3

from harness import cli
from harness.errors import BuildError, ExitCode, GuestError
from harness.report.kcidb import render_kcidb
from harness.report.markdown import markdown
from harness.report.render import write_reports
from harness.results import ending
from harness.results.folder import RunFolder
from harness.results.outcome import read_outcome
from harness.results.records import Recorder
from harness.results.summary import Outcome
from tests.unit.results import make
from tests.unit.runs import NAME, finished, prepared
from tools.prefixes import check_prefixes

OLD_RUN = Path(__file__).parent / "results/old-run"


def every_report(run: RunFolder) -> dict[str, str]:
    """Return what each report that can be printed or written calls a run."""
    rendered = read_outcome(run)
    write_reports(run, rendered)
    suites = ET.parse(run.junit).getroot()
    bad = int(suites.get("failures", "0")) + int(suites.get("errors", "0"))
    found = json.loads("".join(render_kcidb(run, "bench", rendered.outcome)))
    V5_3.validate(found)
    statuses = {test["status"] for test in found["tests"]}
    title = (run.path / "report.html").read_text().partition("<title>")[2]
    return {
        "outcome": rendered.outcome.verdict,
        "markdown": markdown(rendered.outcome, run.path).split()[2].rstrip(":"),
        "html": title.partition(":")[0].lower(),
        "junit": "bad" if bad else "passed",
        "kcidb": "bad" if statuses & {"FAIL", "ERROR"} else "passed",
    }


def terminal(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return exit code and verdict of `uintr-harness report`."""
    capsys.readouterr()
    code = cli.invoke(["report", str(run.path)])
    out = capsys.readouterr().out
    return code, out.splitlines()[-2].partition(":")[0]


def outcome(run: RunFolder) -> Outcome:
    return read_outcome(run).outcome


def test_a_run_that_ended_well_is_passed_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(tmp_path)
    assert set(every_report(run).values()) == {"passed"}
    assert terminal(run, capsys) == (0, "PASSED")


@settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(names=st.lists(st.text(min_size=1), min_size=1, max_size=4), data=st.data())
def test_no_prefix_of_results_is_passed(
    tmp_path: Path, names: list[str], data: st.DataObject
) -> None:
    shutil.rmtree(tmp_path / "one", ignore_errors=True)
    run = finished(tmp_path / "one", *names)
    assert outcome(run).exit_code == ExitCode.PASSED
    whole = run.results.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    run.results.write_bytes(whole[:cut])
    found = outcome(run)
    assert (found.verdict, found.exit_code) == ("incomplete", ExitCode.GUEST)
    assert "passed" not in found.verdicts.values()
    (run.path / "run.json").unlink()
    assert outcome(run).verdict == "incomplete"


def test_no_prefix_of_a_run_that_was_recorded_is_passed(tmp_path: Path) -> None:
    """By an earlier version, without a seal: its summary counts what should be there."""
    run = RunFolder(tmp_path / "old")
    shutil.copytree(OLD_RUN, run.path)
    whole = run.results.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole[:-1]) if byte == ord("\n")]
    for cut in [*range(0, len(whole), 13), *ends, len(whole) - 1]:
        run.results.write_bytes(whole[:cut])
        assert outcome(run).verdict == "incomplete", cut


def test_a_report_of_a_part_leaves_what_tells_that_it_is_one(tmp_path: Path) -> None:
    """The summary of a version without a seal is the only thing that counts what was there."""
    run = RunFolder(tmp_path / "old")
    shutil.copytree(OLD_RUN, run.path)
    lines = run.results.read_bytes().splitlines(keepends=True)
    run.results.write_bytes(b"".join(lines[:8]))
    for _ in range(2):
        assert cli.invoke(["report", str(run.path)]) == 4
    run.summary.unlink()
    for _ in range(2):
        assert cli.invoke(["report", str(run.path)]) == 4


def test_prefixes_of_generated_runs_and_of_a_recorded_one() -> None:
    """A few of those of ``python -m tools.prefixes``."""
    assert check_prefixes(seed=3, count=12, runs=[OLD_RUN], cuts=6) == []


def test_prefixes_that_are_called_passed_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_damage", lambda *_: "")
    wrong = check_prefixes(seed=3, count=6, cuts=6)
    for reader in ("report", "report --markdown", "contract", "compare", "history", "junit.xml"):
        assert any(f": {reader}" in line for line in wrong), reader


def cut_line(run: RunFolder) -> None:
    lines = run.results.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:20] + b"\n"
    run.results.write_bytes(b"".join(lines))


def second_run(run: RunFolder) -> None:
    run.results.write_bytes(run.results.read_bytes() * 2)


def empty_results(run: RunFolder) -> None:
    run.results.write_bytes(b"")


def not_json(run: RunFolder) -> None:
    (run.path / "run.json").write_text("{")


def not_finished(run: RunFolder) -> None:
    run.begin(["uintr-harness", "run"])


def odd_code(run: RunFolder) -> None:
    change_info(run, exit_code=77)


def change_info(run: RunFolder, **values: object) -> None:
    path = run.path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


DAMAGES: list[Callable[[RunFolder], None]] = [
    cut_line,
    second_run,
    empty_results,
    not_json,
    not_finished,
    odd_code,
    lambda run: run.results.unlink(),
    lambda run: (run.path / "run.json").unlink(),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_incomplete_everywhere(
    damage: Callable[[RunFolder], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, good = finished(tmp_path / "bad"), finished(tmp_path / "good")
    damage(run)
    said = every_report(run)
    assert {said.pop("junit"), said.pop("kcidb")} == {"bad"}
    assert set(said.values()) == {"incomplete"}
    assert terminal(run, capsys) == (4, "INCOMPLETE")
    for form in ([], ["--json"], ["--markdown"]):
        assert cli.invoke(["compare", *form, str(good.path), str(run.path)]) == 4
        assert cli.invoke(["compare", *form, str(run.path), str(good.path)]) == 4
    out = capsys.readouterr().out
    assert "SAME OR BETTER" not in out
    assert "same or better" not in out
    assert cli.invoke(["contract", str(run.path)]) == 4


@pytest.mark.parametrize("left", ["nothing", "results.jsonl"])
def test_an_empty_folder_is_no_run(left: str, tmp_path: Path) -> None:
    run = finished(tmp_path)
    for path in run.path.iterdir():
        if path.name != left:
            path.unlink()
    assert cli.invoke(["report", str(run.path)]) == ExitCode.USAGE


def test_summary_and_other_reports_are_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(tmp_path)
    run.summary.unlink(missing_ok=True)
    assert terminal(run, capsys) == (0, "PASSED")
    assert run.summary.exists()


def test_a_folder_without_a_seal_is_still_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "old")
    shutil.copytree(OLD_RUN, run.path)
    assert terminal(run, capsys) == (0, "PASSED")
    assert set(every_report(run).values()) == {"passed"}
    assert cli.invoke(["compare", str(run.path), str(run.path)]) == 0
    change_info(run, exit_code=130)
    assert terminal(run, capsys) == (130, "INTERRUPTED")
    change_info(run, finished=None, exit_code=None)
    assert terminal(run, capsys) == (4, "INCOMPLETE")
    change_info(run, finished="2026-11-30T06:04:25Z", exit_code=0)
    run.summary.unlink()
    assert terminal(run, capsys) == (4, "INCOMPLETE")


def test_the_end_of_a_run_is_data(tmp_path: Path) -> None:
    run = finished(tmp_path)
    error = BuildError("no \udcff compiler", where="gcc", hint="install it", detail="line")
    run.end(3, reason="a build failed", errors=[error])
    info = run.read_info()
    assert info is not None
    (kept,) = info.errors
    assert (kept.kind, kept.what) == ("BuildError", "no \\udcff compiler")
    assert (kept.where, kept.hint, kept.detail) == ("gcc", "install it", "line")
    found = outcome(run)
    assert (found.exit_code, found.reason, found.verdict) == (3, "a build failed", "failed")


class LostError(GuestError):
    """An error of a family, with a name of its own."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [(LostError("x"), "GuestError"), (MemoryError(), "MemoryError"), (KeyError("k"), "KeyError")],
)
def test_errors_are_named_by_their_family(error: BaseException, kind: str) -> None:
    found = ending.RunError.of(error)
    assert found.kind == kind
    assert found.what


@pytest.mark.parametrize("code", [1, 2, 3, 4])
def test_a_run_that_ended_badly_is_not_passed_by_its_records(
    code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(tmp_path)
    run.end(code)
    assert terminal(run, capsys) == (code, "FAILED")
    assert "passed" not in every_report(run).values()


def test_records_that_are_bad_win_over_an_end_that_is_not(tmp_path: Path) -> None:
    run = prepared(tmp_path, {"api/open": "true"})
    run.begin([])
    with Recorder(run.results) as recorder:
        recorder.write(make.boot(cell=NAME))
        recorder.write(make.case("a", "fail", cell=NAME))
    run.end(0)
    assert outcome(run).exit_code == ExitCode.TESTS_FAILED
