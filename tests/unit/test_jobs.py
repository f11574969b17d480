from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.run import Jobs
from harness.run.capacity import OVERHEAD_MIB, RESERVE_MIB, Capacity, jobs_for, read_capacity
from tests.unit.runs import cell

#: Of one guest.
GUEST_MIB = 512 + OVERHEAD_MIB


@pytest.mark.parametrize(
    ("smp", "cpus", "memory_mib", "jobs"),
    [
        ((1, 1, 1), 8, 1 << 20, 3),  # no more than there are cells
        ((1, 4, 4), 8, 1 << 20, 2),  # the widest guests may run at the same time
        ((4, 4), 2, 1 << 20, 1),
        ((1, 1, 1, 1), 8, RESERVE_MIB + 2 * GUEST_MIB, 2),
        ((1, 1, 1, 1), 8, RESERVE_MIB + 2 * GUEST_MIB - 1, 1),
        ((1, 1), 8, 0, 1),
        ((), 8, 1 << 20, 1),
    ],
)
def test_guests_have_cpus_and_memory_for_themselves(
    smp: tuple[int, ...], cpus: int, memory_mib: int, jobs: int
) -> None:
    cells = [cell(smp=number) for number in smp]
    assert jobs_for(cells, Capacity(cpus=cpus, memory_mib=memory_mib)) == jobs


def test_a_containers_limits_count(tmp_path: Path) -> None:
    free = read_capacity(tmp_path)
    assert free.cpus >= 1
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{300 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{100 << 20}\n")
    assert read_capacity(tmp_path) == Capacity(cpus=1, memory_mib=200)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert read_capacity(tmp_path).cpus == free.cpus
    assert read_capacity(tmp_path).memory_mib > 200


def test_the_option_takes_a_number_or_the_word() -> None:
    assert Jobs().convert("auto", None, None) is None
    assert Jobs().convert("3", None, None) == 3
    from harness.cli.run import command

    for wrong in ("0", "65", "many"):
        assert CliRunner().invoke(command, ["--jobs", wrong]).exit_code == 2
