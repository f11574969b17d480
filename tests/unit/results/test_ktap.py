"""Properties of the KTAP reader, whatever a guest prints."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.results.ktap.lines import Result, checks_of, classify, decode
from harness.results.ktap.reader import MAX_DEPTH, PROGRAM, CaseResult, KtapReader

FRAGMENTS = [
    b"KTAP version 1", b"TAP version 13", b"TAP version 14", b"1..2", b"1..0 # SKIP no", b"1..1",
    b"ok 1 a", b"not ok 2 b # why", b"ok", b"not ok", b"ok - c", b"ok 3 d # SKIP", b"# Subtest: e",
    b"not ok 1 # TODO x", b"Bail out!", b"# line", b"# checks: A-1, B-2", b"  ", b"    ",
    b"[    1.000000] ", b"\t", b"\n", b"\r\n", b"\n", b"\x00", b"\xff", b"#", b" - ", b"1..",
    b"99999999999", b"---", b"...",
]  # fmt: skip

output = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=6)), max_size=40).map(
    b"".join
)
code = st.one_of(st.none(), st.integers(-70, 260))


def read(pieces: list[bytes], returncode: int | None) -> tuple[list[CaseResult], KtapReader]:
    reader = KtapReader()
    cases = [case for piece in pieces for case in reader.feed(piece)]
    return cases + reader.close(returncode), reader


@given(output, code)
def test_any_bytes_are_read_and_every_line_is_kept(data: bytes, returncode: int | None) -> None:
    cases, reader = read([data], returncode)
    printed = Counter(decode(raw.removesuffix(b"\r")) for raw in data.split(b"\n"))
    kept = Counter(
        line
        for text in [reader.stray, *(case.diagnostics for case in cases)]
        for line in text.split("\n")
    )
    gone = list((printed - kept).elements())
    # What is not kept word by word is the result line of a case, and what it checks.
    gone = [line for line in gone if line and not checks_of(line)]
    assert len(gone) <= sum(not case.synthetic for case in cases)
    assert all(isinstance(classify(_body(line)), Result) for line in gone)


def _body(line: str) -> bytes:
    raw = line.encode()
    return raw[raw.find(b"] ") + 2 :] if raw.startswith(b"[ ") and b"] " in raw else raw


@given(output, code, st.lists(st.integers(0, 400), max_size=8))
def test_pieces_do_not_matter(data: bytes, returncode: int | None, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    whole, one = read([data], returncode)
    parts, other = read(pieces, returncode)
    assert whole == parts
    assert (one.stray, one.problems, one.counts) == (other.stray, other.problems, other.counts)


@given(output, code)
def test_names_are_unique_and_records_survive_json(data: bytes, returncode: int | None) -> None:
    cases, reader = read([data], returncode)
    assert len({case.name for case in cases}) == len(cases)
    assert sum(reader.counts.values()) == len(cases)
    for case in cases:
        assert CaseResult.model_validate_json(case.model_dump_json()) == case


@given(output, code)
def test_a_program_without_a_failure_ended_well(data: bytes, returncode: int | None) -> None:
    cases, _ = read([data], returncode)
    assert cases
    if all(case.status != "fail" for case in cases):
        assert returncode in {0, 4}


# --- a generated tree round-trips ----------------------------------------------------------

word = st.text("abcdefghijklmnopqrstuvwxyz_#\\ äß", min_size=1, max_size=12).map(
    lambda text: text.strip() or "x"
)
note = st.text("abc def:=0123456789", max_size=12)
leaf = st.tuples(word, st.sampled_from(["pass", "fail", "skip"]), st.lists(note, max_size=3))
tree = st.recursive(
    st.lists(leaf, min_size=1, max_size=3),
    lambda inner: st.lists(st.one_of(leaf, st.tuples(word, inner)), min_size=1, max_size=3),
    max_leaves=12,
)
Shape = st.sampled_from(["ktap", "kunit", "tap14"])


def render(nodes: list, depth: int, shape: str) -> tuple[list[str], bool]:  # type: ignore[type-arg]
    pad = ("  " if shape == "ktap" else "    ") * depth
    lines = [f"{pad}1..{len(nodes)}"]
    if shape != "tap14" or depth == 0:
        lines.insert(0, f"{pad}KTAP version 1")
    bad = False
    for number, node in enumerate(nodes, 1):
        name = node[0].replace("\\", "\\\\").replace("#", "\\#")
        if len(node) == 3:
            lines += [f"{pad}# {text}" for text in node[2]]
            failed, tail = node[1] == "fail", " # SKIP later" if node[1] == "skip" else ""
        else:
            inner, failed = render(node[1], depth + 1, shape)
            tail = ""
            if shape == "tap14":
                lines.append(f"{pad}# Subtest: {node[0]}")
            if shape == "kunit":
                inner.insert(1, f"{pad}    # Subtest: {node[0]}")
            lines += inner
        lines.append(f"{pad}{'not ok' if failed else 'ok'} {number} {name}{tail}")
        bad |= failed
    return lines, bad


def leaves(nodes: list, path: str) -> list[tuple[str, str, list[str]]]:  # type: ignore[type-arg]
    found = []
    for node in nodes:
        if len(node) == 3:
            found.append((path + node[0], node[1], node[2]))
        else:
            found += leaves(node[1], path + node[0] + ".")
    return found


@given(tree, Shape)
def test_a_generated_tree_comes_back(nodes: list, shape: str) -> None:  # type: ignore[type-arg]
    lines, bad = render(nodes, 0, shape)
    cases, reader = read(["\n".join(lines).encode() + b"\n"], 1 if bad else 0)
    wanted = leaves(nodes, "")
    assert [case.status for case in cases] == [status for _, status, _ in wanted]
    for case, (name, _, notes) in zip(cases, wanted, strict=True):
        assert case.name == name or case.name.startswith(name + " (")
        assert [line.strip() for line in case.diagnostics.split("\n")] == (
            [f"# {text}".strip() for text in notes] or [""]
        )
    assert not any("unknown" in problem for problem in reader.problems)


# --- single points ---------------------------------------------------------------------------


def test_a_case_is_given_as_soon_as_its_line_ends() -> None:
    reader = KtapReader()
    assert reader.feed(b"KTAP version 1\n1..2\nok 1 a") == []
    assert [case.name for case in reader.feed(b"\n")] == ["a"]


def test_a_nested_case_is_given_at_once_where_its_parent_is_named() -> None:
    reader = KtapReader()
    text = b"KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: out\n  1..2\n  ok 1 in\n"
    assert [case.name for case in reader.feed(text)] == ["out.in"]


@pytest.mark.parametrize(
    ("returncode", "signal", "reason", "words"),
    [
        (-11, None, None, "killed by SIGSEGV"),
        (139, None, None, "killed by SIGSEGV"),
        (None, "SEGV", None, "killed by SIGSEGV"),
        (None, None, None, "without an exit code"),
        (-9, "SIGKILL", "timed out after 30 s", "timed out after 30 s after 1 of 2"),
    ],
)
def test_a_death_is_a_failing_case_that_names_it(
    returncode: int | None, signal: str | None, reason: str | None, words: str
) -> None:
    reader = KtapReader()
    reader.feed(b"KTAP version 1\n1..2\nok 1 a\n# poking\n")
    (case,) = reader.close(returncode, signal=signal, reason=reason, stderr=b"*** smashed\n")
    assert (case.name, case.status, case.synthetic) == (PROGRAM, "fail", True)
    assert words in case.message
    assert "last line: '# poking'" in case.message
    assert case.diagnostics == "# poking\n*** smashed"


def test_a_long_name_is_cut_and_its_line_kept() -> None:
    (case,), _ = read([b"ok 1 " + b"x" * 5000 + b"\n"], 0)
    assert len(case.name) == 201
    assert "x" * 4000 in case.diagnostics
    assert "characters left out" in case.diagnostics


def test_bytes_after_the_end_are_kept() -> None:
    reader = KtapReader()
    reader.feed(b"ok 1 a\n")
    reader.close(0)
    assert reader.feed(b"late\n") == []
    assert reader.close(0) == []
    assert reader.stray == "late"


@pytest.mark.parametrize(
    "block",
    [
        b"x" * (1 << 20),
        b"ok 1 " + b" " * (1 << 20),
        b"ok 1 " + b"# " * (1 << 19),
        b" " * (1 << 20) + b"ok 1",
        b"1..2" + b" " * (1 << 20),
        b"".join(b" " * depth + b"1..9\n" for depth in range(1200)),
        b"ok 1 a\n" * 60_000,
        b"".join(b" " * (depth % 40) + b"ok 1 a\n" for depth in range(30_000)),
    ],
    ids=["line", "spaces", "hashes", "indent", "plan", "depth", "same", "saw"],
)
@pytest.mark.timeout(120)
def test_hostile_input_takes_linear_time(block: bytes) -> None:
    """Quadratic reading of these takes many minutes, and ends at the limit."""
    pieces = [block[start : start + 4096] for start in range(0, len(block), 4096)]
    read(pieces, 1)


def test_depth_has_a_limit_that_is_told() -> None:
    text = b"".join(b" " * depth + b"KTAP version 1\n" for depth in range(MAX_DEPTH + 5))
    cases, _ = read([text], 0)
    assert any("deep" in case.message for case in cases)


def test_what_a_case_checks_is_its_own() -> None:
    output = (
        b"KTAP version 1\n1..3\n# checks: A-1, B-23\n# a: why\nnot ok 1 a\nok 2 b\n"
        b"# checks: C-3\n# checks: C-3,D-4\nok 3 c\n# Totals\n"
    )
    cases, reader = read([output], 1)
    assert [case.checks for case in cases] == [("A-1", "B-23"), (), ("C-3", "D-4")]
    assert [case.diagnostics for case in cases] == ["# a: why", "", ""]
    assert "checks" not in reader.stray


def test_a_case_that_took_its_program_down_is_known_by_what_it_checks() -> None:
    cases, _ = read([b"KTAP version 1\n1..2\n# checks: A-1\nok 1 a\n# checks: B-2\n# la"], -9)
    assert [(case.name, case.status, case.checks) for case in cases] == [
        ("a", "pass", ("A-1",)),
        (PROGRAM, "fail", ("B-2",)),
    ]


@pytest.mark.parametrize(
    "line", [b"# checks: a-1", b"# checks:", b"checks: A-1", b"# checks: A-1 B-2", b"# checks: A"]
)
def test_other_lines_are_diagnostics(line: bytes) -> None:
    (case,), _ = read([b"KTAP version 1\n1..1\n" + line + b"\nok 1 a\n"], 0)
    assert case.checks == ()
    assert case.diagnostics == line.decode()
