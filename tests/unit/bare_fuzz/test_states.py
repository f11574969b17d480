"""Cases with HLT, NMIs and an 8259 that are played, and those that are not."""

from __future__ import annotations

from harness.campaigns.bare_fuzz.case import PLACE, UPID
from harness.campaigns.bare_fuzz.model import Facts, expect

from .test_bare_fuzz import TESTUI, expected, plain


def test_a_hlt_that_a_step_alone_ends_is_left_out() -> None:
    stepped = plain("fa cli", "f4 hlt", level=0, rflags=0x302)
    assert expect(stepped, Facts()) is None
    assert expect(stepped.model_copy(update={"rflags": 0x202, "code": ("fa cli",)}), Facts())


def test_the_8259_is_played_with_what_comes_in_any_order() -> None:
    case = plain(TESTUI, level=0, rflags=0x202, pic=0x20)
    assert expected(case).words[PLACE["event 0 vector"]] == 0x20
    assert expect(case.model_copy(update={"pending": (0x41,)}), Facts()) is None
    # A notification leaves no trace of the order.
    notified = {"pending": (0xEC,), "msrs": (0, 0, 0, 0xEC << 32, UPID, 0), "cr4_uintr": True}
    assert expect(case.model_copy(update=notified), Facts())
    waits = case.model_copy(update={"rflags": 2})
    assert expected(waits).words[PLACE["pic"]] == 1


def test_only_iret_enters_with_tf_or_rf() -> None:
    blocked = plain(TESTUI, nmi_blocked=True)
    assert expect(blocked, Facts())
    for flag in (0x100, 0x10000):
        assert expect(blocked.model_copy(update={"rflags": 2 | flag}), Facts()) is None
