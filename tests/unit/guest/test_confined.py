"""What an emulator gets: no capabilities, little environment, a filter where it has one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import GuestError
from harness.guest import confined
from harness.guest.process import Process
from harness.lib.process import capture
from harness.values import Emulator

MakeQemu = Callable[..., Emulator]
#: What a program sees of its own rights.
SHOW = "cat /proc/self/status; cat /proc/self/environ"


@pytest.fixture(autouse=True)
def ask_each_time() -> None:
    confined.knows_sandbox.cache_clear()


def shown(tmp_path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the status and the environment of a process that is started as an emulator is."""
    child = Process(["sh", "-c", SHOW], log=tmp_path / "log", sandbox=False)
    text = child.stdout.read().decode()
    child.wait(30)
    child.close_streams()
    lines = text.splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    words = next(line for line in lines if "\0" in line).split("\0")
    return status, dict(word.split("=", 1) for word in words if word)


def test_an_emulator_has_no_capabilities(tmp_path: Path) -> None:
    status, _ = shown(tmp_path)
    assert status["NoNewPrivs"] == "1"
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name
    if confined.may_drop_capabilities():
        assert int(status["CapBnd"], 16) == 0


def test_a_process_that_may_not_drop_capabilities_starts_it_all_the_same(tmp_path: Path) -> None:
    """As in a container for root without the capability, and for an ordinary user."""
    code = (
        "import sys; from pathlib import Path; from harness.guest import confined; "
        "from harness.guest.process import Process; "
        "assert not confined.may_drop_capabilities(); "
        "child = Process(['sh', '-c', 'exit 7'], log=Path(sys.argv[1]), sandbox=False); "
        "child.wait(30); print(child.returncode)"
    )
    setpriv = ["setpriv", "--inh-caps=-setpcap", "--bounding-set=-setpcap"]
    python = [sys.executable, "-c", code, str(tmp_path / "log")]
    argv = [*setpriv, *python] if confined.may_drop_capabilities() else python
    done = capture(argv)
    assert (done.text, done.complaint) == ("7", "")


def test_an_emulator_gets_only_what_it_needs_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere/lib")
    _, environment = shown(tmp_path)
    del environment["PWD"]  # sh sets it
    environment.pop("_", None)
    environment.pop("SHLVL", None)
    assert set(environment) <= set(confined.PASSED_ON)
    assert environment["LD_LIBRARY_PATH"] == "/nowhere/lib"


def test_the_filter_is_for_a_qemu_that_has_it(fake_qemu: MakeQemu) -> None:
    with_it = str(fake_qemu(sandbox=True).binary)
    assert confined.confined_argv([with_it, "-S"])[-4:] == [with_it, "-S", *confined.SANDBOX]
    confined.knows_sandbox.cache_clear()
    without = str(fake_qemu().binary)
    assert confined.confined_argv([without, "-S"])[-2:] == [without, "-S"]


def test_a_qemu_is_asked_once(fake_qemu: MakeQemu) -> None:
    binary = fake_qemu(sandbox=True).binary
    assert confined.knows_sandbox(str(binary))
    binary.write_text("#!/bin/sh\nexit 1\n")
    assert confined.knows_sandbox(str(binary))


def test_a_qemu_that_does_not_answer_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for one without the filter."""
    monkeypatch.setattr(confined, "_ASK_S", 0.2)
    binary = tmp_path / "qemu"
    binary.write_text("#!/bin/sh\nexec sleep 60\n")
    binary.chmod(0o755)
    with pytest.raises(GuestError, match="does not answer"):
        confined.confined_argv([str(binary)])


def test_a_missing_qemu_is_left_to_who_starts_it() -> None:
    assert not confined.knows_sandbox("/nowhere/qemu")
