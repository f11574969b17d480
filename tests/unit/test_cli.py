"""What a user sees: output, exit code and what is kept, when it goes right and when it does not."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

# Imported here although unused: see test_plugin.
import harness.results.latency
import harness.testing.plugin  # noqa: F401
from harness import cli
from harness.errors import BuildError, ExitCode, HarnessError
from harness.guest import vm
from harness.results.ending import RUN_FILE, seal
from harness.results.folder import RunArtefacts, RunFolder
from harness.results.records import Record, Recorder
from harness.run import engine, suite
from harness.run.prepare import Preparation
from harness.values import Emulator, Plan
from tests.unit import fake_guest
from tests.unit.runs import prepared

GOOD = "echo 'KTAP version 1'; echo 1..1; echo 'ok 1 first'"
BAD = "echo 'KTAP version 1'; echo 1..2; echo 'ok 1 fine'; echo 'not ok 2 broken'; exit 1"

Scripts = dict[str, str]
Fake = Callable[..., None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a store and a current folder of its own."""
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Let `run` find these scripts as its programs, in fake guests."""

    def fake(scripts: Scripts, *failures: BuildError, cmdline: str = "") -> None:
        artefacts = prepared(tmp_path, scripts).read_artefacts().cells[0]

        def prepare(plan: Plan, *_: object, **__: object) -> Preparation:
            cells = [
                artefacts.model_copy(
                    update={
                        "cell": cell.model_copy(
                            update={"kernel": cell.kernel.model_copy(update={"cmdline": cmdline})}
                        ),
                        "options": ("--cpu", cell.cpu.name),
                    }
                )
                for cell in plan.cells
            ]
            return Preparation(RunArtefacts(cells=tuple(cells)), failures)

        monkeypatch.setattr(engine, "choose_qemu", lambda *_: FakeQemu())
        monkeypatch.setattr(engine, "prepare", prepare)
        monkeypatch.setattr(vm, "start_guest", fake_guest.start_guest)

    return fake


class FakeQemu:
    emulator = Emulator(binary=Path("/bin/true"), version="0")


def run(*args: str) -> int:
    return cli.invoke(["run", "--series", "none", *args])


def latest() -> RunFolder:
    return RunFolder(Path("runs/latest").resolve())


def summary() -> dict[str, object]:
    loaded: dict[str, object] = json.loads(latest().summary.read_text())
    return loaded


def test_a_good_run(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": GOOD, "api/b": GOOD})
    assert run("--smp", "1,2") == 0
    assert summary()["totals"] == {"pass": 4, "fail": 0, "skip": 0}
    out, err = capsys.readouterr()
    assert "PASSED: 4 passed" in out
    assert "linux-6.12-hidden-smp2-gcc" in out
    assert "test session starts" not in out + err
    for name in ("report.html", "junit.xml", "plan.json", "run.json", "environment.json"):
        assert (latest().path / name).stat().st_size
    assert json.loads((latest().path / "run.json").read_text())["exit_code"] == 0


def test_repeat_runs_each_program_so_often(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": GOOD})
    assert run("--repeat", "3") == 0
    (repeated,) = json.loads(latest().summary.read_text())["repeated"]
    assert (repeated["runs"], repeated["pass"]) == (3, 3)
    assert "api/a #3" in capsys.readouterr().err


def test_a_failing_case_is_exit_1_with_a_reproducer(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": BAD, "api/b": GOOD})
    assert run() == 1
    assert "api/a::broken" in capsys.readouterr().out
    (script,) = latest().path.glob("cells/*/reproduce/*.sh")
    assert stat.S_IMODE(script.stat().st_mode) & 0o100
    assert "-k api/a" in script.read_text()


def test_a_report_says_the_same_again(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": BAD})
    assert run() == 1
    before = latest().summary.read_bytes()
    latest().summary.unlink()
    first = capsys.readouterr().out
    assert cli.invoke(["report", "runs/latest"]) == 1
    assert latest().summary.read_bytes() == before
    again = capsys.readouterr().out
    assert again.replace("runs/latest", f"runs/{latest().path.name}") == first


def test_a_report_in_markdown(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": BAD})
    assert run() == 1
    capsys.readouterr()
    assert cli.invoke(["report", "--markdown", "runs/latest"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("### ❌ failed: <code>1 failed</code>\n")
    assert "| linux-6.12-hidden-smp2-gcc |" in out
    assert "api/a::broken" in out


def test_what_cases_check_reaches_the_contract(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = "echo '# checks: FRAME-1'"
    fake({"api/a": f"{GOOD.replace('echo 1..1', f'echo 1..1; {checks}')}", "api/b": GOOD})
    assert run("--smp", "1,2", "-k", "api/a") == 0
    capsys.readouterr()
    assert cli.invoke(["contract", "runs/latest", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    (frame, other) = (
        next(one for one in found["statements"] if one["statement"]["id"] == name)
        for name in ("FRAME-1", "FRAME-3")
    )
    assert set(frame["verdicts"]) == set(found["cells"])
    assert len(found["cells"]) == 2
    assert set(frame["verdicts"].values()) == {"pass"}
    assert set(other["verdicts"].values()) == {"not run"}
    for form in ((), ("--markdown",)):
        assert cli.invoke(["contract", *form, "runs/latest"]) == 0
        assert "FRAME" in capsys.readouterr().out


def test_the_contract_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["contract"]) == 0
    assert "delivery/frame::holds_vector_rip_rsp" in capsys.readouterr().out
    assert cli.invoke(["contract", "--holes", "--json"]) == 0
    holes = json.loads(capsys.readouterr().out)["statements"]
    assert all(one["hole"] and not one["cases"] for one in holes)
    assert cli.invoke(["contract", "no-run"]) == ExitCode.USAGE


def edited(folder: RunFolder, target: Path, line: bytes = b"", **info: object) -> Path:
    """Copy a run with another ``run.json`` and a further record; the seal fits."""
    shutil.copytree(folder.path.resolve(), target)
    copy = RunFolder(target)
    with copy.results.open("ab") as results:
        results.write(line)
    run_file = target / RUN_FILE
    known = json.loads(run_file.read_bytes())
    known |= {"results": json.loads(seal(copy.results).model_dump_json()), **info}
    run_file.write_text(json.dumps(known))
    return target


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (4, b""),
        (3, b""),
        (0, b'{"kind": "case", "cell": "c", "status": "fa\n'),
        (0, b'{"kind": "case", "schema": 99, "status": "fail"}\n'),
    ],
    ids=["guest", "build", "cut line", "later version"],
)
def test_a_run_that_lacks_results_is_nowhere_green(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, line: bytes
) -> None:
    fake({"api/a": GOOD, "api/b": GOOD})
    assert run() == 0
    good = edited(latest(), tmp_path / "good")
    assert cli.invoke(["contract", str(good)]) == 0
    less = edited(latest(), tmp_path / "less", line, exit_code=code, reason="something failed")
    assert cli.invoke(["report", str(less)]) == (code or 4)
    for argv in (
        ["contract", str(less)],
        ["contract", "--json", str(less)],
        ["compare", str(good), str(less)],
        ["compare", "--allow-missing", "--markdown", str(good), str(less)],
    ):
        assert cli.invoke(argv) == 4
    out, err = capsys.readouterr()
    assert "something failed" in out + err or "damaged" in out + err


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


def test_words_for_the_kernel_reach_the_guest(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    assert run("--cmdline", "fail-boot") == 4
    assert "panic-before-init" in capsys.readouterr().out


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


def test_an_interrupt_is_exit_130_and_the_rest_is_kept(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD, "api/b": GOOD})
    real = fake_guest.FakeGuest.run

    def interrupted(self: fake_guest.FakeGuest, argv: list[str], **kwargs: object) -> object:
        if argv[0].endswith("/b"):
            # As a CI system does when it cancels a job.
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, argv, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(fake_guest.FakeGuest, "run", interrupted)
    assert run() == 130
    out = capsys.readouterr().out
    assert "interrupted, until then: 1 passed" in out
    assert "PASSED" not in out
    assert cli.invoke(["report", "runs/latest"]) == 130
    assert "interrupted, until then: 1 passed" in capsys.readouterr().out
    assert summary()["totals"] == {"pass": 1, "fail": 0, "skip": 0}
    assert (latest().cell("linux-6.12-hidden-smp2-gcc") / "closed").exists()
    assert json.loads((latest().path / "run.json").read_text())["exit_code"] == 130


@pytest.mark.parametrize("before", [True, False])
def test_quiet_leaves_notes_and_results(
    fake: Fake, capsys: pytest.CaptureFixture[str], before: bool
) -> None:
    fake({"api/a": BAD})
    options = ["run", "--out", "out"]
    assert cli.invoke(["-q", *options] if before else [*options, "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert "==>" not in err
    assert "api/a::broken" in out


def test_a_developers_own_file(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    (tmp_path / "test_mine.py").write_text(
        "def test_yes(guest):\n    assert guest.run(['true']).returncode == 0\n"
        "def test_no(guest):\n    assert guest.run(['true']).returncode == 1\n"
    )
    assert run("--tests", "test_mine.py") == 1
    assert summary()["totals"] == {"pass": 1, "fail": 1, "skip": 0}
    assert run("--tests", "test_none.py") == 2


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


def test_an_out_folder_that_holds_a_run_is_left_alone(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    assert run("--out", "mine") == 0
    assert run("--out", "mine") == 2
    assert "already holds a run" in capsys.readouterr().err


def test_a_refused_run_says_so_in_the_folder_that_was_made_for_it(fake: Fake) -> None:
    fake({"api/a": GOOD})
    assert run("--out", "nowhere", "--cpu", "no-such") == 2
    assert not Path("nowhere").exists()
    Path("mine").mkdir()
    assert run("--out", "mine", "--baseline", "no-such") == 2
    info = RunFolder(Path("mine")).read_info()
    assert info is not None
    assert (info.exit_code, [error.what for error in info.errors]) == (2, [info.reason])
    assert info.reason.startswith("there is no such run")
    # It has not begun, and another may begin there; what that one leaves stays.
    assert run("--out", "mine") == 0
    left = {path: path.read_bytes() for path in Path("mine").iterdir() if path.is_file()}
    assert run("--out", "mine", "--baseline", "no-such") == 2
    assert {path: path.read_bytes() for path in Path("mine").iterdir() if path.is_file()} == left


FUZZ = ["fuzz", "--series", "none", "--cpu", "hidden,hidden-amd", "--scripts", "1"]


def test_a_search_leaves_a_run_that_ended(fake: Fake) -> None:
    # This program plays no script, so that the first of them is a finding.
    fake({"fuzz/interpreter": "exit 3"})
    assert cli.invoke([*FUZZ, "--out", "mine"]) == 1
    run = RunFolder(Path("mine"))
    info, environment = run.read_info(), run.read_environment()
    assert info is not None
    assert (info.exit_code, info.reason) == (1, "findings: 1")
    assert environment is not None
    assert environment.end is not None
    assert len(run.read_plan().cells) == len(run.read_artefacts().cells) == 2
    assert run.read_ending().state == "ended"


def test_a_search_whose_guests_do_not_boot_has_its_error_as_data(fake: Fake) -> None:
    fake({"fuzz/interpreter": "exit 3"}, cmdline="fail-boot")
    assert cli.invoke([*FUZZ, "--out", "other"]) == 4
    info = RunFolder(Path("other")).read_info()
    assert info is not None
    assert (info.exit_code, [error.kind for error in info.errors]) == (4, ["GuestError"])


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


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        assert cli.invoke([name, "--help"]) == 0
        assert f"uintr-harness {name}" in capsys.readouterr().out


#: 200 samples of about 5 µs, or as many times slower as asked for.
MEASURE = (
    "echo 'KTAP version 1'; echo 1..1; echo 'ok 1 first'; "
    'python3 -c "import random, struct, os; random.seed(os.getpid()); '
    "open('$UINTR_SAMPLES/uintr.sender.ns.u64', 'wb').write(b''.join("
    "struct.pack('<Q', int(random.gauss({} * 5000, 50))) for _ in range(600)))\""
)


def test_a_baseline_makes_a_slower_run_fail(
    fake: Fake, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake({"latency/a": MEASURE.format(1)})
    assert run("--out", "one") == 0
    assert (tmp_path / "one" / "baseline.json").stat().st_size
    run_again(fake, tmp_path, MEASURE.format(1))
    # The floor is far above what this machine's load does to made-up samples.
    assert run("--out", "two", "--baseline", "one/baseline.json") == 0
    assert "SAME OR BETTER" in capsys.readouterr().out
    run_again(fake, tmp_path, MEASURE.format(2))
    assert run("--out", "three", "--baseline", "one", "--baseline", "two") in {0, 1}
    found = json.loads((tmp_path / "three" / "comparison.json").read_text())
    (latency,) = found["latencies"]
    # A busy host under the tests makes it unsure, and never the same.
    assert latency["verdict"] in {"worse", "unsure"}
    assert latency["judgement"]["ratio"][0] == pytest.approx(2, rel=0.02)
    assert cli.invoke(["compare", "one", "three"]) == found["exit_code"]
    assert cli.invoke(["history", "uintr"]) == 0
    out = capsys.readouterr().out
    assert "uintr sender in linux-6.12-hidden-smp2-gcc" in out
    assert out.count("10.0 µs") >= 1


def run_again(fake: Fake, tmp_path: Path, script: str) -> None:
    """Let `run` find this script as its program."""
    shutil.rmtree(tmp_path / "run")
    fake({"latency/a": script})


def test_a_baseline_that_is_none_is_exit_2_before_anything_runs(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    assert run("--baseline", "nowhere") == 2
    assert "there is no such run" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_history_that_cannot_be_written_fails_no_run(
    fake: Fake, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.mkdir()
    (cache / "history.sqlite3").write_text("no database" * 100)
    fake({"latency/a": MEASURE.format(1)})
    assert run() == 0
    assert "not in the history" in capsys.readouterr().err


def test_an_error_does_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A subject of a mail, say: OSC, CSI, C1 and a change of direction are shown, not sent."""
    evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b8m\u202e"

    def fail(*_args: object, **_kwargs: object) -> None:
        raise BuildError(f"patch {evil} does not apply", where=evil, detail=f"a\n{evil}", hint=evil)

    monkeypatch.setattr("harness.cli.app.main", fail)
    assert cli.invoke(["plan"]) == 3
    err = capsys.readouterr().err
    assert not set(evil[:1] + "\x07\x9b\u202e") & set(err)
    assert err.count("\\x1b]52;c;") == 4


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
    for again in (False, True):
        if again:
            assert cli.invoke(["report", "runs/latest"]) == 1
        out = capsys.readouterr().out
        assert "FAILED: a test without a record failed" in out
        assert "PASSED" not in out


def test_tests_that_cannot_be_read_are_exit_2(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})
    (tmp_path / "test_broken.py").write_text("def test_x(guest:\n")
    assert run("--tests", "test_broken.py") == 2
    assert "pytest could not start the tests" in capsys.readouterr().err


def test_a_build_that_failed_is_said_again(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": GOOD}, BuildError("the other kernel does not compile"))
    assert run() == 3
    capsys.readouterr()
    assert cli.invoke(["report", "runs/latest"]) == 3
    assert "the other kernel does not compile" in capsys.readouterr().out
    info = latest().read_info()
    assert info is not None
    assert [one.kind for one in info.errors] == ["BuildError"]


def test_a_run_that_left_cells_out_on_purpose_is_reported_the_same(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": BAD, "api/b": GOOD})
    assert run("--smp", "1,2", "-x") == 1
    assert cli.invoke(["report", "runs/latest"]) == 1
    assert "no result from" not in capsys.readouterr().out


def test_an_interrupt_before_the_first_test_says_so(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD})

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "run_pytest", stopped)
    assert run("-k", "api") == 130
    for again in (False, True):
        if again:
            assert cli.invoke(["report", "runs/latest"]) == 130
        out = capsys.readouterr().out
        assert "INTERRUPTED: interrupted, until then: no result" in out
        assert "matches" not in out


def test_a_closed_terminal_is_an_interrupt(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD, "api/b": GOOD})
    real = fake_guest.FakeGuest.run

    def hung_up(self: fake_guest.FakeGuest, argv: list[str], **kwargs: object) -> object:
        if argv[0].endswith("/b"):
            os.kill(os.getpid(), signal.SIGHUP)
        return real(self, argv, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(fake_guest.FakeGuest, "run", hung_up)
    assert run() == 130
    assert "interrupted, until then: 1 passed" in capsys.readouterr().out


def test_nohup_keeps_a_run_going(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake({"api/a": GOOD})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    real = fake_guest.FakeGuest.run

    def hung_up(self: fake_guest.FakeGuest, argv: list[str], **kwargs: object) -> object:
        os.kill(os.getpid(), signal.SIGHUP)
        return real(self, argv, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(fake_guest.FakeGuest, "run", hung_up)
    try:
        assert run() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_folder_of_a_typo_may_be_used(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake({"api/a": GOOD})
    assert run("--out", "mine", "-k", "nothing") == 2
    assert cli.invoke(["report", "mine"]) == 2
    assert "no program matches" in capsys.readouterr().out
    assert run("--out", "mine") == 0
    assert cli.invoke(["report", "mine"]) == 0
    # One that has results, or may still go on, is somebody's.
    assert run("--out", "mine") == 2
    (Path("mine") / "results.jsonl").unlink()
    RunFolder(Path("mine")).begin([])
    assert run("--out", "mine") == 2


def test_a_killed_run_is_green_at_no_point(
    fake: Fake,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a kill would leave after each write of the run is kept and read."""
    fake({"api/a": GOOD, "latency/b": MEASURE.format(1)})
    kept = tmp_path / "kept"

    def keep() -> None:
        (folder,) = [path for path in Path("runs").iterdir() if not path.is_symlink()]
        shutil.copytree(folder, kept / str(len(list(kept.iterdir())) if kept.exists() else 0))

    real_write, real_replace = Recorder.write, Path.replace

    def write(self: Recorder, record: Record) -> None:
        real_write(self, record)
        keep()

    def replace(self: Path, target: Path) -> Path:
        found = real_replace(self, target)
        if target.name != "latest" and target.parent.parent.name == "runs":
            keep()
        return found

    monkeypatch.setattr(Recorder, "write", write)
    monkeypatch.setattr(Path, "replace", replace)
    assert run() == 0
    monkeypatch.undo()
    capsys.readouterr()
    folders = sorted(kept.iterdir(), key=lambda path: int(path.name))
    assert len(folders) > 10
    codes = []
    for folder in folders:
        ended = (
            json.loads((folder / "run.json").read_text())["finished"]
            if (folder / "run.json").exists()
            else None
        )
        if not ended:
            assert not (folder / "report.html").exists()
            assert not (folder / "junit.xml").exists()
        codes.append(cli.invoke(["report", str(folder)]))
        out = capsys.readouterr().out
        assert ("PASSED" in out) == (codes[-1] == 0) == bool(ended)
        assert codes[-1] in {0, 4}
    assert codes == sorted(codes, reverse=True)


def test_a_baseline_of_more_is_a_finding_unless_allowed(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake({"api/a": GOOD, "api/b": GOOD})
    assert run("--out", "all") == 0
    assert run("--out", "some", "-k", "api/a", "--baseline", "all") == 1
    assert "1 case gone (--allow-missing accepts that)" in capsys.readouterr().out
    assert run("--out", "meant", "-k", "api/a", "--baseline", "all", "--allow-missing") == 0
    capsys.readouterr()
    assert cli.invoke(["report", "some"]) == 1
    assert "PASSED" not in capsys.readouterr().out
    assert cli.invoke(["compare", "all", "some"]) == 1
    assert cli.invoke(["compare", "--allow-missing", "all", "some"]) == 0


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (BuildError("gcc says no", where="x.c"), 3, "BuildError"),
        (KeyboardInterrupt(), 130, "KeyboardInterrupt"),
        (RuntimeError("a bug"), 4, "RuntimeError"),
    ],
)
def test_what_ends_a_run_before_its_tests_is_kept(
    error: BaseException,
    code: int,
    kind: str,
    fake: Fake,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake({"api/a": GOOD})

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(engine, "prepare", fail)
    assert run("--out", "mine", "-k", "api") == code
    info = RunFolder(Path("mine")).read_info()
    assert info is not None
    assert ([one.kind for one in info.errors], info.exit_code) == ([kind], code)
    assert cli.invoke(["report", "mine"]) == code
    assert "no program matches" not in capsys.readouterr().out
    assert cli.invoke(["report", "--kcidb", "bench", "mine"]) == code
