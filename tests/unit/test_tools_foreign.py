"""``python -m tools.foreign``: right files are read, and each kind of fault is seen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from harness.errors import UserError
from tools.foreign import __main__ as tool
from tools.foreign import parts
from tools.foreign.mutate import mutated
from tools.foreign.parts import PARTS, Part, command

LEFT_ALONE: tuple[str, ...] = ()
#: Files with times or paths.
NEVER_THE_SAME = {"rest.tar", "run.json", "artefacts.json"}


@pytest.mark.parametrize("name", PARTS)
def test_right_files_are_read_without_a_complaint(name: str, tmp_path: Path) -> None:
    part = PARTS[name]._replace(changed=LEFT_ALONE)
    assert tool.tried(part, tmp_path / "case", Random(1)) == []
    made = {path.name for path in (tmp_path / "case" / "in").iterdir()}
    assert len(made) > 1


@pytest.mark.parametrize("name", PARTS)
def test_changed_files_are_other_ones_and_the_same_each_time(name: str, tmp_path: Path) -> None:
    def case(folder: str, seed: int) -> dict[Path, bytes]:
        tool.make(PARTS[name], tmp_path / folder, Random(seed))
        inputs = tmp_path / folder / "in"
        return {
            path.relative_to(inputs): path.read_bytes()
            for path in inputs.rglob("*")
            if path.is_file() and path.name not in NEVER_THE_SAME
        }

    assert case("a", 1) == case("b", 1)
    assert len({str(case(f"c{seed}", seed)) for seed in range(4)}) > 1


def test_values_change_as_well_as_bytes() -> None:
    data = b'{"a": [1, 2, {"b": "text"}], "c": "more"}'
    some = [mutated(data, "x.json", Random(seed)) for seed in range(200)]
    assert len(set(some)) > 100
    assert sum(b"\n" in one for one in some) > 80
    assert mutated(b"", "x.json", Random(1)) is not None


# --- faults ----------------------------------------------------------------------------------

Read = Callable[[Path], Iterator[str]]


def complaints(read: Read, folder: Path) -> list[str]:
    def make(inputs: Path, _: Random) -> None:
        (inputs / "file").write_text("x")

    return tool.tried(Part(make, read, LEFT_ALONE), folder / "case", Random(1))


def raises(_: Path) -> Iterator[str]:
    yield from ()
    raise ZeroDivisionError("planted")


def takes_memory(_: Path) -> Iterator[str]:
    yield from ()
    kept = [bytearray(64 << 20) for _ in range(20)]
    del kept


def changes_the_canary(folder: Path) -> Iterator[str]:
    yield from ()
    (folder / "../canary").write_text("changed")


def writes_here(_: Path) -> Iterator[str]:
    yield from ()
    Path("pwned").touch()


def writes_beside(folder: Path) -> Iterator[str]:
    yield from ()
    (folder.parent / "pwned").touch()


def dies(_: Path) -> Iterator[str]:
    yield from ()
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(_: Path) -> Iterator[str]:
    yield from ()
    time.sleep(60)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (raises, "ZeroDivisionError: planted"),
        (takes_memory, "more than 512 MiB"),
        (changes_the_canary, "canary was changed"),
        (writes_here, "here/pwned was written"),
        (writes_beside, "pwned was written"),
        (dies, "the process died"),
        (hangs, "the process died"),
    ],
)
def test_a_fault_is_seen(
    read: Read, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LIMIT_S", 2 if read is hangs else 60)
    (one,) = complaints(read, tmp_path)
    assert said in one


def test_an_error_of_the_harness_is_none(tmp_path: Path) -> None:
    def refuses(_: Path) -> Iterator[str]:
        yield from command("plan", "--kernel", "/nowhere.toml")

    assert complaints(refuses, tmp_path) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("planted"), "defect of the harness"),
        (UserError("a \x1b[2J"), None),
    ],
)
def test_a_defect_behind_a_command_is_seen(
    error: Exception, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("harness.request.plan.render", fails)
    found = complaints(lambda _: command("plan"), tmp_path)
    if said is None:
        assert found == []
    else:
        (one,) = found
        assert said in one


def test_a_control_character_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.request.plan.render", lambda *_: "x")
    monkeypatch.setattr("harness.cli.plan.say", lambda _: print("\x1b[2J"))
    (one,) = complaints(lambda _: command("plan"), tmp_path)
    assert "a control character is printed" in one


def test_the_command_counts_and_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(parts.PARTS, "findings", PARTS["findings"]._replace(read=raises))
    words = ["--part", "findings", "--count", "2", "--first", "5", "--seed", "3"]
    assert tool.main([*words, "--out", str(tmp_path)]) == 1
    out = capfd.readouterr().out
    assert "python -m tools.foreign --part findings --seed 3 --first 6 --count 1" in out
    assert "2 cases ({'findings': 2}), 2 complaints" in out
    assert {path.name for path in tmp_path.iterdir()} == {"findings-5", "findings-6"}
    assert tool.main(["--part", "guest", "--count", "1"]) == 0
