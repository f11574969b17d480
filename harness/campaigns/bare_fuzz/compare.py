"""Differences between a machine and the model, without the known deviations."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from harness import paths
from harness.campaigns.bare_fuzz.case import NAMES, PLACE, Case, Hex
from harness.campaigns.bare_fuzz.model import Expectation, Facts, agrees_in_some_order
from harness.campaigns.bare_fuzz.orders import MANY
from harness.campaigns.bare_fuzz.play import Played
from harness.lib.documents import read_toml, validate
from harness.values import Value

_PLAYER = paths.GUEST_TESTS / "bare-metal" / "player"
#: Known deviations of QEMU, and of Bochs.
DEVIATIONS, BOCHS_DEVIATIONS = _PLAYER / "deviations.toml", _PLAYER / "deviations-bochs.toml"


class Deviation(Value):
    """A known deviation; the head of :data:`DEVIATIONS` explains the fields."""

    name: str
    manual: str
    reason: str
    places: tuple[str, ...] = ()
    bits: Hex | None = None
    expected: Hex | None = None
    actual: Hex | None = None
    unless: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ending: str | None = None

    def applies(self, of: Expectation) -> bool:
        """Return true if this deviation may explain differences of a sequence."""
        applied = of.reached | of.circumstances
        return not applied.intersection(self.unless) and (
            not self.only or bool(applied.intersection(self.only))
        )

    def excuses_ending(self, ending: str, of: Expectation) -> bool:
        """Return true if this deviation explains that the machine ended early."""
        whole = "*" in self.places
        known = self.ending is not None and fnmatchcase(ending, self.ending)
        return (whole or known) and self.applies(of)

    def excuses(self, difference: Difference, of: Expectation) -> bool:
        """Return true if this deviation explains a difference."""
        if not self.applies(of):
            return False
        if self.expected is not None and self.expected != difference.expected:
            return False
        if self.actual is not None and self.actual != difference.actual:
            return False
        if self.bits is not None and (difference.expected ^ difference.actual) & ~self.bits:
            return False
        return any(fnmatchcase(difference.place, pattern) for pattern in self.places)


class Difference(NamedTuple):
    """A word that differs from the model's."""

    place: str
    expected: int
    actual: int

    def __str__(self) -> str:
        return f"{self.place} is {self.actual:#x}, not {self.expected:#x}"


class _File(Value):
    deviation: tuple[Deviation, ...] = ()


def read_deviations(path: Path = DEVIATIONS) -> tuple[Deviation, ...]:
    """Read the known deviations.

    :raise UserError: the file cannot be read, or is malformed.
    """
    what, hint = "the deviations cannot be read", "the head of the file explains the fields"
    return validate(_File, read_toml(path, what, hint), path, what, hint).deviation


def differences(
    of: Expectation, played: Played | None, deviations: Sequence[Deviation]
) -> list[Difference] | str:
    """Return the differences that no deviation explains, or how the machine ended early.

    :param played: the machine's result; None if the case was not played.
    """
    if played is None:
        return []
    if isinstance(played, str):
        return [] if any(one.excuses_ending(played, of) for one in deviations) else played
    if of.same:
        played = tuple(of.same.get(word, word) for word in played)
    if played == of.words:
        return []
    found = [
        Difference(NAMES[place], expected, actual)
        for place, (expected, actual) in enumerate(zip(of.words, played, strict=True))
        if expected != actual and place not in of.open_places
    ]
    # CR2 is compared only after the expected exception; a wrong vector is a difference itself.
    if played[PLACE["vector"]] != of.words[PLACE["vector"]]:
        found = [one for one in found if one.place != "cr2"]
    return [one for one in found if not any(known.excuses(one, of) for known in deviations)]


def is_in_some_order(
    case: Case,
    facts: Facts,
    played: Played | None,
    deviations: Sequence[Deviation],
    orders: int = MANY,
) -> bool:
    """Return whether a result that differs is what the model expects in some order of the CPUs.

    A machine that ended early is in none.

    :param orders: number of orders to try.
    """
    if played is None or isinstance(played, str):
        return False
    return agrees_in_some_order(
        case, facts, lambda of: not differences(of, played, deviations), orders
    )
