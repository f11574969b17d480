"""One run with one of everything, in which the guest is hostile."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.results.records import Record
from harness.results.reproducer import Reproduction, write_script
from harness.results.summary import Outcome, fold
from tests.unit.results import make

#: What a guest prints to take over a terminal, a page and a comment.
HOSTILE = "\x1b[2J\x1b]0;owned\x07</pre><script>alert(1)</script> | @all [x](http://y) `a` [bold]b"


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has set a width; pytest-xdist does, for its workers."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "cells" / make.CELL).mkdir(parents=True)
    (folder / "cells" / make.CELL / "console.log").write_text("Linux\n")
    return folder


@pytest.fixture
def outcome(run: Path) -> Outcome:
    failing = make.case(
        "red_zone", "fail", message="rsp moved", diagnostics="# expected 1\n# got 2"
    )
    write_script(
        run,
        Reproduction(cell=make.CELL, program="api/open", case="red_zone", argv=("uintr-harness",)),
    )
    records: list[Record] = [
        make.boot(),
        make.case("a"),
        failing,
        make.case(HOSTILE, "fail", message=HOSTILE, diagnostics=f"{HOSTILE}\n" * 30),
        make.splat(excerpt=f"WARNING: {HOSTILE}\nCall Trace:"),
        make.lost(cell=make.cell(4).name, console_tail=f"{HOSTILE}\nKernel panic", hint="see it"),
        make.latency(),
        make.latency("pipe", values=[0, 8000, 9000]),
    ]
    return fold(records, [make.cell(1), make.cell(4)])


@pytest.fixture
def good() -> Outcome:
    return fold([make.boot(), make.case("a")])
