"""The limit on the harness's own memory, and what happens when it is reached."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import paths
from harness.cli import _explain
from harness.errors import ExitCode, UserError
from harness.guest.alarm import Alarm
from harness.guest.transport.console import Console
from harness.lib.memory import DEFAULT_MIB, MEMORY_ENV, wanted_mib

GROWS = "cli.app.main = lambda *_, **__: bytearray(1 << 30)\n"


def python(code: str, limit: str | None = "300", before: str = "") -> tuple[int, str, str]:
    """Run code after ``from harness import cli`` with a limit; return its end and its output."""
    env = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    env.pop(MEMORY_ENV, None)
    if limit is not None:
        env[MEMORY_ENV] = limit
    argv = [sys.executable, "-c", f"from harness import cli\n{code}"]
    if before:
        argv = ["sh", "-c", f'{before}; exec "$@"', "sh", *argv]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_a_harness_that_grows_ends_with_an_error() -> None:
    code, _, err = python(GROWS + "cli.main([])")
    assert code == ExitCode.GUEST
    assert err.startswith(
        "error: the harness would need more memory than its limit of 300 MiB\n"
        f"  hint: set {MEMORY_ENV} to a larger number"
    )
    assert "Traceback" not in err


def test_a_larger_limit_or_none_lets_it_grow() -> None:
    for limit in ("1500", "0", None):
        code, _, err = python(GROWS + "cli.main([])", limit)
        assert (code, err) == (0, ""), limit


@pytest.mark.parametrize("limit", ["much", "-1", "12", "1e3", "2 GiB", "٣٠٠"])
def test_a_wrong_limit_is_a_users_error(limit: str) -> None:
    code, _, err = python("cli.main(['plan'])", limit)
    assert code == ExitCode.USAGE
    assert f"where: {MEMORY_ENV}" in err
    assert "hint: give a number of MiB" in err


def test_what_the_harness_starts_has_no_limit(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from harness.guest.process import Process\n"
        "from harness.lib.memory import limit_memory\n"
        "from harness.lib.process import capture\n"
        "argv = ['sh', '-c', 'ulimit -S -d']\n"
        "limit_memory()\n"
        "print(capture(argv).text)\n"
        f"child = Process(argv, log=Path({str(tmp_path / 'log')!r}), sandbox=False)\n"
        "print(child.stdout.read().decode().strip())\n"
        "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0] >> 20)\n"
    )
    assert python(code) == (0, "unlimited\nunlimited\n300\n", "")
    # KiB. A hard limit of the user's holds for all.
    assert python(code, before="ulimit -d 900000") == (0, "900000\n900000\n300\n", "")
    assert python(code, before="ulimit -S -d 280000")[1].endswith("\n273\n")


def test_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MEMORY_ENV, raising=False)
    assert wanted_mib() == DEFAULT_MIB
    monkeypatch.setenv(MEMORY_ENV, "12345678901234567890")
    assert wanted_mib() > DEFAULT_MIB
    monkeypatch.setenv(MEMORY_ENV, "255")
    with pytest.raises(UserError):
        wanted_mib()


def test_without_a_limit_the_host_is_to_blame(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.limit_in_force", lambda: None)
    assert _explain(MemoryError()) == ExitCode.GUEST
    assert "the host has no memory left" in capsys.readouterr().err


def test_a_console_that_runs_out_of_memory_is_no_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(tmp_path / "log", Alarm(), lambda: 0.0)

    def fail(_: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(console, "feed", fail)
    (tmp_path / "said").write_bytes(b"[    1.0] BUG: unable to handle page fault\n")
    console.follow((tmp_path / "said").open("rb"))
    console.settle()
    assert console.error == "the console was not read to its end: MemoryError"
    console.close()
