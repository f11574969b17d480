"""Golden console logs, each with its own expectation, and excuses."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.guest.limits import MATCHED
from harness.guest.verdict import splat_report, splats
from harness.guest.verdict.known_splats import KNOWN_SPLATS, find_excuse, load_known_splats
from harness.guest.verdict.splat_report import Splat
from harness.guest.verdict.splat_rules import RULES
from harness.guest.verdict.splats import scan
from harness.guest.verdict.storm import MAX_SPLATS
from tools.splats import Log, read_log

GOLDEN = Path(__file__).parent / "golden"
TODAY = datetime.date(2026, 11, 22)

LOGS = {path.stem: read_log(path) for path in sorted(GOLDEN.glob("*.log"))}
REPORTS = {name: log for name, log in LOGS.items() if log.expected}
SINGLE = [name for name, log in REPORTS.items() if len(log.expected or ()) == 1]


def lines(name: str) -> list[bytes]:
    return list(LOGS[name].lines)


def differences(name: str) -> list[str]:
    expected, found = LOGS[name].expected or (), scan(LOGS[name].lines)
    if len(expected) != len(found):
        return [f"{len(expected)} expected, found {[splat.title for splat in found]}"]
    pairs = zip(expected, found, strict=True)
    return [text for want, have in pairs if (text := want.missing(have))]


def texts(log: Log) -> list[bytes]:
    return [splats._split(line)[1] for line in log.lines]


@pytest.mark.parametrize("name", LOGS)
def test_golden(name: str) -> None:
    assert LOGS[name].expected is not None, "a golden log begins with what is expected"
    assert differences(name) == []


def test_the_corpus_is_large_and_has_benign_logs() -> None:
    assert sum(len(log.expected or ()) for log in LOGS.values()) >= 150
    assert sum(not log.expected for log in LOGS.values()) >= 10


def test_each_rule_is_needed_by_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the rules out one by one: some log has to be read wrongly each time."""
    unnoticed = []
    for rule in RULES:
        concerned = [name for name, log in LOGS.items() if any(map(rule.match, texts(log)))]
        for name in ("RULES", "_WITHOUT_KEY"):
            some = tuple(other for other in getattr(splats, name) if other is not rule)
            monkeypatch.setattr(splats, name, some)
        if not any(differences(name) for name in concerned):
            unnoticed.append((rule.kind, rule.key))
        monkeypatch.undo()
    assert unnoticed == []


def test_a_report_has_its_place_and_its_text() -> None:
    for name in SINGLE:
        (splat,) = scan(lines(name))
        first = lines(name)[splat.first_line - 1]
        assert splat.excerpt.splitlines()[0].encode() == first, name


def test_the_same_fault_has_the_same_fingerprint() -> None:
    moves = (
        (b"12.345678", b"99.000001"),
        (b"CPU: 0", b"CPU: 3"),
        (b"CPU: 1 ", b"CPU: 2 "),
        (b"PID: 1", b"PID: 7"),
        (b"0xffff888104a2c018", b"0xffff888104aaaaaa"),
        (b"kmemleak: 3", b"kmemleak: 8"),
    )
    for name in SINGLE:
        moved = lines(name)
        for old, new in moves:
            moved = [line.replace(old, new) for line in moved]
        (first,), (second,) = scan(lines(name)), scan(moved)
        assert (first.fingerprint, first.title) == (second.fingerprint, second.title), name


def with_an_end(name: str) -> bool:
    """Tell whether a log holds a report that must have a call trace or a last line."""
    kind = (LOGS[name].expected or ())[0].kind
    whole = not name.startswith(("dropped", "cut"))
    framed = any(splat_report._FRAME.match(line) for line in texts(LOGS[name]))
    return whole and framed and kind in {"warn", "kasan", "lockdep", "oops", "kfence"}


def test_a_report_without_its_frames_is_cut() -> None:
    for name in filter(with_an_end, SINGLE):
        frames = [i for i, line in enumerate(texts(LOGS[name])) if splat_report._FRAME.match(line)]
        (cut, *_) = scan(lines(name)[: frames[0]])
        assert cut.corrupted, name


def test_reports_of_two_cpus_stay_apart_by_their_caller() -> None:
    one = [line.replace(b"[   T88]", b"[   T1]") for line in lines("warn-6.19")]
    two = [
        line.replace(b"[   T88]", b"[   T2]").replace(b"uintr_exit", b"uintr_other")
        for line in lines("warn-6.19")
    ]
    alone = (*scan(one), *scan(two))
    mixed = scan([line for pair in zip(one, two, strict=True) for line in pair])
    assert [(s.title, s.fingerprint, s.excerpt, s.corrupted) for s in mixed] == [
        (s.title, s.fingerprint, s.excerpt, s.corrupted) for s in alone
    ]


def test_a_corrupted_report_is_never_excused(tmp_path: Path) -> None:
    entries = load_known_splats(known(tmp_path / "k.toml", "WARNING"), TODAY)
    assert all(find_excuse(found, entries) for found in scan(lines("warn-6.19")))
    assert [find_excuse(found, entries) for found in scan(lines("cut-warn"))] == [None]


def test_an_excuse_may_name_the_first_line(tmp_path: Path) -> None:
    entries = load_known_splats(known(tmp_path / "k.toml", "warn: WARNING: kernel/uintr.c"), TODAY)
    assert all(find_excuse(found, entries) for found in scan(lines("warn-6.19")))


def test_contexts_are_bounded() -> None:
    forged = [b"[    1.000000][ T%d] WARNING: bad contention detected!" % i for i in range(5000)]
    scanner = splats.Scanner()
    for line in forged:
        scanner.feed(line)
    assert len(scanner._open) <= splats.MAX_OPEN


@pytest.mark.parametrize(
    "filler", [b"a", b" at ", b"): ", b"lock ", b"0000 [#", b"word: ", b"at a:1"]
)
def test_rules_take_no_more_than_their_share_of_time(filler: bytes) -> None:
    """A quadratic expression would take minutes for lines of this length."""
    begun = time.process_time()
    for rule in RULES:
        for line in (rule.key + filler * 20000, filler * 20000 + rule.key):
            rule.match(line[:60000] + line[-100:])
            rule.search(line[:60000] + line[-100:])
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("place", [0, 300, 600, 60_000])
def test_no_rule_sees_more_than_a_part_of_a_line(
    place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are made of each rule's key, repeated or far behind others, with stamps and without."""
    longest = 0

    def first_line(line: bytes, others_stamped: bool | None) -> None:
        nonlocal longest
        longest = max(longest, len(line))

    monkeypatch.setattr(splats, "_first_line", first_line)
    scanner = splats.Scanner()
    for rule in RULES:
        for stamp in (b"", b"[    1.000000] "):
            scanner.feed(stamp + b"x" * place + (rule.key or b"key") * 200)
            scanner.feed(b"x" * place + stamp + (rule.key or b"key") * 200)
    assert 0 < longest <= MATCHED


def test_a_clean_boot_is_clean() -> None:
    assert scan(lines("clean-boot")) == ()


def test_reports_that_follow_each_other_are_told_apart() -> None:
    assert [splat.kind for splat in scan(lines("two-reports"))] == ["warn", "oops", "panic"]


def test_without_time_stamps() -> None:
    bare = [line.partition(b"] ")[2] for line in lines("warn")]
    assert [splat.kind for splat in scan(bare)] == ["warn"]


def test_a_kernel_that_warns_for_ever_is_bounded() -> None:
    assert len(scan(lines("warn") * (MAX_SPLATS * 2))) <= MAX_SPLATS + 1


@given(st.lists(st.binary(max_size=200), max_size=50))
def test_never_raises(noise: list[bytes]) -> None:
    scan(noise)


@given(st.data())
def test_never_raises_on_a_cut_report(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(LOGS)))
    text = (GOLDEN / f"{name}.log").read_bytes()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    scan(text[start:end].splitlines())


# --- excuses -------------------------------------------------------------------------------

ENTRY = """
[[splat]]
match = "{match}"
reason = "known upstream, harmless here"
link = "https://example.org/1"
expires = {expires}
"""


def known(path: Path, match: str, expires: str = "2026-12-31") -> Path:
    path.write_text(ENTRY.format(match=match, expires=expires))
    return path


def splat(kind: str = "warn") -> Splat:
    title = "WARNING: CPU: N PID: N at a.c:1 f+ADDR/ADDR"
    return Splat(kind=kind, title=title, fingerprint=f"{kind}:f|g", first_line=1, excerpt="")


@pytest.mark.parametrize(
    ("match", "excused"), [("warn:f", True), ("warn: WARNING.*a.c", True), ("warn:x", False)]
)
def test_excuses(tmp_path: Path, match: str, excused: bool) -> None:
    entries = load_known_splats(known(tmp_path / "k.toml", match), TODAY)
    assert (find_excuse(splat(), entries) is not None) == excused


@pytest.mark.parametrize("kind", ["panic", "storm"])
def test_panics_and_storms_are_never_excused(tmp_path: Path, kind: str) -> None:
    entries = load_known_splats(known(tmp_path / "k.toml", "WARNING"), TODAY)
    assert find_excuse(splat(), entries)
    assert find_excuse(splat(kind), entries) is None


def test_an_excuse_lasts_to_its_last_day(tmp_path: Path) -> None:
    load_known_splats(known(tmp_path / "k.toml", "warn", "2026-11-22"), TODAY)
    with pytest.raises(UserError, match="expired"):
        load_known_splats(known(tmp_path / "k.toml", "warn", "2026-11-21"), TODAY)


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "[[other]]\n",
        '[[splat]]\nmatch = "warn"\n',
        ENTRY.format(match="(", expires="2026-12-31"),
        ENTRY.format(match="warn", expires='"soon"'),
        ENTRY.format(match="warn", expires="2026-12-31").replace("https", "see"),
        ENTRY.format(match="warn", expires="2026-12-31") + 'extra = "x"\n',
    ],
)
def test_a_malformed_excuse_is_the_users_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.toml").write_text(text)
    with pytest.raises(UserError):
        load_known_splats(tmp_path / "k.toml", TODAY)


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        load_known_splats(tmp_path / "none.toml", TODAY)


def test_the_repositorys_own_excuses_are_narrow() -> None:
    entries = load_known_splats(KNOWN_SPLATS)
    excused = {
        name for name in SINGLE if all(find_excuse(found, entries) for found in scan(lines(name)))
    }
    assert excused == {"kcsan-virtio"}


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
