"""Mutants of a series: which lines, which names, which patch, and in which order."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from harness.artefacts.source.git import Repository
from harness.campaigns.mutants import read_mutant
from harness.campaigns.mutation.candidates import (
    Candidate,
    added_lines,
    candidates_in,
    in_order,
)

SOURCE = b"""\
int old(int a)
{
	return a + 1;
}

int new(int a)
{
	if (a == 3)
		return 4;
	return a + 1;
}
"""
ADDED = set(range(5, 12))


def candidates(source: bytes = SOURCE, added: set[int] = ADDED) -> list[Candidate]:
    return list(candidates_in("x/toy.c", source, added))


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Repository, str]:
    """A repository with a base commit and a patched tree in its index, and the commit."""
    tree = tmp_path / "tree"
    tree.mkdir()
    made = Repository(tmp_path / "repository.git", tree).init()
    (tree / "toy.c").write_bytes(SOURCE[:34])
    (tree / "notes.txt").write_text("one\n")
    made.run("add", "--all")
    base = made.commit(made.run("write-tree"), "base")
    (tree / "toy.c").write_bytes(SOURCE)
    (tree / "more.h").write_text("#define MORE 1\n")
    (tree / "notes.txt").write_text("two\n")
    made.run("add", "--all")
    return made, base


def test_the_lines_that_a_series_adds_are_those_of_its_c_files(
    repository: tuple[Repository, str],
) -> None:
    made, base = repository
    found = added_lines(made, base, ["toy.c", "more.h", "notes.txt", "gone.c"])
    assert found == {"toy.c": ADDED, "more.h": {1}}
    assert added_lines(made, base, ["notes.txt"]) == {}


def test_only_added_lines_are_changed() -> None:
    assert {one.line for one in candidates()} == {8, 9, 10}
    assert candidates(added=set()) == []
    # What is half on a line that was there before is not the series' alone.
    two = b"void f(int a)\n{\n\tg(a,\n\t  3);\n}\n"
    assert {one.rule for one in candidates(two, {3})} == set()
    assert {one.rule for one in candidates(two, {4})} == {"constant"}
    assert "statement-deleted" in {one.rule for one in candidates(two, {3, 4})}


def test_no_two_mutants_have_the_same_text() -> None:
    found = candidates()
    assert len({one.text for one in found}) == len(found)
    assert SOURCE not in {one.text for one in found}
    # One less than 0x1 and 0x1 without its bit are both 0x0.
    texts = [one.text for one in candidates(b"int x = 0x1;\n", {1})]
    assert sorted(texts) == [b"int x = 0x%d;\n" % number for number in (0, 2, 3)]


def test_names_are_unique_and_say_where_and_by_which_rule() -> None:
    found = candidates()
    assert len({one.name for one in found}) == len(found)
    (negated,) = [one for one in found if one.rule == "condition-negated"]
    assert negated.name == f"toy.c-8-condition-negated-{negated.change}"


def test_a_change_keeps_its_digest_when_lines_come_before_it() -> None:
    later = b"int more;\n" + SOURCE
    moved = candidates(later, {line + 1 for line in ADDED})
    assert [one.change for one in moved] == [one.change for one in candidates()]
    assert {one.line for one in moved} == {9, 10, 11}


def test_a_mutant_is_a_patch_that_git_applies(tmp_path: Path) -> None:
    file = tmp_path / "x/toy.c"
    file.parent.mkdir()
    for one in candidates():
        file.write_bytes(SOURCE)
        patch = tmp_path / f"{one.name}.patch"
        patch.write_text(one.patch)
        subprocess.run(["git", "apply", str(patch)], cwd=tmp_path, check=True)
        assert file.read_bytes() == one.text
        read = read_mutant(patch)
        assert read.name == one.name
        assert read.subject == f"{one.rule} at x/toy.c:{one.line}"


# --- the sample ---------------------------------------------------------------------------------


def some(**counts: int) -> list[Candidate]:
    """Return mutants of ``RULE_FILE=COUNT``."""
    return [
        Candidate(f"{key}-{number}", key.partition("_")[2], number, key[0], "", b"", "")
        for key, count in counts.items()
        for number in range(count)
    ]


def test_rules_take_turns_and_so_do_files() -> None:
    order = in_order(some(a_big=90, a_small=2, b_big=50, c_big=1, c_tiny=1), seed=1)
    assert len(order) == len(set(order)) == 144
    assert Counter(one.rule for one in order[:6]) == {"a": 2, "b": 2, "c": 2}
    assert {one.file for one in order if one.rule == "c"} == {"big", "tiny"}
    assert {one.file for one in order[:6] if one.rule == "a"} == {"big", "small"}


def test_a_seed_decides_the_order_whatever_the_order_before() -> None:
    given = some(a_x=20, a_y=20, b_x=20)
    order = in_order(given, seed=7)
    assert in_order(given[::-1], seed=7) == order
    assert in_order(given, seed=8) != order
