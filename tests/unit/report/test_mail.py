"""The report for a mailing list."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.cli import invoke
from harness.report.mail import MAX_CELLS, MAX_TROUBLES, WIDTH, git_identity, mail
from harness.results.folder import RunFolder
from harness.results.records import HostLoad, Record
from harness.results.summary import Outcome, fold
from tests.unit.report.test_table import many
from tests.unit.results import make
from tests.unit.runs import finished, prepared

NAMED = "A Tester <tester@example.org>"


def test_what_was_tested_and_how_it_went(tmp_path: Path) -> None:
    text = mail(fold([make.case()], [make.cell()]), finished(tmp_path), NAMED)
    assert text.startswith("Tested with uintr-harness ")
    assert "the tree tree" in text
    assert str(tmp_path) not in text
    assert "  linux-6.12-hidden-smp1-gcc\n    1 pass, 0 fail, 0 skip\n" in text
    assert text.endswith(f"\n\nTested-by: {NAMED}\n")


def test_only_a_run_that_passed_has_a_trailer(outcome: Outcome, run: Path) -> None:
    assert outcome.verdict == "failed"
    assert "Tested-by" not in mail(outcome, RunFolder(run), NAMED)
    passed = fold([make.case()], [make.cell()])
    assert "Tested-by" not in mail(passed, RunFolder(run), "")


def test_a_guests_text_is_no_part_of_the_mail(run: Path) -> None:
    hostile = (
        "Tested-by: Somebody <else@example.org>",
        "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001",
        "---",
        "diff --git a/x b/x",
        "> quoted",
        "\x1b[2Jcleared\u202e",
    )
    records: list[Record] = [
        make.case(f"c{number}", "fail", message=text, diagnostics=f"{text}\n{text}")
        for number, text in enumerate(hostile)
    ]
    text = mail(fold(records, [make.cell()]), RunFolder(run), NAMED)
    assert "\x1b" not in text
    assert "\u202e" not in text
    starts = ("Tested-by", "From ", "---", "diff", ">")
    assert not [line for line in text.splitlines() if line.lstrip().startswith(starts)]
    assert text.count("Somebody") == 3


def test_lines_fit_and_what_is_long_is_cut(run: Path) -> None:
    long = "word " * 60 + "x" * 500
    records: list[Record] = [
        make.case(f"case {number} {long}", "fail", message=long, diagnostics=long)
        for number in range(MAX_TROUBLES + 3)
    ]
    text = mail(fold(records, [make.cell()]), RunFolder(run))
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert "\n\nand 3 more\n" in text
    assert len(text) < 20_000


def test_many_cells_are_counted(run: Path) -> None:
    cells = [make.cell(smp) for smp in range(1, 17)]
    cells += [
        cell.model_copy(update={"kernel": cell.kernel.model_copy(update={"name": "other"})})
        for cell in cells
    ]
    text = mail(fold([make.case(cell=cell.name) for cell in cells], cells), RunFolder(run))
    assert f"and {len(cells) - MAX_CELLS} more cells" in text


def test_a_failure_says_how_to_repeat_it(tmp_path: Path) -> None:
    folder = prepared(tmp_path, {"api/open": "false"})
    (setup,) = folder.read_artefacts().cells
    options = ("--kernel", "my kernel", *("--series", "a-" * 30), "--cpu", "hidden", "--smp", "1")
    artefacts = folder.read_artefacts().model_copy(
        update={"cells": (setup.model_copy(update={"options": options}),)}
    )
    folder.write_artefacts(artefacts)
    name = setup.cell.name
    outcome = fold([make.case("c", "fail", cell=name)], [setup.cell])
    text = mail(outcome, folder)
    repeat = text.partition("to repeat:\n")[2].partition("\n\n")[0]
    words = repeat.replace("\\\n", " ").split()
    assert words == ["uintr-harness", "run", *" ".join(options).split(), "-k", "api/open"]
    assert all(line.endswith("\\") for line in repeat.splitlines()[:-1])


def test_disturbed_latencies_are_left_out(run: Path) -> None:
    calm = HostLoad(seconds=1, load=0.5, steal_percent=0, waited_percent=1)
    busy = HostLoad(seconds=1, load=5, steal_percent=0, waited_percent=36)
    assert "eventfd 40.0x" in mail(many(calm), RunFolder(run))
    text = mail(many(busy), RunFolder(run))
    assert "~" not in text
    assert "are left out" in text
    assert "eventfd 9.70x" in text


def test_the_name_is_that_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert git_identity() == ""
    for key, value in (("user.name", "A Tester"), ("user.email", "tester@example.org")):
        subprocess.run(["git", "config", "--global", key, value], check=True)
    assert git_identity() == NAMED
    monkeypatch.setenv("PATH", "/nowhere")
    assert git_identity() == ""


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["report", "--mail", str(finished(tmp_path).path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Tested with uintr-harness")
    assert "3 pass, 0 fail" in out
