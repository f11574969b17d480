"""What ``tools.judge`` makes of what programs print."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import GuestError, UserError
from tools.judge import (
    LIMIT,
    SOURCE,
    Judge,
    Row,
    figure,
    libraries,
    own_judges,
    packaged_judges,
    table,
)


def judge(mechanism: str = "pipe", pattern: str = r"median (\d+)", ns: float = 1.0) -> Judge:
    return Judge(mechanism, "ping-pong-fair", ("judge", mechanism, "spins", "9"), pattern, ns)


@pytest.mark.parametrize(
    ("program", "output", "ns"),
    [
        (
            "perf",
            "     Total time: 0.022 [sec]\n\n      11.294500 usecs/op\n  88538 ops/sec",
            11294.5,
        ),
        (
            "sigwaittest",
            (
                "#0: ID1, P0, CPU0, I1000; #1: ID2, P0, CPU0, Cycles 9\n"
                "#1 -> #0, Min    3, Cur    5, Avg    6, Max   82\n"
            ),
            6000,
        ),
    ],
)
def test_the_figure_of_a_packaged_program(program: str, output: str, ns: float) -> None:
    (one,) = [one for one in packaged_judges(9) if one.argv[0] == program]
    assert figure(one, output) == pytest.approx(ns)


def test_no_figure_is_an_error() -> None:
    with pytest.raises(GuestError, match="no figure"):
        figure(judge(), "mean 5\n")


def test_libraries_and_the_loader_are_those_that_ldd_names() -> None:
    said = (
        "\tlinux-vdso.so.1 (0x00007ffd)\n"
        "\tlibnuma.so.1 => /lib/x86_64-linux-gnu/libnuma.so.1 (0x00007f1a)\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007f1b)\n"
    )
    assert libraries(said) == [
        Path("/lib/x86_64-linux-gnu/libnuma.so.1"),
        Path("/lib64/ld-linux-x86-64.so.2"),
    ]
    with pytest.raises(UserError, match=r"libx\.so\.1"):
        libraries("\tlibx.so.1 => not found\n")


@pytest.mark.parametrize(
    ("bench", "judged", "marked"),
    [((4.0,), (3.1,), False), ((4.1,), (3.0,), True), ((3.0,), (4.1,), True), ((), (), False)],
)
def test_what_differs_by_more_than_a_third_is_marked(
    bench: tuple[float, ...], judged: tuple[float, ...], marked: bool
) -> None:
    row = Row(judge(), bench, judged)
    assert row.differs(LIMIT) == marked
    text = table([row], LIMIT)
    assert ("DIFFERS" in text) == marked
    assert ("skipped" in text) == (not bench)


def test_the_ratio_is_of_the_pairs_of_a_round() -> None:
    assert Row(judge(), (1.0, 20.0, 3.0), (1.0, 10.0, 3.0)).ratio == 1.0


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
def test_our_own_judge_measures_on_the_host(tmp_path: Path) -> None:
    program = tmp_path / "judge"
    flags = ["-std=gnu11", "-O2", "-muintr", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run(["gcc", *flags, "-o", str(program), str(SOURCE)], check=True)
    for one in own_judges(20):
        if one.mechanism == "uintr" or one.argv[2] == "spins":
            continue
        argv = [str(program), *one.argv[1:]]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        assert figure(one, done.stdout) > 0
    missing = subprocess.run([str(program), "uintr", "spins", "9"], check=False, timeout=60)
    assert missing.returncode == 4
