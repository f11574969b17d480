"""All mutants of a series, and a reproducible sample.

A mutant is a change by rule (:mod:`harness.campaigns.mutation.rules`) of lines that the series
adds. It has a name of its file, line and rule, and of what changes into what; the last part stays
the same when lines before it come or go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple, TypeVar

from unidiff.patch import PatchSet

from harness.artefacts.source.git import COMMITTER, Repository
from harness.campaigns.mutation.rules import RULES, changes

T = TypeVar("T")

#: Lines around a change that its patch shows.
_CONTEXT = 3
_SUFFIXES = (".c", ".h", ".inc")
#: Characters of a change's digest: a million changes share none by chance but once in 500 series.
_DIGEST = 12
_DATE = "Mon, 13 Sep 2021 00:00:00 +0000"
_MAIL = """\
From {zeros} Mon Sep 17 00:00:00 2001
From: {who}
Date: {date}
Subject: [PATCH] {rule} at {file}:{line}

Made by rule: {what}.
---
{diff}"""


class Candidate(NamedTuple):
    """One mutant."""

    #: ``FILE-LINE-RULE-CHANGE``; that of its patch, without the suffix.
    name: str
    file: str
    line: int
    rule: str
    #: A digest of what changes into what, with the lines around it.
    change: str
    #: The whole changed file.
    text: bytes
    diff: str

    @property
    def patch(self) -> str:
        """A mail as ``git format-patch`` writes it, which ``mutants --from`` takes."""
        who = COMMITTER.partition(">")[0] + ">"
        return _MAIL.format(
            zeros="0" * 40,
            who=who,
            date=_DATE,
            rule=self.rule,
            file=self.file,
            line=self.line,
            what=RULES[self.rule],
            diff=self.diff,
        )


def added_lines(repository: Repository, base: str, files: Iterable[str]) -> dict[str, set[int]]:
    """Return, by C file, the lines that a series adds.

    :param repository: whose index holds the patched tree.
    :param base: the commit that the series is put on.
    :param files: those that the series touches.
    """
    wanted = sorted(file for file in files if file.endswith(_SUFFIXES))
    if not wanted:
        return {}
    # Our repositories have every file be a big one, which git takes for a binary (--text).
    diff = repository.run("diff", "--cached", "--text", "--no-renames", "-U0", base, "--", *wanted)
    found: dict[str, set[int]] = {}
    for file in PatchSet(diff + "\n"):
        lines = {line.target_line_no for hunk in file for line in hunk if line.is_added}
        if lines:
            found[file.path] = {line for line in lines if line is not None}
    return found


def candidates_in(file: str, source: bytes, added: set[int]) -> Iterator[Candidate]:
    """Give each mutant of a file; no two have the same text."""
    seen = {source}
    before = source.split(b"\n")
    for change in changes(source, added):
        first = source.count(b"\n", 0, change.start) + 1
        last = first + source.count(b"\n", change.start, change.end)
        if not added.issuperset(range(first, last + 1)):
            continue
        text = change.apply(source)
        if text not in seen:
            seen.add(text)
            hunk = _hunk(before, text.split(b"\n"), first - 1, last)
            yield _candidate(file, first, change.rule, hunk, text)


def _hunk(before: Sequence[bytes], after: Sequence[bytes], first: int, last: int) -> list[str]:
    """Return the lines of the one hunk of a change, which keeps the number of lines.

    :param first: the place of the first line of the change; ``last``: of the one behind it.
    """
    start, end = max(0, first - _CONTEXT), min(len(before) - 1, last + _CONTEXT)
    lines = [
        *(b" " + line for line in before[start:first]),
        *(b"-" + line for line in before[first:last]),
        *(b"+" + line for line in after[first:last]),
        *(b" " + line for line in before[last:end]),
    ]
    head = f"@@ -{start + 1},{end - start} +{start + 1},{end - start} @@"
    return [head, *(line.decode(errors="surrogateescape") for line in lines)]


def _candidate(file: str, line: int, rule: str, hunk: Sequence[str], text: bytes) -> Candidate:
    told = "\n".join((file, rule, *hunk[1:])).encode(errors="surrogateescape")
    change = sha256(told).hexdigest()[:_DIGEST]
    name = f"{file.rpartition('/')[2]}-{line}-{rule}-{change}"
    head = (f"diff --git a/{file} b/{file}", f"--- a/{file}", f"+++ b/{file}")
    return Candidate(name, file, line, rule, change, text, "\n".join((*head, *hunk, "")))


def in_order(candidates: Sequence[Candidate], seed: int) -> list[Candidate]:
    """Return mutants in the order of a seed: rules take turns, and a rule's files do.

    A larger sample begins with the smaller one.
    """

    def drawn(text: str) -> str:
        return sha256(f"{seed} {text}".encode()).hexdigest()

    groups: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(candidates, key=lambda one: drawn(one.name)):
        groups[one.rule][one.file].append(one)
    rules = [
        list(_in_turn([files[file] for file in sorted(files, key=lambda f: drawn(f"{rule} {f}"))]))
        for rule, files in sorted(groups.items(), key=lambda item: drawn(item[0]))
    ]
    return list(_in_turn(rules))


def _in_turn(lists: Sequence[Sequence[T]]) -> Iterator[T]:
    """Give the first of each list, then the second of each, until all are empty."""
    for place in range(max(map(len, lists), default=0)):
        for one in lists:
            if place < len(one):
                yield one[place]
