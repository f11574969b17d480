"""``tools.figures`` with small runs."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from harness import paths
from harness.errors import UserError
from harness.results.environment import ENVIRONMENT_FILE, observe
from harness.results.folder import RunFolder
from harness.results.latency import read_folder
from harness.results.records import HostLoad, Recorder
from tests.unit import runs as prepared_runs
from tests.unit.results import make
from tools import figures

CELL = "linux-6.12-hidden-smp1-gcc"
QUIET = HostLoad(seconds=1, load=0.1, steal_percent=0, waited_percent=0)
BUSY = QUIET.model_copy(update={"waited_percent": 40.0})


def a_run(
    folder: Path,
    medians: dict[str, int],
    *,
    unit: str = "ns",
    busy: frozenset[str] = frozenset(),
    code: int = 0,
) -> Path:
    """Return a run with a latency for each ``MECHANISM.MODE``."""
    folder.mkdir()
    clock = "host" if unit == "ns" else "icount"
    cell = prepared_runs.cell("linux-6.12").model_copy(update={"clock": clock})
    run = prepared_runs.prepared(folder, {}, cells=(cell,))
    run.begin(["/somewhere/uintr-harness", "run", "--tree", "/home/me/x", "--out", "a", "-k", "l"])
    observe({}).write(run.path / ENVIRONMENT_FILE)
    samples = run.path / "samples"
    samples.mkdir()
    for name, median in medians.items():
        values = [median - 5, *[median] * 97, median + 5]
        (samples / f"{name}.{unit}.u64").write_bytes(struct.pack("<99Q", *values))
    found = read_folder(samples, cell=cell.name, program="latency/x", run=run.path, host=QUIET)
    assert not found.errors
    with Recorder(run.results) as journal:
        journal.write(make.boot(cell=cell.name))
        journal.write(make.case(cell=cell.name))
        for record in found.records:
            host = BUSY if record.mechanism in busy else QUIET
            journal.write(record.model_copy(update={"host": host}))
    run.end(code, reason="1 passed")
    return run.path


FIRST = {
    "uintr.ping-pong-talk": 1000,
    "eventfd.ping-pong-talk": 9700,
    "uintr.ping-pong-fair": 2000,
    "eventfd.ping-pong-fair": 3000,
    "uintr.ping-pong-blocked": 50_000,
    "eventfd.ping-pong-blocked": 60_000,
}
SECOND = {**FIRST, "eventfd.ping-pong-talk": 12_000, "uintr.ping-pong-fair": 2400}


def rows(part: str) -> list[list[str]]:
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_talks_table_has_a_number_for_each_run_beside_the_published(tmp_path: Path) -> None:
    both = [
        figures.read_run(a_run(tmp_path / name, medians))
        for name, medians in (("a", FIRST), ("b", SECOND))
    ]
    table = rows(figures.talk_table(CELL, both))
    assert table[2:] == [
        ["uintr", "spins", "1", "1.00 µs, 1.00 µs", "2.00 µs, 2.40 µs"],
        ["eventfd", "spins", "9.7", "9.7, 12", "1.5, 1.25"],
        ["uintr", "blocked", "1", "", "50.0 µs, 50.0 µs"],
        ["eventfd", "blocked", "1.09", "", "1.2, 1.2"],
    ]


def test_medians_are_a_range_over_the_runs(tmp_path: Path) -> None:
    both = [
        figures.read_run(a_run(tmp_path / name, medians))
        for name, medians in (("a", FIRST), ("b", SECOND))
    ]
    table = {row[0]: row[1:3] for row in rows(figures.medians_table(CELL, both))}
    assert table["mode"] == ["uintr", "eventfd"]
    assert table["ping-pong-talk"] == ["1", "9.7…12"]
    assert table["ping-pong-fair"] == ["2…2.4", "3"]


def test_a_line_per_run_says_when_what_and_how_disturbed(tmp_path: Path) -> None:
    run = figures.read_run(a_run(tmp_path / "a", FIRST, busy=frozenset({"eventfd"})))
    row = rows(figures.runs_table([run]))[2]
    assert row[1] == run.info.started[:16].replace("T", " ")
    assert row[3] == "`uintr-harness run --tree PATH -k l`"
    assert row[5] == "3 of 6"
    hosts = figures.host_lines([run])
    assert run.environment.host.cpu in hosts
    assert prepared_runs.KEY[:12] in hosts
    everything = figures.page_part([run])
    assert str(tmp_path) not in everything
    assert "/home" not in everything


def test_the_commit_is_the_newest_one_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    names = []
    for day in ("01", "03"):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"2026-01-{day}T00:00:00Z")
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", day], check=True)
        argv = [*git, "rev-parse", "--short", "HEAD"]
        names.append(subprocess.run(argv, capture_output=True, text=True).stdout.strip())
    assert figures.commit_before("2026-01-02T00:00:00Z") == names[0]
    assert figures.commit_before("2026-01-04T00:00:00Z") == names[1]
    assert figures.commit_before("2025-12-31T00:00:00Z") == "unknown"


def test_counted_runs_agree_in_every_sample_or_it_is_said(tmp_path: Path) -> None:
    counted = {"uintr.sender-self": 16, "eventfd.sender-self": 4350}
    one, same, other = (
        figures.read_run(a_run(tmp_path / name, medians, unit="insn"))
        for name, medians in (
            ("a", counted),
            ("b", counted),
            ("c", {**counted, "uintr.sender-self": 17}),
        )
    )
    assert figures.agreement([one, same]).startswith("Of 2 latencies, 2 have the same samples")
    assert figures.agreement([one, other]).startswith("Of 2 latencies, 1 have the same samples")
    part = figures.page_part([one, same])
    assert ["sender-self", "16", "4,350"] in [row[:3] for row in rows(part)]
    assert "multiples" not in part


def test_only_runs_that_passed_give_figures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="passed"):
        figures.read_run(a_run(tmp_path / "a", FIRST, code=4))
    unfinished = RunFolder(a_run(tmp_path / "b", FIRST))
    unfinished.begin(["uintr-harness", "run"])
    with pytest.raises(UserError, match="passed"):
        figures.read_run(unfinished.path)


JUDGED = """\
exposed, load 0.3 to 1.6
mechanism mode                        judge                   bench µs  judge µs   ratio
shm       ping-pong-fair              judge shm spins           0.38      0.53    0.71  DIFFERS
pipe      ping-pong-blocked-same-cpu  perf bench sched         20.80     32.09    1.07
signal    judge paced                 sigwaittest              27.40     38.00    0.73  DIFFERS
uintr     ping-pong-fair              judge uintr spins         skipped

real	2m12.066s
"""


def test_what_the_judge_printed_is_a_table_for_each_cell() -> None:
    (part,) = figures.judged(JUDGED)
    assert part.startswith("`exposed`, load of the host 0.3 to 1.6:\n")
    assert rows(part)[2:] == [
        ["shm", "ping-pong-fair", "judge shm spins", "0.38", "0.53", "0.71", "differs"],
        ["pipe", "ping-pong-blocked-same-cpu", "perf bench sched", "20.80", "32.09", "1.07", ""],
        ["signal", "judge paced", "sigwaittest", "27.40", "38.00", "0.73", "differs"],
    ]


def test_only_what_stands_between_the_marks_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n")
    run = a_run(tmp_path / "a", FIRST)
    assert figures.main([str(run), "--page", str(page)]) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{figures.BEGIN}\n\n## Runs\n")
    assert text.endswith(f"\n\n{figures.END}\nafter\n")
    assert "old" not in text
    assert figures.main([str(run), "--page", str(page)]) == 0
    assert page.read_text() == text
    page.write_text("no marks\n")
    assert figures.main([str(run), "--page", str(page)]) == 2
    assert "no place for figures" in capsys.readouterr().err


def test_the_page_has_its_place() -> None:
    page = figures.PAGE.read_text(encoding="utf-8")
    assert figures.replaced(page, "x")
