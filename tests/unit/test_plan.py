from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from harness.errors import UserError
from harness.request.plan import make_plan, render
from harness.request.profiles import KernelOverrides
from harness.request.request import Request
from harness.values import Plan
from tests.unit.runs import cell


def plan(*smp: int) -> Plan:
    one = cell()
    return make_plan([one.kernel], [one.cpu], smp, ["gcc", "clang"], select="api")


def test_every_combination_once_and_in_order() -> None:
    assert [c.name for c in plan(2, 1, 2).cells] == [
        "k-hidden-smp2-gcc",
        "k-hidden-smp2-clang",
        "k-hidden-smp1-gcc",
        "k-hidden-smp1-clang",
    ]


def test_instructions_are_counted_by_tcg_on_one_cpu_and_the_name_says_so() -> None:
    request = Request(overrides=KernelOverrides(series="none"), clock="icount")
    planned = request.plan()
    (one,) = planned.cells
    assert (one.name, one.smp, one.accel) == ("linux-6.12-hidden-smp1-gcc-icount", 1, "tcg")
    assert request.cell_options(planned)[one.name][-2:] == ("--clock", "icount")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"smp": (2,)}, "counted on one CPU"),
        ({"accel": "kvm"}, "KVM does not count"),
        ({"selftests": ("x86",)}, "only latency programs can run"),
    ],
)
def test_where_instructions_cannot_be_counted(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Request(overrides=KernelOverrides(series="none"), clock="icount", **fields).plan()


def test_two_profiles_of_one_name_are_refused() -> None:
    one, other = cell(), cell(cmdline="nosmp")
    with pytest.raises(UserError, match="two different kernel profiles are named 'k'"):
        make_plan([one.kernel, other.kernel], [one.cpu], [1], ["gcc"])


def test_a_plan_survives_json() -> None:
    assert Plan.model_validate_json(plan(1).model_dump_json()) == plan(1)
    assert Plan.model_validate_json(render(plan(1), "json", {})) == plan(1)


def test_the_text_shows_kernel_cells_and_selection() -> None:
    text = render(plan(1), "text", {})
    assert text.startswith("2 cells, 1 kernel\n")
    assert "k-hidden-smp1-clang" in text
    assert "match: api" in text


def test_a_github_job_has_the_options_of_its_cell() -> None:
    request = Request(
        overrides=KernelOverrides(series="none", fragments=("uintr", "base")),
        smp=(1, 4),
        select="a b",
    )
    planned = request.plan()
    line = render(planned, "github", request.cell_options(planned))
    assert "\n" not in line
    jobs = json.loads(line.removeprefix("matrix="))["include"]
    assert [job["cell"] for job in jobs] == [c.name for c in planned.cells]
    args = shlex.split(jobs[1]["args"])
    assert args[:2] == ["--kernel", "linux-6.12"]
    assert args[args.index("--smp") + 1] == "4"
    assert args[args.index("-k") + 1] == "a b"
    assert "none" in args


def test_a_runs_command_line_is_added_to_each_cell_and_shown() -> None:
    request = Request(cpus=("exposed-emulate", "hid*n"), cmdline="uintr=off quiet")
    planned = request.plan()
    assert [c.cpu.name for c in planned.cells] == ["exposed-emulate", "hidden"]
    assert {c.cmdline for c in planned.cells} == {"uintr=off quiet"}
    text = render(planned, "text", {}).splitlines()
    assert "    cmdline  uintr=emulate uintr=off quiet" in text
    assert "    cmdline  uintr=off quiet" in text
    for options in request.cell_options(planned).values():
        assert options[options.index("--cmdline") + 1] == "uintr=off quiet"


def test_selftests_belong_to_each_cell_and_are_shown() -> None:
    request = Request(smp=(1, 2), selftests=("x86", "futex/functional", "x86"))
    planned = request.plan()
    assert [c.selftests for c in planned.cells] == [("x86", "futex/functional")] * 2
    assert "kernel's selftests: x86 futex/functional" in render(planned, "text", {}).splitlines()
    assert Plan.model_validate_json(planned.model_dump_json()) == planned
    for options in request.cell_options(planned).values():
        assert options[-4:] == ("--kselftest", "x86", "--kselftest", "futex/functional")
