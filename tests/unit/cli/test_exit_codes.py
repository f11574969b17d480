"""The exit code of a run that something went wrong with, and what is kept of it."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from harness import cli
from harness.errors import BuildError, HarnessError
from harness.results.records import Recorder
from harness.run import engine
from tests.unit import fake_guest
from tests.unit.cli.calls import GOOD, MEASURE, Fake, latest, run, summary


def test_a_guest_that_dies_is_exit_4_and_the_rest_is_kept(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": "echo 'die: qemu-died' >&2", "api/b": GOOD})
    assert run() == 4
    assert summary()["totals"] == {"pass": 1, "fail": 1, "skip": 0}
    assert "qemu-died" in capsys.readouterr().out


def test_a_kernel_that_does_not_boot_is_exit_4(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD, "api/b": GOOD}, cmdline="fail-boot")
    assert run() == 4
    assert "panic-before-init" in capsys.readouterr().out
    assert latest().junit.exists()


def test_nothing_selected_is_exit_2(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": GOOD})
    assert run("-k", "nothing") == 2
    err = capsys.readouterr().err
    assert "no program matches" in err
    assert "hint:" in err


def test_a_wrong_selection_is_exit_2(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": GOOD})
    assert run("-k", "a and (") == 2
    assert "hint:" in capsys.readouterr().err


def test_a_build_that_failed_for_another_cell_is_exit_3(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD}, BuildError("the other kernel does not compile"))
    assert run() == 3
    out, err = capsys.readouterr()
    assert "1 passed" in out
    assert "the other kernel does not compile" in err


def test_a_full_disk_is_exit_4_and_stops_at_once(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD, "api/b": GOOD})
    tried = []

    def full(self: Recorder, record: object) -> None:
        tried.append(record)
        raise self._failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    monkeypatch.setattr(Recorder, "write", full)
    assert run() == 4
    assert len(tried) == 1
    err = capsys.readouterr().err
    assert err.count("No space left") == 1
    assert "hint: make room" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["run", "--cpu", "hiden"], "did you mean hidden?"),
        (["run", "--series", "gone"], "there is no such series"),
        (["run", "--tree", "gone"], "the source tree does not exist"),
        (["run", "--kernel", "gone.toml"], "no such kernel profile"),
        (["run", "--smp", "1,0"], "0 is not in the range"),
        (["run", "--smp", ""], "empty value"),
        (["run", "--nonsense"], "--help"),
        (["run", "--qemu", "/gone"], "no such emulator"),
        (["run", "--qemu", "/bin/true"], "this is no QEMU"),
        (["nonsense"], "No such command"),
        (["build", "cake"], "'cake' is not one of"),
        (["report", "gone"], "not the folder of a prepared run"),
        (["shell", "--smp", "1,2"], "a shell needs exactly one cell"),
        (["shell", "--clock", "icount"], "a shell cannot reach a guest"),
        (["run", "--clock", "icount", "--smp", "2"], "leave --smp out, or give --smp 1"),
        (["run", "--clock", "icount", "--accel", "kvm"], "KVM does not count"),
        (["run", "--clock", "icount", "--tests", "/dev/null"], "cannot run tests of your own"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what_to_do(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if args[0] in {"run", "shell"} and "--series" not in args:
        args = [*args, "--series", "none"]
    assert cli.invoke(args) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert not out
    assert not Path("runs").exists()


def test_a_missing_patch_is_exit_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "series").write_text("0001-gone.patch\n")
    assert cli.invoke(["run", "--series", str(tmp_path)]) == 2
    assert "the patch 0001-gone.patch is missing" in capsys.readouterr().err


def test_an_unwritable_cache_is_exit_2(
    fake: Fake, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    cache.write_text("not a folder")
    assert run() == 2
    err = capsys.readouterr().err
    assert str(cache) in err
    assert "hint: set UINTR_HARNESS_CACHE" in err


def test_an_unexpected_error_shows_a_traceback_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(engine, "choose_qemu", broken)
    assert run() == 4
    err = capsys.readouterr().err
    assert "unexpected RuntimeError: a bug" in err
    assert "--debug" in err
    assert "Traceback" not in err
    assert run("--debug") == 4
    assert "Traceback" in capsys.readouterr().err
    assert cli.invoke(["--debug", "run", "--series", "none"]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_each_family_of_errors_has_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for family in HarnessError.__subclasses__():

        def fail(*_: object, family: type[HarnessError] = family) -> None:
            raise family("what", where="there", hint="do this")

        monkeypatch.setattr(engine, "choose_qemu", fail)
        assert run() == family.exit_code
        assert capsys.readouterr().err.endswith("error: what\n  where: there\n  hint: do this\n")


def test_an_exception_in_an_item_is_never_green(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"latency/a": MEASURE.format(1), "api/b": GOOD})

    def odd(*_: object) -> None:
        raise UnicodeDecodeError("utf-8", b"a\xff b", 1, 2, "invalid start byte")

    monkeypatch.setattr(fake_guest.FakeGuest, "fetch", odd)
    assert run() == 4
    out = capsys.readouterr().out
    assert "PASSED" not in out
    assert "UnicodeDecodeError" in out
    assert cli.invoke(["report", "runs/latest"]) == 4
    assert "PASSED" not in capsys.readouterr().out


def test_a_test_that_ends_the_process_is_never_green(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})

    def leave(*_: object) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(fake_guest.FakeGuest, "splats", leave)
    assert run() == 4
    assert "pytest failed" in capsys.readouterr().err
    assert cli.invoke(["report", "runs/latest"]) == 4


def test_what_only_pytest_saw_fail_is_not_green(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    (tmp_path / "test_no_guest.py").write_text(
        "def test_yes(guest):\n    assert guest.run(['true']).returncode == 0\n"
        "def test_without_a_guest():\n    assert 1 == 2\n"
    )
    assert run("--tests", "test_no_guest.py") == 1
    out, err = capsys.readouterr()
    assert "FAIL test_no_guest.py::test_without_a_guest (takes no guest)" in err
    assert "assert 1 == 2" in err
    for again in (False, True):
        if again:
            assert cli.invoke(["report", "runs/latest"]) == 1
            out = capsys.readouterr().out
        assert "FAILED: test_no_guest.py::test_without_a_guest, which takes no guest, failed" in out
        assert "PASSED" not in out


def test_what_a_test_fails_or_skips_before_its_call_is_shown_like_a_case(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    (tmp_path / "test_setup.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def broken(guest):\n    raise ValueError('no such thing')\n"
        "def test_broken(broken): pass\n"
        "@pytest.fixture\n"
        "def late(guest):\n    yield\n    raise ValueError('at its end')\n"
        "def test_late(late): pass\n"
        "@pytest.mark.skip(reason='not today')\n"
        "def test_skipped(guest): pass\n"
    )
    assert run("--tests", "test_setup.py") == 1
    out, err = capsys.readouterr()
    assert re.findall(r"^(pass|FAIL|skip) \S+ +(\w+)  (.*?)  ", err, re.MULTILINE) == [
        ("FAIL", "test_broken", "1 fail"),
        ("FAIL", "test_late", "1 fail"),
        ("skip", "test_skipped", "1 skip"),
    ]
    assert out.count("ValueError: no such thing") == 2  # its message, and its excerpt
    assert "no such thing" not in err
    assert summary()["totals"] == {"pass": 0, "fail": 2, "skip": 1}


def test_tests_of_one_name_in_two_classes_are_two(fake: Fake, tmp_path: Path) -> None:
    fake({"api/a": GOOD})
    (tmp_path / "test_classes.py").write_text(
        "class TestOne:\n    def test_x(self, guest): assert 0\n"
        "class TestTwo:\n    def test_x(self, guest): pass\n"
    )
    assert run("--tests", "test_classes.py") == 1
    assert summary()["totals"] == {"pass": 1, "fail": 1, "skip": 0}


def test_tests_that_cannot_be_read_are_exit_2(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    (tmp_path / "test_broken.py").write_text("def test_x(guest:\n")
    assert run("--tests", "test_broken.py") == 2
    assert "pytest could not start the tests" in capsys.readouterr().err
