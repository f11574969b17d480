"""The sentence with which the doctor ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import invoke
from harness.errors import ExitCode
from harness.run import doctor
from harness.run.doctor import Conclusion, HostCheck, conclude, install_line

GOOD = HostCheck(subject="python", state="good", what="3.11")
NOTE = HostCheck(subject="clang", state="note", what="not there", packages=("clang",))
NO_GCC = HostCheck(subject="gcc", state="bad", what="not there", packages=("gcc",))
NO_PACKAGES = HostCheck(
    subject="packages for run", state="bad", what="missing: bison gcc", packages=("bison", "gcc")
)
FULL = HostCheck(
    subject="cache", state="bad", what="/c: 0.1 GiB free, 8 wanted", remedy="free some space"
)


@pytest.fixture(autouse=True)
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have apt-get, and be root."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 0)


def test_all_is_there() -> None:
    said = conclude([GOOD, NOTE])
    assert (said.verdict, said.command, said.exit_code) == ("ready", "", ExitCode.PASSED)
    assert "uintr-harness run" in said.sentence


def test_what_is_missing_is_one_line_to_paste() -> None:
    said = conclude([GOOD, NO_PACKAGES, NO_GCC, NOTE])
    assert said == Conclusion(
        verdict="incomplete",
        sentence="2 packages are missing; paste this:",
        command="apt-get install --no-install-recommends bison gcc",
    )
    assert said.exit_code == ExitCode.GUEST
    assert conclude([NO_GCC]).sentence == "1 package is missing; paste this:"


def test_what_packages_do_not_help_comes_first() -> None:
    for findings in ([FULL, NO_GCC], [NO_GCC, FULL]):
        said = conclude(findings)
        assert (said.verdict, said.command, said.exit_code) == ("unable", "", ExitCode.GUEST)
        assert said.sentence.endswith(
            "because of cache: /c: 0.1 GiB free, 8 wanted; free some space"
        )


def test_a_user_needs_sudo_and_another_system_its_own_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert install_line(["a", "b"]) == "sudo apt-get install --no-install-recommends a b"
    monkeypatch.setenv("PATH", "/nowhere")
    assert install_line(["a", "b"]).endswith("the names are Debian's) a b")
    assert "apt-get" not in install_line(["a"])


@pytest.mark.parametrize(
    ("findings", "code", "last"),
    [
        ([GOOD], ExitCode.PASSED, "uintr-harness run"),
        ([GOOD, NO_GCC], ExitCode.GUEST, "  apt-get install --no-install-recommends gcc"),
        ([FULL, GOOD], ExitCode.GUEST, "free some space"),
    ],
)
def test_the_command_ends_with_it(
    findings: list[HostCheck],
    code: ExitCode,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def examine() -> Iterator[HostCheck]:
        yield from findings

    monkeypatch.setattr(doctor, "examine", examine)
    assert invoke(["doctor"]) == code
    assert capsys.readouterr().out.splitlines()[-1].endswith(last)
    assert invoke(["doctor", "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["good"] == (code == ExitCode.PASSED)
    assert Conclusion.model_validate(said["conclusion"]) == conclude(findings)


def test_a_compiler_that_is_not_there_is_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = doctor._compiler("gcc")
    assert (found.state, found.packages) == ("bad", ("gcc",))
    (qemu,) = doctor._emulation()
    assert (qemu.state, qemu.packages) == ("bad", ("qemu-system-x86",))
    monkeypatch.setenv("UINTR_HARNESS_QEMU", str(tmp_path / "mine"))
    (qemu,) = doctor._emulation()
    assert (qemu.state, qemu.packages) == ("bad", ())
