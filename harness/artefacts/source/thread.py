"""Threads: which of the mails of a mailbox are the patches to apply, by the rules of b4.

- A mail whose subject begins with ``Re:`` or the like is a reply, whatever its content.
- A mail numbered 0 is a cover letter.
- Any other mail with a diff is a patch. If it answers a mail of the mailbox, it must be numbered;
  or, in a thread without numbers, be marked ``[PATCH]`` and answer a mail of its own author; or be
  a file of ``git format-patch`` that was not sent, which no reviewer can have answered.
- A duplicate of a mail is ignored.
- The patches of a *posting* were sent together: they have the same version and total, and are in
  one thread or, with different numbers, one after the other in the mailbox. A posting of another
  author that answers a patch is a reply.
- A *series* is a posting with its other versions. They answer each other, or have their subjects in
  common. Of several versions the highest is used.
- A version that lacks patches is a partial reroll if each of its patches answers the patch of the
  same number. The other patches are those of the version before.

b4 applies two mails with the same number both. Here one is used if they have the same diff, or if
only one is marked ``RESEND``; otherwise both are named in an error.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.artefacts.source.mail import Kind, Mail
from harness.artefacts.source.patch import open_patch, without_carriage_returns
from harness.errors import UserError

#: Indices of mails in the mailbox.
Group = list[int]

_DIFF = re.compile(rb"^(?:diff |Index: |--- )", re.MULTILINE)
#: What differs in two mails of the same diff: abbreviated hashes, and git's version at the end.
_IRRELEVANT = re.compile(
    rb"^index [0-9a-f]+\.\.[0-9a-f]+(?: \d+)?\n|^-- \n\d[^\n]*\n*\Z", re.MULTILINE
)


def sort_out(mails: Sequence[Mail], where: Path) -> list[Mail]:
    """Return the mails with their kinds, the patches of each series in order.

    :param where: the mailbox, for an error.
    :raise UserError: it is not certain which mails are the patches.
    """
    found = [replace(mail, kind=kind) for mail, kind in zip(mails, _kinds(mails), strict=True)]
    postings = _without_suggestions(found, _postings(found))
    for number, group in enumerate(_series(found, postings, where), 1):
        _choose(found, group, number, where)
    return found


class _Groups:
    """Numbers from 0, which are joined to groups."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, at: int) -> int:
        """Return the number that stands for a number's group."""
        while self._parents[at] != at:
            self._parents[at] = self._parents[self._parents[at]]
            at = self._parents[at]
        return at

    def join(self, one: int, other: int) -> None:
        """Join the groups of two numbers."""
        self._parents[self.root(other)] = self.root(one)

    def groups(self, members: Iterable[int]) -> list[Group]:
        """Return the groups of some numbers, each in order."""
        found: dict[int, Group] = defaultdict(list)
        for at in members:
            found[self.root(at)].append(at)
        return list(found.values())


def _by_id(mails: Sequence[Mail]) -> dict[str, int]:
    """Return the first mail of each Message-ID."""
    return {mail.message_id: at for at, mail in reversed(list(enumerate(mails))) if mail.message_id}


def _threads(mails: Sequence[Mail]) -> _Groups:
    """Return the threads: mails that answer each other, or a mail that is not in the mailbox."""
    groups = _Groups(len(mails))
    first: dict[str, int] = {}
    for at, mail in enumerate(mails):
        for one in (mail.message_id, *mail.answers):
            if one:
                groups.join(first.setdefault(one, at), at)
    return groups


# --- one mail ------------------------------------------------------------------------------


def _kinds(mails: Sequence[Mail]) -> Iterator[Kind]:
    by_id = _by_id(mails)
    threads = _threads(mails)
    numbered = {
        threads.root(at)
        for at, mail in enumerate(mails)
        if mail.subject.count and not mail.subject.is_reply
    }
    seen = set()
    for at, mail in enumerate(mails):
        # Lists change the brackets.
        name = (mail.message_id, mail.label, mail.subject.count, mail.subject.bare)
        if mail.message_id and name in seen:
            yield "duplicate"
            continue
        seen.add(name)
        parents = [by_id[one] for one in mail.answers if by_id.get(one, at) != at]
        parent = mails[min(parents)] if parents else None
        yield _kind(mail, parent, in_numbered=threads.root(at) in numbered)


def _kind(mail: Mail, parent: Mail | None, *, in_numbered: bool) -> Kind:
    subject = mail.subject
    if subject.is_reply:
        return "reply"
    if subject.count is not None and subject.count[0] == 0:
        return "cover letter"
    if not mail.with_diff:
        return "other" if parent is None else "reply"
    if parent is None or subject.count is not None or mail.unsent:
        return "patch"
    by_author = mail.author == parent.author or subject.version > parent.subject.version
    return "patch" if subject.says_patch and by_author and not in_numbered else "reply"


# --- postings ------------------------------------------------------------------------------


def _postings(mails: Sequence[Mail]) -> list[Group]:
    """Return the patches and cover letters that were sent together."""
    groups = _Groups(len(mails))
    members = [at for at, mail in enumerate(mails) if mail.kind in {"patch", "cover letter"}]
    by_id = _by_id(mails)
    siblings: dict[tuple[object, ...], int] = {}
    threads = _threads(mails)
    sizes = Counter(threads.root(at) for at in range(len(mails)))

    def continues(before: int, at: int) -> bool:
        one, other = mails[before], mails[at]
        if one.label != other.label:
            return False
        roots = threads.root(before), threads.root(at)
        if roots[0] == roots[1] or min(sizes[root] for root in roots) > 1:
            return roots[0] == roots[1]
        return one.author == other.author or not (one.message_id and other.message_id)

    before, numbers = -1, set[int]()
    for at in members:
        mail = mails[at]
        for answered in mail.answers:
            parent = by_id.get(answered)
            if parent is not None and mails[parent].label == mail.label:
                groups.join(parent, at)
            groups.join(siblings.setdefault((answered, mail.author, mail.label), at), at)
        number = mail.subject.count[0] if mail.subject.count else 0
        if before >= 0 and number and number not in numbers and continues(before, at):
            groups.join(before, at)
        else:
            numbers = set()
        before = at
        numbers.add(number)
    return groups.groups(members)


def _without_suggestions(mails: list[Mail], postings: Sequence[Group]) -> list[Group]:
    """Mark the postings of reviewers as replies, in place; return the others."""
    by_id = _by_id(mails)
    authors = {at: {mails[one].author for one in group} for group in postings for at in group}
    kept = []
    for group in postings:
        answered = {by_id[one] for at in group for one in mails[at].answers if one in by_id}
        if any(
            mails[at].kind == "patch"
            and not authors.get(at, set()) & authors[group[0]]
            and mails[at].subject.version >= mails[group[0]].subject.version
            for at in answered.difference(group)
        ):
            for at in group:
                mails[at] = replace(mails[at], kind="reply")
        else:
            kept.append(group)
    return kept


# --- series --------------------------------------------------------------------------------


def _series(mails: Sequence[Mail], postings: Sequence[Group], where: Path) -> list[Group]:
    """Return the postings with their other versions, in the order of the mailbox."""
    groups = _Groups(len(postings))
    for one, other in sorted(_candidates(mails, postings)):
        older, newer = sorted((one, other), key=lambda n: mails[postings[n][0]].subject.version)
        if _are_of_one(mails, postings[older], postings[newer], where):
            groups.join(one, other)
    return [
        sorted(at for number in group for at in postings[number])
        for group in groups.groups(range(len(postings)))
    ]


def _candidates(mails: Sequence[Mail], postings: Sequence[Group]) -> set[tuple[int, int]]:
    """Return the pairs of postings that answer each other or have a subject in common."""
    number_of = {at: number for number, group in enumerate(postings) for at in group}
    by_id = _by_id(mails)
    last: dict[tuple[str, str], int] = {}
    pairs = set()
    for at, number in sorted(number_of.items()):
        others = [number_of.get(by_id.get(one, -1), number) for one in mails[at].answers]
        if mails[at].subject.bare:
            name = (mails[at].author, mails[at].subject.bare)
            others.append(last.get(name, number))
            last[name] = number
        pairs |= {(min(one, number), max(one, number)) for one in others if one != number}
    return pairs


def _are_of_one(mails: Sequence[Mail], older: Group, newer: Group, where: Path) -> bool:
    """Tell whether two postings are of one series.

    :raise UserError: they may be, or may be two series with a subject in common.
    """
    versions = mails[older[0]].subject.version, mails[newer[0]].subject.version
    first, second = (_names(mails, group, "patch") for group in (older, newer))
    covers = [_names(mails, group, "cover letter") for group in (older, newer)]
    common = first.keys() & second.keys()
    same_cover = bool(covers[0].keys() & covers[1].keys())
    mostly = 2 * len(common) > min(len(first), len(second))
    if versions[0] == versions[1]:
        # A history may have a subject twice, but not a mail with a Message-ID of its own.
        once = any(mails[at].subject.count is None and not mails[at].message_id for at in newer)
        return (mostly and not once) or (same_cover and bool(common))
    if mostly or (common and same_cover) or _answers(mails, newer, older):
        return True
    if _answers(mails, older, newer) or not (common or same_cover):
        return False
    if all(covers) and not same_cover:
        return False
    name = min(common) if common else min(covers[0].keys() & covers[1].keys())
    one, other = (first, second) if common else covers
    raise UserError(
        f"{mails[one[name]].title} and {mails[other[name]].title} have the same subject: versions "
        "of one series, or two series",
        where=where,
        hint="leave the mails of one in the mbox; if both are needed, apply the other to the tree",
    )


def _names(mails: Sequence[Mail], group: Group, kind: Kind) -> dict[tuple[str, str], int]:
    """Return authors and subjects of a posting's mails of a kind."""
    found = [at for at in group if mails[at].kind == kind and mails[at].subject.bare]
    return {(mails[at].author, mails[at].subject.bare): at for at in found}


def _answers(mails: Sequence[Mail], group: Group, other: Group) -> bool:
    ids = {mails[at].message_id for at in other} - {""}
    return any(not ids.isdisjoint(mails[at].answers) for at in group)


# --- versions ------------------------------------------------------------------------------


def _choose(mails: list[Mail], members: Group, number: int, where: Path) -> None:
    """Sort the patches of a series that are used, and mark the others; in place."""
    versions: dict[tuple[int, int], Group] = defaultdict(list)
    for at in members:
        if mails[at].kind == "patch":
            versions[mails[at].subject.version].append(at)
    if not versions:
        return
    chosen = set(_latest(mails, versions, where))
    used = sorted(chosen)
    for at in members:
        if at in chosen:
            mails[at] = replace(mails[at], series=number)
        elif mails[at].kind == "patch":
            mails[at] = replace(mails[at], kind="older version")
    counts = [mails[at].subject.count for at in used]
    known = [count for count in counts if count is not None]
    if len(known) == len(set(known)) == len(used) and len({total for _, total in known}) == 1:
        ordered = sorted((mails[at] for at in used), key=lambda mail: mail.subject.count or (0, 0))
        for at, mail in zip(used, ordered, strict=True):
            mails[at] = mail


def _latest(mails: list[Mail], versions: dict[tuple[int, int], Group], where: Path) -> Group:
    """Return the patches of the highest version, completed if it is a partial reroll."""
    ordered = sorted(versions, reverse=True)
    used = _one_of_each(mails, versions[ordered[0]], where)
    for version, before in itertools.pairwise(ordered):
        counts = {mails[at].subject.count for at in used}
        totals = {count[1] for count in counts if count}
        if None in counts or len(totals) != 1 or len(counts) >= min(totals):
            break
        if before[0] < version[0] - 1:
            break
        older = [at for one in ordered if one < version for at in versions[one]]
        by_id = _by_id(mails)
        if not all(_rerolls(mails, at, older, by_id) for at in versions[version]):
            break
        rest = _one_of_each(mails, versions[before], where)
        used += [
            at
            for at in rest
            if (count := mails[at].subject.count) and count not in counts and count[1] in totals
        ]
    return used


def _rerolls(mails: Sequence[Mail], at: int, older: Group, by_id: Mapping[str, int]) -> bool:
    """Tell whether a patch replaces the one of its number: it answers it, or is a ``v1.1``."""
    same = {one for one in older if mails[one].subject.count == mails[at].subject.count}
    if mails[at].subject.version[1]:
        return bool(same)
    seen: set[int] = set()
    ahead = [at]
    while ahead:
        current = ahead.pop()
        if current in same:
            return True
        if current not in seen:
            seen.add(current)
            ahead += [by_id[one] for one in mails[current].answers if one in by_id]
    return False


def _one_of_each(mails: list[Mail], members: Group, where: Path) -> Group:
    """Return the patches of a version without those that were sent again; mark these in place.

    The first of two with the same diff is used. A resend with another diff takes its place.

    :raise UserError: two mails have the same number, and neither rule applies.
    """
    used: dict[object, int] = {}
    for at in members:
        subject = mails[at].subject
        # A history may have a subject twice.
        key = (mails[at].commit or at,) if mails[at].unsent else subject.bare
        first = used.setdefault(subject.count[0] if subject.count else key, at)
        if first == at:
            continue
        if _diff(mails[first]) == _diff(mails[at]):
            mails[at] = replace(mails[at], kind="duplicate")
            continue
        if mails[first].subject.says_resend == subject.says_resend:
            raise UserError(
                f"{mails[first].title} and {mails[at].title} are the same patch of a series, with "
                "different diffs",
                where=where,
                hint="remove the one that is not to be applied from the mbox",
            )
        if subject.says_resend:
            mails[first], mails[at] = mails[at], mails[first]
        mails[at] = replace(mails[at], kind="sent again")
    return list(used.values())


def _diff(mail: Mail) -> bytes:
    """Return a mail's diff without what differs when the same change is sent again."""
    text = without_carriage_returns(open_patch(mail.patch).diff)
    start = _DIFF.search(text)
    return _IRRELEVANT.sub(b"", text[start.start() :] if start else text).rstrip(b"\n")
