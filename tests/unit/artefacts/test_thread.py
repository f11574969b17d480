"""Resends, rerolls and several series in a mailbox: which patches are applied, and what is said."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.artefacts.source.mail import read_subject
from harness.errors import UserError

from .conftest import Fetch, added, mail


def pair(mark: str, *names: str, id_: str = "") -> list[bytes]:
    """Return the two mails of a series, which add files of these names."""
    subjects = zip(("x", "y"), names, strict=True)
    return [
        mail(f"[PATCH{mark} {n}/2] {subject}", name, id_=id_ and f"{id_}{n}",
             answers=f"{id_}1" if id_ and n > 1 else "")
        for n, (subject, name) in enumerate(subjects, 1)
    ]  # fmt: skip


# --- two mails with the same number --------------------------------------------------------


@pytest.mark.parametrize("mark", ["", " RESEND"])
@pytest.mark.parametrize("ids", [("", ""), ("first", "second")])
def test_a_series_that_was_sent_twice_is_applied_once(
    fetch: Fetch, mark: str, ids: tuple[str, str]
) -> None:
    patches, notes = fetch(*pair("", "a", "b", id_=ids[0]), *pair(mark, "a", "b", id_=ids[1]))
    assert added(patches) == ["a", "b"]
    assert notes == [
        "mbox: 4 mails: 2 patches, 2 duplicates",
        f"not applied, duplicate: mail 0003 ([PATCH{mark} 1/2] x)",
        f"not applied, duplicate: mail 0004 ([PATCH{mark} 2/2] y)",
    ]


def test_the_same_diff_may_have_other_hashes_and_come_from_another_git(fetch: Fetch) -> None:
    """A diff that differs only in what the sender's git writes is the same change."""
    first = mail("[PATCH 1/1] x", "a", id_="1")
    again = mail("[PATCH 1/1] x", "a", id_="2", answers="1").replace(b"2.39", b"2.47.1")
    first, again = (
        one.replace(b"--- /dev", b"index 0000000.." + hash_ + b"\n--- /dev")
        for one, hash_ in ((first, b"1234567"), (again, b"12345678"))
    )
    patches, notes = fetch(first, again)
    assert added(patches) == ["a"]
    assert "1 duplicate" in notes[0]


@pytest.mark.parametrize("order", [1, -1])
def test_a_resend_with_another_diff_takes_the_place_of_the_first(fetch: Fetch, order: int) -> None:
    mails = [
        mail("[PATCH 1/2] x", "old", id_="1"),
        mail("[PATCH 2/2] y", "b", id_="2", answers="1"),
        mail("[PATCH RESEND 1/2] x", "new", id_="3", answers="1"),
    ]
    patches, notes = fetch(*mails[::order])
    assert added(patches) == ["new", "b"]
    assert notes[0] == "mbox: 3 mails: 2 patches, 1 patch that was sent again"
    assert notes[1].endswith("([PATCH 1/2] x)")


@pytest.mark.parametrize("who", ["dev", "rev"])
def test_two_diffs_with_one_number_are_refused_by_name(fetch: Fetch, who: str) -> None:
    """Both could be meant; b4 applies both."""
    told = r"mail 0002 \(\[PATCH 2/2\] y\) and mail 0003 \(\[PATCH 2/2\] better\)"
    with pytest.raises(UserError, match=told) as caught:
        fetch(
            *pair("", "a", "b", id_="p"),
            mail("[PATCH 2/2] better", "c", id_="3", answers="p2", who=who),
        )
    assert (caught.value.where or "").endswith("mbox")
    assert "remove the one" in (caught.value.hint or "")


def test_one_patch_without_a_number_that_was_sent_twice(fetch: Fetch) -> None:
    twice = [mail("[PATCH] x", "a", id_="1"), mail("[PATCH] x", "a", id_="2")]
    assert added(fetch(*twice)[0]) == ["a"]
    with pytest.raises(UserError, match=r"mail 0001 .* and mail 0002 .* the same patch"):
        fetch(twice[0], mail("[PATCH] x", "b", id_="2"))


def test_a_history_may_have_a_subject_twice(fetch: Fetch) -> None:
    """``git format-patch`` gives no Message-ID, so that these are two commits."""
    assert added(fetch(mail("[PATCH] x", "a"), mail("[PATCH] x", "b"))[0]) == ["a", "b"]


def test_copies_of_a_mail_are_one_mail_whatever_was_done_to_them(fetch: Fetch) -> None:
    """A Message-ID is of one mail, so that b4 looks at its first copy only."""
    patches, notes = fetch(mail("[PATCH] x", "a", id_="1"), mail("[PATCH] x", "b", id_="1"))
    assert added(patches) == ["a"]
    assert "not applied, duplicate: mail 0002 ([PATCH] x)" in notes


def test_a_list_may_put_its_name_into_the_subject(fetch: Fetch) -> None:
    patches, notes = fetch(
        mail("[PATCH] x", "a", id_="1"),
        mail("[devel] [PATCH] x", "a", id_="1").replace(b"2.39\n", b"2.39\n____\nlist\n"),
        mail("[PATCH] y", "b", id_="2"),
    )
    assert added(patches) == ["a", "b"]
    assert "not applied, duplicate: mail 0002 ([devel] [PATCH] x)" in notes


# --- several series --------------------------------------------------------------------------


def test_two_series_of_one_version_are_told_apart_by_their_numbers(fetch: Fetch) -> None:
    patches, notes = fetch(
        mail("[PATCH 1/2] needed", "a"),
        mail("[PATCH 2/2] MAINTAINERS: add", "b"),
        mail("[PATCH 1/2] own", "c"),
        mail("[PATCH 2/2] MAINTAINERS: add", "d"),
    )
    assert added(patches) == ["a", "b", "c", "d"]
    assert notes[-1] == (
        "mbox: 2 series, which begin with mail 0001 ([PATCH 1/2] needed), "
        "mail 0003 ([PATCH 1/2] own)"
    )


def test_series_with_a_common_subject_and_other_versions_are_refused_by_name(fetch: Fetch) -> None:
    told = r"mail 0004 \(\[PATCH 2/2\] MAINT\) and mail 0002 \(\[PATCH v3 2/2\] MAINT\)"
    with pytest.raises(UserError, match=told) as caught:
        fetch(
            mail("[PATCH v3 1/2] needed", "a"),
            mail("[PATCH v3 2/2] MAINT", "b"),
            mail("[PATCH 1/2] own", "c"),
            mail("[PATCH 2/2] MAINT", "d"),
        )
    assert "leave the mails of one" in (caught.value.hint or "")


def test_series_with_a_common_cover_letter_are_refused_by_name(fetch: Fetch) -> None:
    with pytest.raises(UserError, match=r"\[PATCH 0/1\] fixes.*\[PATCH v2 0/1\] fixes"):
        fetch(
            mail("[PATCH v2 0/1] fixes", id_="1"),
            mail("[PATCH v2 1/1] x", "a", id_="2", answers="1"),
            mail("[PATCH 0/1] fixes", id_="3"),
            mail("[PATCH 1/1] y", "b", id_="4", answers="3"),
        )


def test_cover_letters_tell_series_with_a_common_subject_apart(fetch: Fetch) -> None:
    patches, _ = fetch(
        mail("[PATCH v3 0/2] needed"),
        mail("[PATCH v3 1/2] base", "a"),
        mail("[PATCH v3 2/2] MAINT", "b"),
        mail("[PATCH 0/2] own"),
        mail("[PATCH 1/2] work", "c"),
        mail("[PATCH 2/2] MAINT", "d"),
    )
    assert added(patches) == ["a", "b", "c", "d"]


def test_versions_may_have_few_subjects_in_common_if_one_answers_the_other(fetch: Fetch) -> None:
    patches, _ = fetch(
        mail("[PATCH 1/2] a", "a", id_="1"),
        mail("[PATCH 2/2] b", "b", id_="2", answers="1"),
        mail("[PATCH v2 1/2] c", "c", id_="3", answers="1"),
        mail("[PATCH v2 2/2] b", "d", id_="4", answers="3"),
    )
    assert added(patches) == ["c", "d"]


def test_a_series_that_answers_a_higher_version_is_no_older_one(fetch: Fetch) -> None:
    """A series may be sent as an answer to the one that it needs."""
    patches, notes = fetch(
        mail("[PATCH v3 1/1] needed", "a", id_="1"),
        mail("[PATCH 0/1] own", id_="2", answers="1"),
        mail("[PATCH 1/1] work", "b", id_="3", answers="2"),
    )
    assert added(patches) == ["a", "b"]
    assert "2 series" in notes[-1]


def test_a_cover_letter_begins_a_series(fetch: Fetch) -> None:
    """It is not of the series before it, which has the same version and total."""
    patches, _ = fetch(
        mail("[PATCH 1/2] needed", "a"),
        mail("[PATCH 2/2] base", "b"),
        mail("[PATCH 0/2] own"),
        mail("[PATCH 1/2] work", "c"),
        mail("[PATCH 2/2] MAINT", "d"),
        mail("[PATCH v2 0/2] own"),
        mail("[PATCH v2 1/2] other work", "e"),
        mail("[PATCH v2 2/2] MAINT", "f"),
    )
    assert added(patches) == ["a", "b", "e", "f"]


def test_lone_mails_of_two_authors_are_not_of_one_series(fetch: Fetch) -> None:
    mails = mail("[PATCH 2/2] y", "b", id_="1"), mail("[PATCH 1/2] x", "a", id_="2", who="other")
    with pytest.raises(UserError, match="lacks patch 1 of 2"):
        fetch(*mails)


def test_a_series_may_answer_one_with_a_common_subject(fetch: Fetch) -> None:
    patches, _ = fetch(
        mail("[PATCH v3 1/2] base", "a", id_="1"),
        mail("[PATCH v3 2/2] MAINT", "b", id_="2", answers="1"),
        mail("[PATCH 1/2] work", "c", id_="3", answers="1"),
        mail("[PATCH 2/2] MAINT", "d", id_="4", answers="3"),
    )
    assert added(patches) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("order", ["aAbB", "bBAa", "aBbA", "BabA"])
def test_series_in_threads_may_be_mixed_without_their_cover_letters(
    fetch: Fetch, order: str
) -> None:
    mails = {
        name: mail(f"[PATCH {1 + (name in 'bB')}/2] {name}", name, id_=name,
                   answers="second" if name.isupper() else "first")
        for name in "abAB"
    }  # fmt: skip
    patches, _ = fetch(*(mails[name] for name in order))
    found = added(patches)
    assert [name for name in found if name.islower()] == ["a", "b"]
    assert [name for name in found if name.isupper()] == ["A", "B"]


def test_a_reviewer_s_numbered_patch_is_a_reply(fetch: Fetch) -> None:
    patches, notes = fetch(
        *pair("", "a", "b", id_="p"),
        mail("[PATCH 1/1] fix it", "c", id_="3", answers="p2", who="rev"),
    )
    assert added(patches) == ["a", "b"]
    assert "not applied, reply: mail 0003 ([PATCH 1/1] fix it)" in notes
    own = mail("[PATCH 1/1] more", "c", id_="3", answers="p2")
    assert added(fetch(*pair("", "a", "b", id_="p"), own)[0]) == ["a", "b", "c"]


def test_mails_without_threads_are_sorted_by_their_numbers(fetch: Fetch) -> None:
    one, two = pair("", "a", "b"), pair("", "c", "d")
    two = [mail_.replace(b"] x", b"] s").replace(b"] y", b"] t") for mail_ in two]
    assert added(fetch(one[1], one[0], two[0], two[1])[0]) == ["a", "b", "c", "d"]


def test_the_highest_version_is_applied_whoever_sent_it(fetch: Fetch) -> None:
    """As by b4. A reviewer who sends a version of the whole series numbers it as one."""
    patches, notes = fetch(
        *pair("", "a", "b", id_="p"),
        mail("[PATCH v3 1/1] another way", "c", id_="3", answers="p2", who="rev"),
    )
    assert added(patches) == ["c"]
    assert notes[0] == "mbox: 3 mails: 1 patch, 2 patches of an older version"


def test_the_mails_of_two_series_may_be_mixed(fetch: Fetch) -> None:
    one, two = pair("", "a", "b", id_="p"), pair("", "c", "d", id_="q")
    two = [mail_.replace(b"] x", b"] s").replace(b"] y", b"] t") for mail_ in two]
    assert added(fetch(one[1], two[1], two[0], one[0])[0]) == ["a", "c", "d", "b"]


def test_a_patch_sent_again_may_have_other_line_ends(fetch: Fetch) -> None:
    first = mail("[PATCH 1/2] one", "a", id_="1")
    again = mail("[PATCH 1/2] one", "a", id_="2").replace(b"\n+", b"\r\n+") + b"\n\n\n"
    patches, notes = fetch(first, again, mail("[PATCH 2/2] two", "b", id_="3", answers="1"))
    assert added(patches) == ["a", "b"]
    assert "not applied, duplicate: mail 0002 ([PATCH 1/2] one)" in notes


# --- subjects --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "mm: [memcg] fix", "usb: [foo] fix", "[PATCH] mm: [memcg] fix", "[memcg] fix", "rem: x",
        "[PATCH 1/2] Re: x is broken", "net: sched: [v] fix", "x86: [PATCH",
        "[PATCH 1/2] WG: [PATCH] in a subject", "recover: [1/2] of the memory",
    ],
)  # fmt: skip
def test_brackets_inside_a_subject_make_no_reply(text: str) -> None:
    assert not read_subject(text).is_reply


@pytest.mark.parametrize(
    "text",
    [
        "Re: [PATCH 1/2] x", "RE:[PATCH 1/2] x", "re : [PATCH] x", "Re[2]: [PATCH] x", "Re: x",
        "Re: Re: [PATCH] x", "AW: [PATCH v2] x", "Fwd: [PATCH] x", "WG: [PATCH 1/2] x",
        "[devel] Re: [PATCH 1/2] x", "回复: [PATCH] x", "答复\uff1a[PATCH] x", "TR: [v2,1/2] x",
        "[devel] VS: [PATCH] x", "RES: [RFC PATCH v2 1/2] x",
    ],
)  # fmt: skip
def test_subjects_of_replies(text: str) -> None:
    assert read_subject(text).is_reply


def test_only_brackets_at_the_start_are_read() -> None:
    subject = read_subject("[RFC PATCHv2 RESEND 3/4] mm: [v7 1/9] fix")
    assert (subject.version, subject.count) == ((2, 0), (3, 4))
    assert subject.says_patch
    assert subject.says_resend
    assert subject.bare == "mm: [v7 1/9] fix"
    assert read_subject("mm: [PATCH 1/2] fix").count is None


def test_a_patch_with_brackets_inside_its_subject_is_applied(fetch: Fetch) -> None:
    patches, notes = fetch(mail("mm: [memcg] fix", "a"), mail("lib: other", "b"))
    assert added(patches) == ["a", "b"]
    assert notes == ["mbox: 2 mails: 2 patches"]


def test_a_title_is_short_and_has_no_control_characters(fetch: Fetch) -> None:
    _, notes = fetch(mail("[PATCH] x", "a"), mail("Re: \x1b[31m" + "y" * 9000))
    assert "\x1b" not in notes[1]
    assert len(notes[1]) < 250


# --- files of git format-patch -------------------------------------------------------------


def unsent(mails: list[bytes], commits: Sequence[int] = range(1, 99)) -> list[bytes]:
    """Return mails as `git format-patch` separates them."""
    return [
        b"From %040x Mon Sep 17 00:00:00 2001\n" % commit + one.partition(b"\n")[2]
        for one, commit in zip(mails, commits, strict=False)
    ]


def test_a_history_of_several_authors_is_no_discussion(fetch: Fetch) -> None:
    """`format-patch -N --thread`: without numbers, each patch answers the first."""
    mails = [
        mail("[PATCH] one", "a", id_="1"),
        mail("[PATCH] two", "b", id_="2", answers="1", who="bob"),
    ]
    patches, _ = fetch(*mails)
    assert added(patches) == ["a"]
    patches, notes = fetch(*unsent(mails))
    assert added(patches) == ["a", "b"]
    assert len(notes) == 1


def test_a_threaded_history_may_have_a_subject_twice(fetch: Fetch) -> None:
    mails = [
        mail("[PATCH] wip", "a", id_="1"),
        mail("[PATCH] wip", "b", id_="2", answers="1"),
    ]
    with pytest.raises(UserError, match="the same patch of a series"):
        fetch(*mails)
    patches, _ = fetch(*unsent(mails))
    assert added(patches) == ["a", "b"]


def test_a_commit_that_is_there_twice_is_applied_once(fetch: Fetch) -> None:
    mails = [
        mail("[PATCH] wip", "a", id_="1"),
        mail("[PATCH] wip", "b", id_="2", answers="1"),
        mail("[PATCH] wip", "a", id_="3", answers="1"),
    ]
    patches, notes = fetch(*unsent(mails, [1, 2, 1]))
    assert added(patches) == ["a", "b"]
    assert notes[1] == "not applied, duplicate: mail 0003 ([PATCH] wip)"


def test_a_reviewer_s_patch_made_with_zero_commit_is_a_reply(fetch: Fetch) -> None:
    mails = [
        mail("[PATCH] one", "a", id_="1"),
        mail("[PATCH] rather this", "b", id_="2", answers="1", who="rev"),
    ]
    assert added(fetch(*unsent(mails, [1, 0]))[0]) == ["a"]
    history = [mail("[PATCH] wip", "a"), mail("[PATCH] wip", "b", who="bob")]
    assert added(fetch(*unsent(history, [0, 0]))[0]) == ["a", "b"]


def test_numbers_as_mercurial_writes_them() -> None:
    assert read_subject("[PATCH 0 of 2] x").count == (0, 2)
    assert read_subject("[PATCH 2 of 2 V3] x").count == (2, 2)
    assert read_subject("[PATCH 2 of 2 V3] x").version == (3, 0)
