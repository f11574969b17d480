"""Which lines of a console are the kernel's, and begin a report."""

from __future__ import annotations

import pytest

from harness.guest.verdict import splats
from harness.guest.verdict.splat_rules import RULES
from harness.guest.verdict.splats import scan

from .golden_logs import REPORTS, lines


@pytest.mark.parametrize(
    "before", [b"." * 520, b"[    1.000000] waiting..."], ids=["long", "stamp"]
)
@pytest.mark.parametrize(
    "text",
    [
        b"BUG: KASAN: slab-use-after-free in f+0x1/0x2",
        b'irq 9: nobody cared (try booting with the "irqpoll" option)',
        b"BUG: spinlock bad magic on CPU#1, swapper/0",
        b"UBSAN: array-index-out-of-bounds in x.c:1:2",
    ],
)
def test_a_report_behind_an_unfinished_line_of_any_kind(before: bytes, text: bytes) -> None:
    (plain,) = scan([b"[    1.000001] " + text])
    (glued,) = scan([before + b"[    1.000001] " + text])
    assert (glued.kind, glued.title) == (plain.kind, plain.title)


@pytest.mark.parametrize(
    "text",
    [
        b'systemd[1]: Starting Detect "Kernel panic - not syncing" in logs...',
        b'audit: type=1327 proctitle="grep Kernel panic - not syncing"',
        b'init: saw "Oops: 0000 [#1] SMP"',
        b'saw "Oops: 0000 [#1] SMP"',
        b"# Oops: 0000 [#1] SMP",
        b"uintr: self-test: failed 0 of 12",
        b"uintr: selftest: no failures",
        b"uintr: self-test skipped: cpu lacks failsafe mode",
    ],
)
def test_what_others_write_is_no_report(text: bytes) -> None:
    assert scan([b"[    1.000000] " + text]) == ()


@pytest.mark.parametrize("text", [b"self-test: 3 of 12 FAILED", b"selftest failed: vector 3"])
def test_a_failed_self_test_is_a_report(text: bytes) -> None:
    (splat,) = scan([b"[    1.000000] uintr: " + text])
    assert splat.kind == "uintr"


def first_lines() -> list[bytes]:
    """Return the first lines of the corpus that have no other text before them."""
    pairs = [(lines(name), found) for name in REPORTS for found in scan(lines(name))]
    raw = {log[found.first_line - 1] for log, found in pairs}
    plain = {splats._split(splats._last_part(line))[1] for line in raw}
    return sorted(line for line in plain if any(rule.match(line) for rule in RULES))


QUOTES = {
    "diagnostic": b"# %s",
    "subtest": b"    # %s",
    "result": b"ok 3 - %s",
    "failed": b"    not ok 12 %s",
    "named": b"ok 3 parser: %s",
    "quoted": b'init: saw "%s"',
    "sentence": b"the log of this kernel has to say: %s",
    "expected": b"waiting for %s",
    "logger": b"logger[71]: %s",
}
#: What a kernel prints before programs can.
BOOT = [
    b"[    0.000000][    T0] Linux version 6.12.0",
    b"[    0.500000][    T1] Run /init as init process",
]


@pytest.mark.parametrize("quote", QUOTES)
def test_a_program_that_quotes_a_report_makes_none(quote: str) -> None:
    """Through /dev/kmsg, which stamps the line, and through the console, which does not."""
    for line in first_lines():
        quoted = QUOTES[quote] % line
        for stamp in (b"[    1.000000][   T71] ", b"[    1.000000] ", b""):
            assert scan([*BOOT, stamp + quoted]) == (), quoted
        assert scan([quoted]) == (), quoted


def test_a_line_without_a_stamp_is_not_the_kernels_if_its_lines_have_one() -> None:
    for line in first_lines():
        assert scan([*BOOT, line]) == (), line


def test_without_stamps_a_line_alone_is_a_report() -> None:
    """With printk.time=0, a kernel stamps its first lines only."""
    boot = [BOOT[0], b"Memory: 100K/200K available", b"Run /init as init process"]
    line = b"__common_interrupt: 1.236 No irq handler for vector"
    for before in ([], boot):
        assert [splat.kind for splat in scan([*before, line])] == ["irq"]


@pytest.mark.parametrize(
    "stamp",
    [
        b"",
        b"[    1.000000] ",
        b"[    1.000000][   T71] ",
        b"<4>[    1.000000] ",
        b"[     3.123] [    1.000000] ",
    ],
)
@pytest.mark.parametrize("prefix", [b"", b"watchdog: ", b"rcu: x86/fpu: ", b"uintr_exit(): "])
def test_a_report_behind_a_prefix_of_printk(stamp: bytes, prefix: bytes) -> None:
    for line in first_lines():
        rule = next(rule for rule in RULES if rule.match(line))
        prefixed = rule.before is not None and line.startswith(rule.key)
        text = prefix + line if prefixed else line
        found = scan([stamp + text, stamp + b"CPU: 0 PID: 1 Comm: x"])
        assert [splat.kind for splat in found] == [rule.kind], text


STAMPED = b"[    1.000000][    T1] "
LOCKUP = b"watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [init:1]"
PROOF = (
    b"CPU: 0 UID: 0 PID: 1 Comm: init Not tainted 6.12.0 #1",
    b"RIP: 0010:foo+0x12/0x20",
    b"Call Trace:",
    b" <TASK>",
    b" bar+0x1/0x2",
    b" </TASK>",
)
BOOTED = (b"Linux version 6.12.0", b"Run /init as init process")


@pytest.mark.parametrize("stamp", [b"[    T1] ", b"[    C0] ", b"<3>[    T1] ", b"[T12345] "])
def test_without_times_the_caller_is_the_stamp(stamp: bytes) -> None:
    """``printk.time=0``, from the boot on or by a program later."""
    report = stamp + b"BUG: scheduling while atomic: x/1/0x2"
    quote = b"BUG: this text is by a program"
    for boot in ((), [stamp + line for line in BOOTED], [STAMPED + line for line in BOOTED]):
        found = scan([*boot, stamp + b"hello", report, quote])
        assert [splat.title for splat in found] == ["BUG: scheduling while atomic"]


def test_the_boot_decides_whether_the_kernel_stamps() -> None:
    report = b"BUG: Bad rss-counter state mm:x type:MM_ANONPAGES val:1"
    assert len(scan([*BOOTED, STAMPED + b"a program's own log", report])) == 1
    stamped = [STAMPED + line for line in BOOTED]
    assert not scan([*stamped, b"Linux version 6.12.0 (cat /proc/version)", report])


@pytest.mark.parametrize("noise", [b"\0", b"\xff", b"\x1b[0m", b"\r", b" ", b"<4>"])
def test_noise_before_a_report_does_not_hide_it(noise: bytes) -> None:
    assert len(scan([STAMPED + noise + LOCKUP, *(STAMPED + line for line in PROOF)])) == 1
    assert len(scan([*BOOTED, noise + LOCKUP])) == 1


@pytest.mark.parametrize("stamp", [b"[    1.00\xff000][    T1] ", b"00000][    T1] ", b"  T1] "])
def test_a_damaged_stamp_does_not_hide_a_report(stamp: bytes) -> None:
    lines = [STAMPED + b"hello", stamp + LOCKUP]
    assert bool(scan([*lines, STAMPED + b"hello"])) == (b"[    T1]" in stamp)
    (found,) = scan([*lines, *(STAMPED + line for line in PROOF)])
    assert found.kind == "soft-lockup"


@pytest.mark.parametrize(
    "first",
    [
        b"Oops: general protection fault, probably for non-canonical address 0xd: 0000 [#1] SMP",
        b"BUG: spinlock bad magic on CPU#0, init/1",
        b"WARNING: x WARNING: kernel/foo.c:12 at foo+0x1/0x2, CPU#0: init/1",
    ],
)
def test_each_kind_may_stand_behind_an_unfinished_line(first: bytes) -> None:
    assert len(scan([b"prompt# " + first, *PROOF])) == 1
    assert not scan([b"prompt# " + first])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 passed, 2 failed", True),
        ("1 skipped, 2 failed", True),
        ("0 of 15 failed", False),
        ("5 of 15 failed", True),
        ("failed: 3", True),
        ("failed: 0", False),
        ("failed=0, ok=12", False),
        ("none failed", False),
        ("12 passed, 0 failed", False),
        ("failure in step 3", True),
        ("error -22", True),
        ("FAILED", True),
        ("passed", False),
    ],
)
def test_a_count_of_no_failures_is_none(text: str, *, found: bool) -> None:
    assert bool(scan([STAMPED + b"uintr: self-test: " + text.encode()])) == found


def test_an_address_is_no_place_of_a_warning() -> None:
    assert not scan([STAMPED + b"WARNING: server at http://example.com:80 not reachable"])
    assert scan([STAMPED + b"WARNING: foo at lib/bar.rs:80", *(STAMPED + x for x in PROOF)])
