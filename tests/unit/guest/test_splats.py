"""Golden console logs, each with its own expectation, and excuses."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guest.limits import MATCHED
from harness.guest.verdict import splat_report, splats
from harness.guest.verdict.splat_rules import RULES
from harness.guest.verdict.splats import scan
from harness.guest.verdict.storm import MAX_SPLATS

from .golden_logs import GOLDEN, LOGS, SINGLE, differences, lines, texts


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
