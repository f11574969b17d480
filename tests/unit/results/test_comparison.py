from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from harness.errors import UserError
from harness.results.blocks import cut_into_blocks
from harness.results.compare.baseline import Baseline, BaselineCell
from harness.results.compare.comparison import compare
from harness.results.compare.judge import Floors
from harness.results.measurements import Measurement

CELL = "linux-6.12-hidden-smp2-gcc"


def cell(name: str = CELL, kernel: str = "linux-6.12", **more: Any) -> BaselineCell:
    values: dict[str, Any] = {"accel": "kvm", "cases": {"api/a::one": "pass"}, **more}
    return BaselineCell(name=name, kernel=kernel, **values)


def measured(
    factor: float = 1.0, mechanism: str = "uintr", where: str = CELL, seed: int = 0, **more: Any
) -> Measurement:
    samples = np.random.default_rng(seed).permutation(np.linspace(4600, 5400, 1001)) * factor
    values = {"mode": "ping-pong", "unit": "ns", **more}
    return Measurement(
        cell=where,
        mechanism=mechanism,
        takes=(cut_into_blocks(samples.astype(np.uint64).tolist()),),
        **values,
    )


def side(*cells: BaselineCell, latencies: tuple[Measurement, ...] = (), **more: Any) -> Baseline:
    values = {"run": "r", "host_cpu": "Some CPU", **more}
    return Baseline(cells=cells or (cell(),), measurements=latencies, **values)


def verdicts(base: Baseline, new: Baseline) -> list[str]:
    return [change.verdict for change in compare([base], new).latencies]


def test_a_slower_latency_is_exit_1_and_a_faster_is_not() -> None:
    slow, fast = side(latencies=(measured(1.5),)), side(latencies=(measured(seed=1),))
    worse = compare([fast], slow)
    assert (worse.exit_code, worse.reason) == (1, "1 latency worse")
    better = compare([slow], fast)
    assert (better.exit_code, better.reason) == (
        0,
        "nothing got worse, 1 latency compared, 1 better",
    )
    assert compare([fast], fast).latencies[0].verdict == "same"
    assert compare([fast], slow, Floors(relative=0.6)).exit_code == 0


def test_under_tcg_a_run_proves_nothing_and_three_do() -> None:
    def runs(factor: float) -> list[Baseline]:
        return [side(cell(accel="tcg"), latencies=(measured(factor, seed=n),)) for n in range(3)]

    slow = runs(1.5)
    takes = tuple(take for run in slow for take in run.measurements[0].takes)
    repeated = side(cell(accel="tcg"), latencies=(measured().model_copy(update={"takes": takes}),))
    assert compare(runs(1), repeated).latencies[0].verdict == "worse"
    for bases, new in ((runs(1)[:1], slow[0]), (runs(1), slow[0]), (runs(1)[:2], repeated)):
        (change,) = compare(bases, new).latencies
        assert change.verdict == "unsure"
        assert "--repeat 3" in change.reason


def test_the_floor_is_higher_under_tcg() -> None:
    base, new = measured(), measured(1.25, seed=1)
    for accel, verdict in (("kvm", "worse"), ("tcg", "same")):
        sides = [side(cell(accel=accel), latencies=(one,)) for one in (base, new)]
        assert verdicts(*sides) == [verdict]


@pytest.mark.parametrize(
    ("base", "new", "reason"),
    [
        (side(latencies=(measured(),)), side(cell(accel="tcg"), latencies=(measured(9),)), "tcg"),
        (
            side(latencies=(measured(),)),
            side(cell(clock="icount"), latencies=(measured(9),)),
            "icount",
        ),
        (side(latencies=(measured(),)), side(latencies=(measured(9),), host_cpu="Other"), "Other"),
    ],
)
def test_what_was_measured_otherwise_is_refused(base: Baseline, new: Baseline, reason: str) -> None:
    found = compare([base], new)
    (change,) = found.latencies
    assert change.verdict == "refused"
    assert reason in change.reason
    assert change.judgement is None
    assert found.exit_code == 0
    assert "1 refused" in found.reason


def test_instructions_are_compared_between_hosts() -> None:
    base = side(cell(clock="icount"), latencies=(measured(unit="insn"),))
    new = side(cell(clock="icount"), latencies=(measured(unit="insn"),), host_cpu="Other")
    assert verdicts(base, new) == ["same"]


def test_mechanisms_come_and_go_and_may_be_of_a_later_version() -> None:
    base = side(latencies=(measured(), measured(mechanism="pigeon")))
    new = side(latencies=(measured(mechanism="pigeon"), measured(mechanism="shm")))
    found = {change.mechanism: change.verdict for change in compare([base], new).latencies}
    assert found == {"pigeon": "same", "shm": "new", "uintr": "gone"}
    both = compare([base], new)
    assert (both.exit_code, both.reason) == (1, "1 latency gone (--allow-missing accepts that)")
    assert compare([base], new, allow_missing=True).exit_code == 0


def test_cases_that_are_skipped_now_are_a_finding() -> None:
    base = side(cell(cases={"a::1": "pass", "a::2": "pass", "b::1": "pass"}))
    new = side(cell(cases={"a::1": "skip", "a::2": "skip", "b::1": "pass"}))
    found = compare([base], new)
    assert found.exit_code == 1
    assert found.reason == "2 skipped that passed before (--allow-missing accepts that)"
    assert compare([base], new, allow_missing=True).exit_code == 0


@pytest.mark.parametrize(
    ("before", "after", "verdict", "code"),
    [
        ("pass", "fail", "broken", 1),
        ("skip", "fail", "broken", 1),
        (None, "fail", "broken", 1),
        ("fail", "pass", "mended", 0),
        (None, "pass", "new", 0),
        ("pass", None, "gone", 1),
        ("fail", None, "gone", 1),
        ("skip", None, "gone", 1),
        ("pass", "skip", "changed", 1),
        ("fail", "skip", "changed", 0),
        ("fail", "fail", None, 0),
    ],
)
def test_cases(before: str | None, after: str | None, verdict: str | None, code: int) -> None:
    base, new = (
        side(cell(cases={"x::z": "pass", **({"x::y": status} if status else {})}))
        for status in (before, after)
    )
    found = compare([base], new)
    assert [change.verdict for change in found.cases] == ([verdict] if verdict else [])
    assert found.exit_code == code


def test_new_splats_and_lost_guests_are_broken() -> None:
    bad = side(cell(splats=("WARNING in x",), lost=("panic",)))
    found = compare([side()], bad)
    assert [(c.kind, c.verdict) for c in found.cases] == [("splat", "broken"), ("guest", "broken")]
    assert found.reason == "2 newly failing"
    assert compare([bad], side()).exit_code == 0


def test_what_disappears_is_a_finding_unless_allowed() -> None:
    base = side(cell(cases={"a::1": "pass", "a::2": "pass"}), cell("gone-smp4-gcc"))
    new = side(cell(cases={"a::1": "pass"}))
    found = compare([base], new)
    assert (found.exit_code, found.verdict, found.missing) == (1, "worse", ("gone-smp4-gcc",))
    assert found.reason == "1 case and 1 cell gone (--allow-missing accepts that)"
    allowed = compare([base], new, allow_missing=True)
    assert (allowed.exit_code, allowed.missing) == (0, ("gone-smp4-gcc",))
    assert compare([new], base).exit_code == 0


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("nothing", [{}, {"a::1": "skip"}], ids=["no case", "all skipped"])
def test_where_nothing_ran_nothing_is_better(nothing: dict[str, str], allow: bool) -> None:
    found = compare([side()], side(cell(cases=nothing)), allow_missing=allow)
    assert (found.exit_code, found.verdict) == (4, "incomplete")
    assert found.reason.startswith("nothing ran in r")


def test_an_incomplete_run_is_never_better() -> None:
    cut = side(incomplete="incomplete: the run did not end")
    for base, new in ((side(), cut), (cut, side())):
        found = compare([base], new, allow_missing=True)
        assert (found.exit_code, found.verdict) == (4, "incomplete")
        assert "did not end" in found.reason


def test_what_had_no_chance_to_fail_again_is_not_mended() -> None:
    cases = {"a::1": "pass", "b::1": "fail", "c::1": "pass"}
    bad = cell(cases=cases, splats=("WARNING in x",), lost=("hang",))
    died = cell(cases={"a::1": "pass"}, lost=("panic",))
    stopped = cell(cases={"a::1": "pass"})
    mended = cell(cases={**cases, "b::1": "pass"})
    for new, verdict in ((died, "gone"), (stopped, "gone"), (mended, "mended")):
        found = compare([side(bad)], side(new))
        of = {(c.kind, c.name): c.verdict for c in found.cases}
        assert of["case", "b::1"] == verdict
        assert of["splat", "WARNING in x"] == verdict
        assert of["guest", "hang"] == verdict
        assert found.exit_code == (0 if verdict == "mended" else 1)


@pytest.mark.parametrize(
    ("before", "after", "verdict", "code"),
    [
        ({"a::1": "pass", "a::(program)": "fail"}, {"a::1": "pass"}, "mended", 0),
        ({"a::1": "pass", "a::(samples)": "fail"}, {"a::1": "pass"}, "mended", 0),
        ({"a::(program)": "skip"}, {"a::1": "pass"}, "changed", 0),
        ({"a::(program)": "fail", "b::1": "pass"}, {"b::1": "pass"}, "gone", 1),
    ],
)
def test_a_case_that_stood_for_its_program(
    before: dict[str, str], after: dict[str, str], verdict: str, code: int
) -> None:
    found = compare([side(cell(cases=before))], side(cell(cases=after)))
    (change,) = (change for change in found.cases if "(" in change.name)
    assert (change.verdict, found.exit_code) == (verdict, code)


def test_another_kernel_is_paired_by_its_place() -> None:
    other = "v2-hidden-smp2-gcc"
    base = side(latencies=(measured(),))
    new = side(cell(other, "v2"), latencies=(measured(2, where=other),))
    found = compare([base], new)
    assert [(c.cell, c.verdict) for c in found.latencies] == [(other, "worse")]
    assert found.unmatched == ()
    # Two kernels could be meant: none is guessed.
    both = side(cell(other, "v2"), cell("v3-hidden-smp2-gcc", "v3"))
    with pytest.raises(UserError, match="no cell in common"):
        compare([base], both)


def test_what_differs_in_the_making_is_said() -> None:
    base, new = (side(cell(made_of={"kernel": k, "image": "same"})) for k in ("a", "b"))
    (one,) = compare([base], new).differences
    assert (one.what, one.base, one.new) == ("kernel", "a", "b")


def test_several_bases_are_one_measurement() -> None:
    spread = [side(latencies=(measured(f, seed=n),)) for n, f in enumerate((1, 1.5, 0.9, 1.4))]
    new = side(latencies=(measured(1.4, seed=9),))
    assert compare(spread[:1], new).exit_code == 1
    assert compare(spread, new).exit_code == 0


def test_a_baseline_survives_its_file() -> None:
    base = side(latencies=(measured(),))
    assert Baseline.model_validate_json(base.to_json()) == base


@pytest.mark.parametrize(
    ("accel", "unit", "old", "new", "refused"),
    [
        ("tcg", "ns", ("bare",), ("bare",), False),
        ("tcg", "ns", ("pause",), ("bare",), True),
        ("tcg", "ns", ("bare",), ("pause",), True),
        # A baseline of a version that always executed PAUSE has no field.
        ("tcg", "ns", (), (), False),
        ("tcg", "ns", (), (None,), False),
        ("tcg", "ns", (), ("bare",), True),
        ("tcg", "ns", (), ("pause",), True),
        ("kvm", "ns", (), ("pause",), False),
        ("kvm", "ns", (), ("bare",), True),
        ("tcg", "ns", ("bare", "pause"), ("bare", "pause"), True),
        ("tcg", "insn", (), (None,), False),
    ],
)
def test_latencies_of_another_spin_are_refused(
    accel: str, unit: str, old: tuple[Any, ...], new: tuple[Any, ...], refused: bool
) -> None:
    before, after = (
        side(cell(accel=accel), latencies=(measured(spins=spins, unit=unit),))
        for spins in (old, new)
    )
    (change,) = compare([before], after).latencies
    assert change.verdict == ("refused" if refused else "same")
    assert ("PAUSE" in change.reason) == refused


def test_an_old_baseline_file_has_no_spin() -> None:
    new = side(cell(accel="tcg"), latencies=(measured(spins=("pause",)),))
    text = json.loads(new.to_json())
    for one in text["measurements"]:
        del one["spins"]
    old = Baseline.model_validate(text)
    (change,) = compare([old], new).latencies
    assert change.verdict == "refused"
    assert change.reason == "different busy-waiting: with an expensive PAUSE before, with PAUSE now"
