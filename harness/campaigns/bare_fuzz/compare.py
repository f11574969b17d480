"""Differences between a machine and the model, less the known deviations."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from harness import paths
from harness.campaigns.bare_fuzz.case import NAMES, PLACE, Hex
from harness.campaigns.bare_fuzz.model import Expectation
from harness.campaigns.bare_fuzz.play import Played
from harness.errors import UserError
from harness.values import Value

DEVIATIONS = paths.GUEST_TESTS / "bare-metal" / "player" / "deviations.toml"


class Deviation(Value):
    """An entry of ``deviations.toml``, whose head says what the fields are."""

    name: str
    manual: str
    reason: str
    places: tuple[str, ...]
    bits: Hex | None = None
    expected: Hex | None = None
    actual: Hex | None = None
    unless: tuple[str, ...] = ()

    def excuses(self, difference: Difference, of: Expectation) -> bool:
        """Return whether this explains a difference."""
        if of.reached.intersection(self.unless):
            return False
        if self.expected is not None and self.expected != difference.expected:
            return False
        if self.actual is not None and self.actual != difference.actual:
            return False
        if self.bits is not None and (difference.expected ^ difference.actual) & ~self.bits:
            return False
        return any(fnmatchcase(difference.place, pattern) for pattern in self.places)


class Difference(NamedTuple):
    """A word that is not what it must be."""

    place: str
    expected: int
    actual: int

    def __str__(self) -> str:
        return f"{self.place} is {self.actual:#x}, not {self.expected:#x}"


class _File(Value):
    deviation: tuple[Deviation, ...] = ()


def read_deviations(path: Path = DEVIATIONS) -> tuple[Deviation, ...]:
    """Read the deviations that are understood.

    :raise UserError: the file cannot be read, or is malformed.
    """
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).deviation
    except (OSError, ValueError) as error:
        raise UserError(
            "the deviations cannot be read", where=path, detail=str(error), hint="see its head"
        ) from error


def differences(
    of: Expectation, played: Played, deviations: Sequence[Deviation]
) -> list[Difference] | str:
    """Return what is not as it must be and not understood, or how the machine ended."""
    if isinstance(played, str):
        return played
    if played == of.words:
        return []
    found = [
        Difference(NAMES[place], expected, actual)
        for place, (expected, actual) in enumerate(zip(of.words, played, strict=True))
        if expected != actual and place not in of.open_places
    ]
    # CR2 means something only with the page fault that is expected; the vector says the rest.
    if played[PLACE["vector"]] != of.words[PLACE["vector"]]:
        found = [one for one in found if one.place != "cr2"]
    return [one for one in found if not any(known.excuses(one, of) for known in deviations)]
