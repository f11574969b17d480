"""Partial rerolls in a mailbox, compared with b4: which patches come from which version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UserError

from .conftest import Fetch, added, mail

SERIES = (
    mail("[PATCH 0/3] all", id_="c"),
    mail("[PATCH 1/3] x", "x", id_="1", answers="c"),
    mail("[PATCH 2/3] y", "y", id_="2", answers="c"),
    mail("[PATCH 3/3] z", "z", id_="3", answers="c"),
)
REROLL = mail("[PATCH v2 2/3] y", "y2", id_="4", answers="2")
REROLLS = {
    "one patch": ((*SERIES, REROLL), ["x", "y2", "z"]),
    "two versions": (
        (*SERIES, REROLL, mail("[PATCH v3 3/3] z", "z3", id_="5", answers="3")),
        ["x", "y2", "z3"],
    ),
    "behind a review": (
        (
            *SERIES,
            mail("Re: [PATCH 1/3] x", id_="r", answers="1", who="rev"),
            mail("[PATCH v2 1/3] x", "x2", id_="4", answers="r"),
        ),
        ["x2", "y", "z"],
    ),
    "another number is answered": (
        (*SERIES, mail("[PATCH v2 2/3] y", "y2", id_="4", answers="1")),
        ["y2"],
    ),
    "the cover letter is answered": (
        (*SERIES, mail("[PATCH v2 2/3] y", "y2", id_="4", answers="c")),
        ["y2"],
    ),
    "a version is not there": (
        (*SERIES, mail("[PATCH v3 2/3] y", "y3", id_="4", answers="2")),
        ["y3"],
    ),
}


@pytest.mark.parametrize(("mails", "wanted"), REROLLS.values(), ids=REROLLS.keys())
def test_a_partial_reroll_is_completed_as_by_b4(
    fetch: Fetch, tmp_path: Path, mails: tuple[bytes, ...], wanted: list[str]
) -> None:
    if len(wanted) == 3:
        assert added(fetch(*mails)[0]) == wanted
    else:  # b4 writes what there is, and says that it is not complete
        with pytest.raises(UserError, match="lacks patch 1, 3 of 3"):
            fetch(*mails)
    pytest.importorskip("b4")
    dates = [b"Date: Mon, 1 Jan 2024 1%d:" % n for n in range(len(mails))]
    dated = [
        one.replace(b"Date: Mon, 1 Jan 2024 10:", date)
        for one, date in zip(mails, dates, strict=True)
    ]
    (tmp_path / "thread").write_bytes(b"".join(dated))
    done = subprocess.run(
        [sys.executable, "-m", "b4.command", "--offline-mode", "--no-stdin", "am",
         "--use-local-mbox", "thread", "--outdir", ".", "--mbox-name", "series", "c@example.org"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )  # fmt: skip
    made = tmp_path / "series.mbx"
    assert made.exists(), done.stdout + done.stderr
    parts = made.read_bytes().split(b"+++ b/")[1:]
    assert [part.split(b"\n")[0].decode() for part in parts] == wanted
    if len(wanted) == 3:  # what b4 fetched from lore is read again
        assert added(fetch(made.read_bytes())[0]) == wanted


def test_the_note_on_a_reroll_says_what_is_of_which_version(fetch: Fetch) -> None:
    _, notes = fetch(*SERIES, REROLL)
    assert notes == [
        "mbox: 5 mails: 3 patches, 1 cover letter, 1 patch of an older version",
        "not applied, cover letter: mail 0001 ([PATCH 0/3] all)",
        "not applied, older version: mail 0003 ([PATCH 2/3] y)",
        "mbox is a partial reroll: patch 2 of v2; 1, 3 of v1",
    ]
    with pytest.raises(UserError, match=r"^mbox lacks patch 1, 3 of 3"):
        fetch(*SERIES, mail("[PATCH v2 2/3] y", "y2", id_="4", answers="1"))


def test_a_minor_version_replaces_a_patch(fetch: Fetch) -> None:
    """b4 applies ``v1`` and ``v1.1`` of a patch both."""
    patches, notes = fetch(*SERIES, mail("[PATCH v1.1 2/3] y", "y2", id_="4", answers="c"))
    assert added(patches) == ["x", "y2", "z"]
    assert notes[-1] == "mbox is a partial reroll: patch 2 of v1.1; 1, 3 of v1"
