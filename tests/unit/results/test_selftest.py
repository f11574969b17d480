"""The output of the kernel's selftests, in KTAP, in the form of x86's, and in none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.results.ktap.reader import PROGRAM, CaseResult, KtapReader
from harness.results.ktap.selftest import SelftestReader

X86 = b"""setting up
[RUN]\tfirst thing
\tdetails
[OK]\tit held
[RUN]\tsecond thing
[FAIL]\tit did not
\t[SKIP]\tno such CPU
[RUN]\tfirst thing
[OK]\tonce more
the end
"""

KTAP = b"""# in a good mood
TAP version 13
1..2
ok 1 first
# got 3
not ok 2 second
"""


def read(
    pieces: list[bytes], returncode: int | None = 0, **how: object
) -> tuple[list[CaseResult], SelftestReader]:
    reader = SelftestReader()
    cases = [case for piece in pieces for case in reader.feed(piece)]
    return cases + reader.close(returncode, **how), reader  # type: ignore[arg-type]


def short(cases: list[CaseResult]) -> list[tuple[str, str, str]]:
    return [(case.name, case.status, case.message) for case in cases]


def test_lines_of_x86_are_cases() -> None:
    cases, reader = read([X86], 1)
    assert short(cases) == [
        ("first thing", "pass", "it held"),
        ("second thing", "fail", "it did not"),
        ("second thing (2)", "skip", "no such CPU"),
        ("first thing (2)", "pass", "once more"),
    ]
    assert cases[0].diagnostics.splitlines()[0] == "setting up"
    assert "\tdetails" in cases[0].diagnostics
    assert reader.stray == "the end"
    assert dict(reader.counts) == {"pass": 2, "fail": 1, "skip": 1}


def test_a_case_that_nothing_announced_goes_by_its_place() -> None:
    cases, _ = read([b"[OK]\tthat\n[OK]\tthis\n"])
    assert short(cases) == [("case 1", "pass", "that"), ("case 2", "pass", "this")]


@pytest.mark.parametrize(
    ("returncode", "how", "status", "message"),
    [
        (0, {}, "pass", "exit code 0"),
        (4, {}, "skip", "needs a TPM"),
        (1, {}, "fail", "exit code 1; last line: 'needs a TPM'"),
        (2, {}, "fail", "exit code 2; last line: 'needs a TPM'"),
        (None, {"signal": "SEGV"}, "fail", "SIGSEGV; last line: 'needs a TPM'"),
        (
            None,
            {"reason": "it took too long"},
            "fail",
            "it took too long; last line: 'needs a TPM'",
        ),
    ],
)
def test_without_cases_the_exit_code_is_the_verdict(
    returncode: int | None, how: dict[str, str], status: str, message: str
) -> None:
    (case,), _ = read([b"Hello\nneeds a TPM\n\n"], returncode, **how)
    assert (case.name, case.status, case.synthetic) == (PROGRAM, status, True)
    assert case.diagnostics == "Hello\nneeds a TPM\n"
    words = message.split("; ")
    assert all(word in case.message for word in words)


def test_what_passed_until_it_failed() -> None:
    cases, _ = read([b"[OK]\tgood\nthen it broke\n"], 1)
    assert short(cases) == [
        ("case 1", "pass", "good"),
        (PROGRAM, "fail", "exit code 1; last line: 'then it broke'"),
    ]


def test_an_exit_code_that_hides_a_failure_is_odd_and_the_failure_stays() -> None:
    cases, reader = read([b"[FAIL]\tbad\n"], 0)
    assert short(cases) == [("case 1", "fail", "bad")]
    assert reader.problems == ("exit code 0, although a case failed",)


def test_ktap_is_read_as_such_with_what_came_before_it() -> None:
    cases, reader = read([KTAP], 1)
    plain = KtapReader()
    assert cases == plain.feed(KTAP) + plain.close(1)
    assert [(case.name, case.status) for case in cases] == [("first", "pass"), ("second", "fail")]
    assert reader.stray == plain.stray
    assert reader.counts == plain.counts


def test_lines_in_the_form_of_x86_within_ktap_are_no_cases() -> None:
    cases, _ = read([KTAP.replace(b"# got 3", b"[FAIL]\tgot 3")], 1)
    assert [case.name for case in cases] == ["first", "second"]


def test_a_case_is_given_the_moment_its_line_is_complete() -> None:
    reader = SelftestReader()
    assert reader.feed(b"[RUN]\ta\n[OK]") == []
    assert [case.name for case in reader.feed(b"\tgood\n")] == ["a"]
    reader = SelftestReader()
    assert reader.feed(b"1..2\nok 1 fi") == []
    assert [case.name for case in reader.feed(b"rst\n")] == ["first"]


PIECES = [
    *(b"[RUN]\ta", b"[OK]\tb", b"[FAIL] c", b"[SKIP]", b"[OK", b"1..2", b"TAP version 13"),
    *(b"ok 1 a", b"not ok 2 b", b"\n", b"\r\n", b"\n", b"\t", b"\x00", b"\xff", b"words"),
]
output = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)), max_size=30)


@given(output, st.one_of(st.none(), st.integers(-70, 260)))
def test_any_bytes_are_read_and_cuts_change_nothing(
    pieces: list[bytes], returncode: int | None
) -> None:
    whole, reader = read([b"".join(pieces)], returncode)
    cut, other = read(pieces, returncode)
    assert (whole, reader.stray, reader.problems) == (cut, other.stray, other.problems)
    assert whole or returncode == 0
    if returncode not in (0, 4):
        assert any(case.status == "fail" for case in whole)
