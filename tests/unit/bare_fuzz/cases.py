"""Small cases for the tests of the fuzzer."""

from __future__ import annotations

from harness.campaigns.bare_fuzz.case import (
    PLACE,
    Case,
)
from harness.campaigns.bare_fuzz.generate import generate
from harness.campaigns.bare_fuzz.model import Expectation, Facts, expect

TESTUI = "f30f01ed testui"
NOPS = ("90 nop",) * 3


def plain(*code: str, **state: object) -> Case:
    """Return a case that the model says something about."""
    case = generate(1, 1).model_copy(
        update={
            "rflags": 2,
            "uif": False,
            "level": 3,
            "code": code,
            "handler": (),
            "msrs": (0,) * 6,
            "pending": (),
            "pic": None,
            "nmi_blocked": False,
            "nmi_pending": False,
        }
    )
    return case.model_copy(update=state)


def expected(case: Case) -> Expectation:
    found = expect(case, Facts())
    assert found is not None
    return found


def changed(words: tuple[int, ...], **values: int) -> tuple[int, ...]:
    places = {PLACE[name]: value for name, value in values.items()}
    return tuple(places.get(place, word) for place, word in enumerate(words))
