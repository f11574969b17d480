"""What the comparisons of ``tools`` conclude from what they measured."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import GuestError
from harness.progress import Silent
from tools import boot, debian_selftests
from tools.own_tests import read_junit, worse
from tools.selftests import Boot, Outcome, compare, read_console
from tools.speed import BOOT, KINDS, Ratio, Round, Time, ratio, report, verdict

# --- speed ---------------------------------------------------------------------------------


def test_the_ratio_is_of_the_pairs_of_a_round() -> None:
    found = ratio([1.0, 10.0, 2.0], [1.5, 15.0, 3.0])
    assert found == Ratio(1.5, 1.5, 1.5)


def test_the_interval_is_around_the_median_and_shows_the_spread() -> None:
    found = ratio([1.0] * 9, [0.9, 0.95, 1.0, 1.0, 1.0, 1.05, 1.1, 1.2, 2.0])
    assert found.median == 1.0
    assert 0.9 <= found.low < 1.0 < found.high < 2.0


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Ratio(0.99, 1.0, 1.01), "ok"),
        (Ratio(0.99, 1.01, 1.03), "not sure"),
        (Ratio(1.03, 1.05, 1.07), "SLOWER"),
    ],
)
def test_only_what_is_beyond_the_limit_for_sure_is_slower(found: Ratio, said: str) -> None:
    assert verdict(found, 1.02) == said


def a_round(**slowed: float) -> Round:
    return {
        name: {
            kind: [Time(2.0 * (slowed.get(kind, 1.0) if name == "exposed" else 1.0), 9.0)] * 3
            for kind in (BOOT, *KINDS)
        }
        for name in ("exposed", "stock")
    }


def test_one_slower_kind_makes_the_report_fail() -> None:
    assert not report([a_round()] * 3, 1.02)[1]
    text, slower = report([a_round(switches=1.1)] * 3, 1.02)
    assert slower
    assert [line.split()[0] for line in text.splitlines() if "SLOWER" in line] == ["switches"]
    everything = text.splitlines()[-1].split()
    assert everything[:4] == ["all", "work", "2.000", f"{1.1 ** (1 / len(KINDS)):.3f}"]


# --- QEMU's own tests ----------------------------------------------------------------------

JUNIT = """<testsuites><testsuite name="qemu.qtest-x86_64/boot-serial-test">
<testcase name="/x86_64/pc" classname="a"/>
<testcase name="/x86_64/q35" classname="a"><failure/></testcase>
<testcase name="/x86_64/tpm" classname="a"><skipped/></testcase>
<testcase name="/x86_64/twice" classname="a"/>
<testcase name="/x86_64/twice" classname="a"><error/></testcase>
</testsuite></testsuites>"""


def test_cases_of_a_junit_file() -> None:
    assert list(read_junit(JUNIT).values()) == ["pass", "fail", "skip", "fail"]


def test_what_is_worse() -> None:
    before = {"a": "pass", "b": "fail", "c": "pass", "d": "skip", "e": "pass"}
    after = {"a": "pass", "b": "pass", "c": "fail", "d": "pass"}
    assert worse(before, after) == ["c", "e"]


# --- selftests -----------------------------------------------------------------------------

CONSOLE = """[    0.1] x86/fpu: Enabled xstate features 0x207, context size is 840 bytes
@@ cpu flags\t\t: fpu xsave xsaves
@@ release 6.12.1
@@ begin sigreturn_64
[RUN]\tsomething
[OK]\tgood
\t[OK]\tgood, too
[FAIL]\tbad
@@ end sigreturn_64 1
@@ begin tap_64
ok 1 first
not ok 2 second
ok 3 third # SKIP no such CPU
@@ end tap_64 137
@@ done
"""


def test_the_console_of_the_selftests() -> None:
    boot = read_console(CONSOLE)
    assert boot.release == "6.12.1"
    assert "xsaves" in boot.flags
    assert boot.xstate.startswith("Enabled xstate features 0x207")
    assert boot.outcomes == {
        "sigreturn_64": Outcome(1, {"OK": 2, "FAIL": 1}),
        "tap_64": Outcome(137, {"OK": 1, "FAIL": 1, "SKIP": 1}),
    }


def test_a_guest_that_did_not_finish_is_an_error() -> None:
    with pytest.raises(GuestError):
        read_console(CONSOLE.replace("@@ done\n", ""))


GOOD = Outcome(0, {"OK": 5})


@pytest.mark.parametrize(
    ("after", "is_worse"),
    [
        (GOOD, False),
        (Outcome(0, {"OK": 6}), False),
        (Outcome(1, {"OK": 5}), True),
        (Outcome(0, {"OK": 4}), True),
        (Outcome(0, {"OK": 5, "FAIL": 1}), True),
        (None, True),
    ],
)
def test_a_worse_selftest(after: Outcome | None, is_worse: bool) -> None:
    stock = Boot("6", frozenset(), "", {"a": GOOD})
    ours = Boot("6", frozenset(), "", {"a": after} if after else {})
    assert [found for found, _ in compare(stock, ours)] == [is_worse]


def test_what_fails_on_both_is_not_worse() -> None:
    assert not Outcome(1, {"FAIL": 2}).worse_than(Outcome(139, {"FAIL": 2}))


# --- boot ----------------------------------------------------------------------------------


def test_the_word_alone_on_a_line_ends_the_wait() -> None:
    word = boot.WORD.decode()
    for script in (f"echo log >&2; echo {word}; sleep 60", f"printf '{word}\\r\\n' >&2; sleep 60"):
        assert boot.until_word(["sh", "-c", script]) < 30
    with pytest.raises(GuestError, match="not printed") as caught:
        boot.until_word(["sh", "-c", f"echo run={word} >&2; echo else"])
    assert "else" in (caught.value.detail or "")


def test_kinds_take_turns_and_times_are_parts_of_the_rivals() -> None:
    order: list[str] = []

    def timed(name: str, seconds: float) -> Callable[[], float]:
        def take() -> float:
            order.append(name)
            return seconds

        return take

    kinds = {"boot": timed("boot", 1.0), "virtme-ng": timed("virtme-ng", 4.0)}
    times = boot.measure(kinds, 2, Silent())
    assert order == ["boot", "virtme-ng", "virtme-ng", "boot"]
    assert "boot           1.00    1.00    1.00          0.25" in boot.report(times)


DEBIAN_CONSOLE = b"""[    0.1] boot
@@ begin kselftest-x86/a_64\r
[RUN]\tone
[OK]\tfine
[RUN]\ttwo
[FAIL]\tbad

@@ end kselftest-x86/a_64 1

@@ begin kselftest-clone3/b
TAP version 13
1..2
ok 1 first
ok 2 # SKIP not here

@@ end kselftest-clone3/b 0
@@ done
"""


def test_a_debian_console_is_read_by_program() -> None:
    found = debian_selftests.read_console(DEBIAN_CONSOLE)
    assert found == {
        ("kselftest-x86/a_64", "one"): "pass",
        ("kselftest-x86/a_64", "two"): "fail",
        ("kselftest-clone3/b", "first"): "pass",
        ("kselftest-clone3/b", "not here"): "skip",
    }


def test_a_debian_guest_tells_how_each_program_ended(tmp_path: Path) -> None:
    loop = debian_selftests.INIT.partition("cd /selftests\n")[2].partition("echo o >")[0]
    for name, code in (("good", 0), ("bad", 3), ("late", 0)):
        path = tmp_path / "t" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{'sleep 60' if name == 'late' else ''}\nexit {code}\n")
        path.chmod(0o755)
    (tmp_path / "list").write_text("t good 9\nt bad 9\nt late 1\n")
    done = subprocess.run(["bash", "-c", loop], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    ends = [line for line in done.stdout.splitlines() if line.startswith("@@ end")]
    assert ends == ["@@ end t/good 0", "@@ end t/bad 3", "@@ end t/late 137"]


def test_a_debian_guest_that_died() -> None:
    with pytest.raises(GuestError, match="did not finish"):
        debian_selftests.read_console(DEBIAN_CONSOLE.removesuffix(b"@@ done\n"))


def test_each_difference_wants_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = {("t/a", "one"): "pass", ("t/a", "two"): "skip", ("t/c", "!"): "skip"}
    debian = {("t/a", "one"): "pass", ("t/a", "two"): "pass"}
    monkeypatch.setattr(debian_selftests, "explanations", list)
    assert debian_selftests.report(ours, {"t/c": "not built: no -lx"}, debian) == 1
    said = capsys.readouterr().out
    assert "t/a 'two': ours skip, Debian pass: ???" in said
    assert "not compared: t/c: not built: no -lx" in said
    reason = {"program": "t/.*", "case": "t..", "ours": "skip", "debian": "pass", "why": "because"}
    monkeypatch.setattr(debian_selftests, "explanations", lambda: [reason])
    assert debian_selftests.report(ours, {"t/c": "not built: no -lx"}, debian) == 0
    assert "because" in capsys.readouterr().out


def test_the_reasons_are_well_formed() -> None:
    for one in debian_selftests.explanations():
        assert (
            {"program", "ours", "debian", "why"}
            <= set(one)
            <= {*("program", "case", "ours", "debian", "why")}
        )
