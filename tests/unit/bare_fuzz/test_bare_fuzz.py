"""Cases of the fuzzer, and their comparison."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness import paths
from harness.campaigns.bare_fuzz.batch import Batch, batches_in_background, make_batch
from harness.campaigns.bare_fuzz.case import (
    CASE_SIZE,
    CODE_WORDS,
    HANDLER_WORDS,
    NAMES,
    PLACE,
    RESULT,
    Case,
    assemble,
    code_blocks,
    pack,
)
from harness.campaigns.bare_fuzz.compare import (
    Deviation,
    Difference,
    differences,
    read_deviations,
)
from harness.campaigns.bare_fuzz.generate import generate
from harness.campaigns.bare_fuzz.model import Facts, expect
from harness.errors import UserError
from harness.results.contract import read_contract

from .cases import TESTUI, changed, expected, plain

# --- cases -------------------------------------------------------------------------------------


def test_a_seed_makes_the_same_cases() -> None:
    assert [generate(7, n) for n in range(20)] == [generate(7, n) for n in range(20)]
    assert generate(7, 1) != generate(7, 2) != generate(8, 2)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return make_batch(3, range(400), Facts())


def test_cases_are_valid_and_read_back_equal(batch: Batch) -> None:
    for case in batch.cases:
        assert Case.model_validate_json(case.model_dump_json()) == case
        assert len(pack(case)) == CASE_SIZE


def test_most_numbers_make_a_case_that_the_model_knows(batch: Batch) -> None:
    assert len(batch.cases) == 400
    first = sum(expect(generate(3, number), Facts()) is not None for number in range(400))
    assert first > 300


def test_the_cases_reach_each_statement_but_rare_ones(batch: Batch) -> None:
    reached = frozenset[str]().union(*(one.reached for one in batch.expected))
    common = {"HALT-2", "NOTIFY-18", "NOTIFY-25", "NOTIFY-26", "NMI-1", "NMI-2", "NMI-3"}
    common |= {"INSN-18", "UIRET-1", "DELIVERY-14", "SEND-1", "SEND-3", "NOTIFY-1", "ENUM-3"}
    assert common <= reached
    assert len(reached) > 40


def test_code_ends_where_its_page_does() -> None:
    rip, code, _ = code_blocks(plain(TESTUI, page_end=True))
    assert code.endswith(assemble([TESTUI]))
    assert rip % 4096 == 4096 - len(assemble([TESTUI]))


def test_more_code_than_there_is_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        code_blocks(plain(*["90 nop"] * 8 * CODE_WORDS))
    with pytest.raises(ValueError, match="room"):
        code_blocks(plain(handler=("90 nop",) * 8 * HANDLER_WORDS))


@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")
def test_the_player_has_the_same_layout(tmp_path: Path) -> None:
    tests = paths.GUEST_TESTS / "bare-metal"
    source = tmp_path / "layout.c"
    source.write_text(
        '#include "player.h"\n'
        f'_Static_assert(sizeof(struct player_case) == {CASE_SIZE}, "case");\n'
        f'_Static_assert(sizeof(struct player_result) == {RESULT.size}, "result");\n'
        + "".join(
            f"_Static_assert(__builtin_offsetof(struct player_result, {field}) == "
            f'{8 * PLACE[name]}, "{name}");\n'
            for field, name in (
                ("cr2", "cr2"),
                ("regs", "rax"),
                ("msrs", "RR"),
                ("uif", "uif"),
                ("irr", "irr[0]"),
                ("pic", "pic"),
                ("nmi", "nmi"),
                ("event_count", "events"),
                ("events", "event 0 vector"),
                ("stack", "stack[0]"),
                ("upid", "upid[0]"),
                ("uitt", "uitt[0]"),
                ("area", "area[0]"),
                ("other_irr", "cpu 1 irr[0]"),
                ("actions", "action 0 count"),
                ("late", "late"),
            )
        )
    )
    done = subprocess.run(
        ["gcc", "-fsyntax-only", f"-I{tests}/player", f"-I{tests}/runtime", str(source)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_batches_are_made_beside_and_in_order() -> None:
    with batches_in_background(3, Facts(), 5) as batches:
        made = list(batches)
    assert [one.numbers for one in made] == [(0, 1, 2, 3, 4)]
    assert made[0].cases == make_batch(3, range(5), Facts()).cases


# --- comparing ---------------------------------------------------------------------------------


def test_each_word_counts_but_those_left_open() -> None:
    of = expected(plain(TESTUI))
    assert of.open_places == {PLACE["cr2"]}
    assert differences(of, of.words, ()) == []
    for name in NAMES:
        other = changed(of.words, **{name: of.words[PLACE[name]] ^ 1})
        found = differences(of, other, ())
        assert not isinstance(found, str)
        assert [one.place for one in found] == ([] if name == "cr2" else [name])


def test_how_a_machine_ended_is_a_difference() -> None:
    assert differences(expected(plain()), "hangs", ()) == "hangs"


def test_a_deviation_excuses_what_it_says_and_no_more() -> None:
    of = expected(plain(TESTUI))
    known = Deviation(
        name="n", manual="m", reason="r", places=("rflags", "stack*"), bits=0x10000, unless=()
    )
    assert (
        differences(of, changed(of.words, rflags=of.words[PLACE["rflags"]] | 0x10000), [known])
        == []
    )
    for other in (
        changed(of.words, rflags=of.words[PLACE["rflags"]] | 0x10001),
        changed(of.words, rax=of.words[PLACE["rax"]] ^ 0x10000),
    ):
        assert differences(of, other, [known])
    difference = Difference("rflags", 2, 0x10002)
    assert known.excuses(difference, of)
    for narrower in (
        {"unless": ("INSN-18",)},
        {"expected": 3},
        {"actual": 3},
    ):
        assert not known.model_copy(update=narrower).excuses(difference, of)


def test_the_deviations_name_the_manual_and_places_that_there_are() -> None:
    statements = {one.id for one in read_contract()}
    for known in read_deviations():
        assert known.manual.startswith("SDM ")
        assert known.reason
        assert known.bits is not None or known.actual is not None
        assert set(known.unless) <= statements
        of = replace(expected(plain()), circumstances=frozenset(known.only))
        wanted = known.expected or 0
        seen = wanted ^ (known.bits or 0) if known.actual is None else known.actual
        differing = (wanted, seen)
        assert any(known.excuses(Difference(name, *differing), of) for name in NAMES)


def test_a_malformed_file_of_deviations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deviations.toml").write_text('[[deviation]]\nname = "x"\n')
    with pytest.raises(UserError, match="deviations"):
        read_deviations(tmp_path / "deviations.toml")
