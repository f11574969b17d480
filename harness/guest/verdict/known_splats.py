"""Splats that are known and excused: data with a reason, a link and an end."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from harness import paths
from harness.errors import UserError
from harness.guest.verdict.splat_report import Splat
from harness.values import Value

#: ``[[splat]]`` tables.
KNOWN_SPLATS = paths.KERNELS.parent / "known-splats.toml"


class KnownSplat(Value):
    """One excuse. It ends by itself, so that somebody looks at it again."""

    #: A regular expression that is searched in ``KIND: TITLE``, in ``KIND: FIRST LINE`` and in the
    #: fingerprint.
    match: str = Field(min_length=4)
    #: Why it does not count.
    reason: str = Field(min_length=10)
    #: Where it was reported or is being mended.
    link: str = Field(pattern=r"^https?://\S+$")
    #: The last day on which it is excused.
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
        """Tell whether ``splat`` is this one. A corrupted report is never excused."""
        if splat.corrupted:
            return False
        texts = (
            f"{splat.kind}: {splat.title}",
            f"{splat.kind}: {splat.line}",
            splat.fingerprint,
        )
        return any(re.search(self.match, text) for text in texts)


def load_known_splats(
    path: Path = KNOWN_SPLATS, today: datetime.date | None = None
) -> tuple[KnownSplat, ...]:
    """Return the excuses in ``path``.

    :raise UserError: the file cannot be read, an entry is malformed, or one has expired.
    """
    today = today or datetime.datetime.now(tz=datetime.UTC).date()
    try:
        data = tomllib.loads(path.read_text())
        if set(data) - {"splat"} or not isinstance(data.get("splat", []), list):
            raise UserError("only [[splat]] tables belong into this file", where=path)
        known = tuple(KnownSplat.model_validate(entry) for entry in data.get("splat", []))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"the known splats cannot be read: {error}", where=path) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"an entry of the known splats is wrong: {field}: {first['msg']}",
            where=path,
            hint="each [[splat]] needs match, reason, link and expires (a date)",
        ) from error
    for entry in known:
        if entry.expires < today:
            raise UserError(
                f"the excuse for {entry.match!r} has expired on {entry.expires}",
                where=path,
                detail=f"{entry.reason}\n{entry.link}",
                hint="see whether it still happens: remove the entry, or give it a new date",
            )
    return known


def unexcused(splats: Iterable[Splat], known: Sequence[KnownSplat]) -> tuple[Splat, ...]:
    """Return the splats that no entry covers. A panic is never excused: it ends the guest."""
    return tuple(
        splat
        for splat in splats
        if splat.kind == "panic" or not any(entry.covers(splat) for entry in known)
    )
