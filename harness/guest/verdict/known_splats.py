"""Known splats, which are excused: each entry has a reason, a link and an expiry date."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, field_validator

from harness import paths
from harness.errors import UserError
from harness.guest.verdict.splat_report import Splat
from harness.guest.verdict.storm import STORM
from harness.lib.documents import read_toml, validate
from harness.values import Value

#: ``[[splat]]`` tables.
KNOWN_SPLATS = paths.KERNELS.parent / "known-splats.toml"


class KnownSplat(Value):
    """An entry that excuses splats until it expires. Then it has to be reviewed."""

    #: A regular expression that is searched in ``KIND: TITLE``, in ``KIND: FIRST LINE`` and in the
    #: fingerprint.
    match: str = Field(min_length=4)
    #: Why the splat is excused.
    reason: str = Field(min_length=10)
    #: Address of the report or of the fix.
    link: str = Field(pattern=r"^https?://\S+$")
    #: The last day on which the entry is valid.
    expires: datetime.date

    @field_validator("match")
    @classmethod
    def _is_expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    def covers(self, splat: Splat) -> bool:
        """Return true if the entry matches ``splat``. A corrupted splat is never excused."""
        if splat.corrupted:
            return False
        texts = (
            f"{splat.kind}: {splat.title}",
            f"{splat.kind}: {splat.line}",
            splat.fingerprint,
        )
        return any(re.search(self.match, text) for text in texts)


class _File(Value):
    splat: tuple[KnownSplat, ...] = ()


def load_known_splats(
    path: Path = KNOWN_SPLATS, today: datetime.date | None = None
) -> tuple[KnownSplat, ...]:
    """Return the known splats in ``path``.

    :raise UserError: the file cannot be read, or an entry is malformed or has expired.
    """
    today = today or datetime.datetime.now(tz=datetime.UTC).date()
    what = "the known splats cannot be read"
    hint = "each [[splat]] needs match, reason, link and expires (a date)"
    known = validate(_File, read_toml(path, what, hint), path, what, hint).splat
    for entry in known:
        if entry.expires < today:
            raise UserError(
                f"the entry for {entry.match!r} expired on {entry.expires}",
                where=path,
                detail=f"{entry.reason}\n{entry.link}",
                hint="if the splat still happens, set a new date; otherwise remove the entry",
            )
    return known


def find_excuse(splat: Splat, known: Sequence[KnownSplat]) -> KnownSplat | None:
    """Return the entry that excuses a splat, None if there is none.

    A panic is never excused, because it ends the guest; nor is a storm.
    """
    candidates = known if splat.kind not in {"panic", STORM} else ()
    return next((entry for entry in candidates if entry.covers(splat)), None)
