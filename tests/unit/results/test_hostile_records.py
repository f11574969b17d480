"""Results that no run has written: numbers that are none, and files without end."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.errors import GuestError
from harness.report import html  # noqa: F401  # before memory is limited
from harness.results import collecting, reading
from harness.results.folder import RunFolder
from harness.results.history import HISTORY_FILE, HistoryRow, add, read
from harness.results.reading import Reading
from harness.results.records import HostLoad
from tests.unit.results import make
from tools.prefixes import generate
from tools.streams import limit_memory

HOSTILE = ("NaN", "Infinity", "-Infinity", "1e400", "9" * 400, "9" * 5000, "-1e300", "{}")
#: Stands for a hostile number until the JSON is text.
_MARK = "@@"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    return generate(tmp_path / "run", random.Random(4))


def every_record() -> list[str]:
    """Return a line of each type, with a number in each field that may have one."""
    load = HostLoad(seconds=1.0, load=0.5, steal_percent=0.1, waited_percent=0.2)
    return [
        one.model_dump_json(by_alias=True)
        for one in (
            make.boot().model_copy(update={"phases": {"ready": 1.0}}),
            make.case("a"),
            make.latency().model_copy(update={"host": load}),
            make.splat(),
        )
    ] + [json.dumps({"schema": 1, "type": "program", "cell": "c", "program": "a/b", "returncode": 0,
                     "seconds": 1.0, "attempt": 1})]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each number in a JSON value."""
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def hostile_lines() -> list[str]:
    lines = []
    for record in every_record():
        for path in places(json.loads(record)):
            for text in HOSTILE:
                value = at = json.loads(record)
                for key in path[:-1]:
                    at = at[key]
                at[path[-1]] = _MARK
                lines.append(json.dumps(value).replace(f'"{_MARK}"', text))
    return lines


def append(run: RunFolder, lines: list[str]) -> None:
    with run.results.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    run.end(0)


def strict(text: str) -> Any:
    """Parse JSON as other programs do, which know no NaN."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_records_are_good_before_they_are_spoilt(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("".join(f"{line}\n" for line in every_record()))
    found = Reading(path)
    assert len(list(found)) == len(every_record())
    assert found.unread == 0


def test_numbers_that_are_none_are_damage(tmp_path: Path) -> None:
    lines = hostile_lines()
    assert len(lines) > 200
    for line in lines:
        path = tmp_path / "results.jsonl"
        path.write_text(f"{line}\n")
        found = Reading(path)
        assert list(found) == [], line[:300]
        assert found.unread == 1


def test_every_reader_refuses_such_a_run(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = generate(tmp_path / "good", random.Random(4))
    append(run, random.Random(1).sample(hostile_lines(), 40))
    for argv in (
        ["report", str(run.path)],
        ["report", "--markdown", str(run.path)],
        ["report", "--kcidb", "bench", str(run.path)],
        ["contract", "--json", str(run.path)],
        ["compare", "--json", str(good.path), str(run.path)],
        ["compare", "--json", str(run.path), str(good.path)],
    ):
        assert cli.invoke(argv) == 4, argv
        out, err = capsys.readouterr()
        assert "unexpected" not in err
        if {"--json", "--kcidb"} & set(argv):
            strict(out)
    strict(run.summary.read_text())
    strict((run.path / "baseline.json").read_text())
    assert "40 lines of the results are damaged" in run.junit.read_text()


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["run.json", "summary.json", "environment.json", "baseline.json"])
def test_other_files_with_such_numbers(
    run: RunFolder, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.invoke(["report", str(run.path)])
    path = run.path / name
    if name == "environment.json":
        run.begin(["x"], qemu=Path("/bin/true"))
        run.end(0)
    if name == "summary.json":  # used only for a run without a seal
        info = json.loads((run.path / "run.json").read_text())
        (run.path / "run.json").write_text(json.dumps(info | {"results": None}))
    value = json.loads(path.read_text())
    capsys.readouterr()
    for spot in list(places(value)):
        spoilt = at = json.loads(json.dumps(value))
        for key in spot[:-1]:
            at = at[key]
        at[spot[-1]] = _MARK
        path.write_text(json.dumps(spoilt).replace(f'"{_MARK}"', text))
        target = path if name == "baseline.json" else run.path
        argv = ["compare", str(run.path), str(target)] if name == "baseline.json" else ["report"]
        code = cli.invoke(argv if name == "baseline.json" else [*argv, str(target)])
        assert "unexpected" not in capsys.readouterr().err
        if name in {"run.json", "baseline.json"} or "totals" in spot:
            assert code in {2, 4}, (spot, text[:20])


def test_a_sample_of_all_ones_gets_into_the_history(tmp_path: Path) -> None:
    path = tmp_path / HISTORY_FILE
    row = history_row().model_copy(update={"max": (1 << 64) - 1})
    add(path, [row])
    assert read(path)[0].max == (1 << 63) - 1


def test_damaged_rows_of_the_history_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path))
    path = tmp_path / HISTORY_FILE
    add(path, [history_row(), history_row().model_copy(update={"cell": "d"})])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE latency SET mean = 9e999 WHERE cell = 'd'")
    assert cli.invoke(["history", "--json"]) == 4
    out, err = capsys.readouterr()
    assert "1 of 2 rows of the history are damaged" in err
    assert out == ""


def history_row() -> HistoryRow:
    texts = dict.fromkeys(
        ("cell", "accel", "clock", "host", "kernel", "series", "emulator", "programs"), "c"
    )
    numbers = dict.fromkeys(("count", "min", "p50", "p90", "p99", "max"), 1)
    nothing = dict.fromkeys(
        ("p50_low", "p50_high", "load", "steal_percent", "waited_percent"), None
    )
    about = {"time": "2026-01-01T00:00:00Z", "run": "r", "mechanism": "uintr", "mode": "ping-pong"}
    return HistoryRow.model_validate(
        {**texts, **numbers, **nothing, **about, "unit": "ns", "mean": 1.0}
    )


# --- sizes ---------------------------------------------------------------------------------


def test_a_line_without_end_is_skipped(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 4096)
    before = list(Reading(run.results))
    append(run, ["x" * 4094, "y" * 4095, "z" * 100_000, "{}"])
    found = Reading(run.results)
    assert list(found) == before
    assert found.unread == 4


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make_it", [zero, pipe, Path.mkdir])
@pytest.mark.parametrize("name", ["results.jsonl", "run.json", "plan.json", "artefacts.json"])
def test_what_is_no_file_is_not_read(
    run: RunFolder,
    make_it: Callable[[Path], None],
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (run.path / name).unlink()
    make_it(run.path / name)
    for argv in (["report"], ["report", "--kcidb", "bench"], ["contract"]):
        code = cli.invoke([*argv, str(run.path)])
        _, err = capsys.readouterr()
        assert "unexpected" not in err
        assert code in {2, 4} or (name == "artefacts.json" and "--kcidb" not in argv)


def test_a_file_beyond_the_limit_is_refused(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.truncate(run.results, reading.MAX_FILE + 1)
    for argv in (["report", str(run.path)], ["contract", str(run.path)]):
        assert cli.invoke(argv) == 4
        assert "more than 2 GiB" in capsys.readouterr().err


def test_more_than_a_report_can_hold_is_refused(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(collecting, "MOST_KEPT", 100_000)
    cell = run.read_plan().cells[0].name
    append(run, [make.case(f"c{n}").model_copy(update={"cell": cell}).model_dump_json(by_alias=True)
                 for n in range(100)])  # fmt: skip
    assert cli.invoke(["report", str(run.path)]) == 4
    assert "more different results than a report can hold" in capsys.readouterr().err


def test_too_many_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "MOST_TAKES", 3)
    collecting.Collected([make.latency()] * 3)
    with pytest.raises(GuestError, match="more than 3 times"):
        collecting.Collected([make.latency()] * 4)


def test_memory_does_not_grow_with_the_file(run: RunFolder) -> None:
    """A program that ran thousands of times, and says a lot."""
    cell = run.read_plan().cells[0].name
    case = make.case("a").model_dump(mode="json", by_alias=True) | {"cell": cell}
    program = {"schema": 1, "type": "program", "cell": cell, "program": "a/b", "returncode": 0}
    cases = [
        json.dumps(case | {"attempt": n // 30 + 1, "case": f"c{n % 30}"}) for n in range(20_000)
    ]
    append(run, [*cases, *[json.dumps(program | {"stray": "x" * 50_000})] * 2000])
    assert run.results.stat().st_size > 90 << 20
    assert in_little_memory(["report", str(run.path)]) == 0
    assert in_little_memory(["report", "--kcidb", "bench", str(run.path)]) == 0
    assert in_little_memory(["contract", str(run.path)]) == 0
    assert in_little_memory(["compare", str(run.path), str(run.path)]) == 0


def in_little_memory(argv: list[str]) -> int:
    """Return the exit code of a command that has 128 MiB more than this process."""
    child = os.fork()
    if not child:
        code = 99
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            limit_memory(128 << 20)
            code = cli.invoke(argv)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
