"""What cases of the later generation of the ABI say of a kernel, seen with a stand-in for one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness import paths
from harness.results.contract import read_claims
from tests.later_abi.programs import Compile, compile_into

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600, func_only=True)]

SUBJECT = "later-abi"
#: Cases whose verdict the stand-in cannot give, for its descriptors are sockets.
NOT_SEEN = {"fdinfo_tells_receiver_and_vector", "is_for_reading_and_non_blocking"}
#: Programs of the older generation whose cases are to hold in both, and what of them is skipped.
OLDER = {
    "api/create-fd": 5,
    "api/register-handler": 2,
    "api/register-sender": 7,
    "api/wait": 0,
    "delivery/blocked": 0,
    "lifetime/handing-over": 1,
}
#: For each case a deviation of the stand-in that it has to notice.
DEVIATIONS: Mapping[str, Mapping[str, str]] = {
    "later-abi/vectors": {
        "a_vector_has_several_descriptors": "vector-is-busy",
        "a_vector_outlives_its_descriptors": "closing-disconnects",
    },
    "later-abi/senders": {
        "connecting_again_gives_another_index": "connected-once",
        "a_receiver_that_unregistered_is_no_error": "unregistered-is-shut-down",
        "a_receiver_that_ended_is_shut_down": "register_sender:ESHUTDOWN:0",
        "the_index_disconnects": "index-stays",
        "disconnecting_without_a_table": "unregister_sender:EINVAL:0",
        "an_index_works_in_every_thread": "table-of-a-thread",
        "a_child_shares_the_table": "child-has-no-table",
        "without_a_table_it_is_undefined": "no-table-is-a-bad-index",
        "connections_survive_the_registration": "unregistering-disconnects",
    },
    "later-abi/wait": {
        "time_over_is_success": "wait:0:EINTR",
        "longer_than_the_longest_is_invalid": "wait:EINVAL:0",
        "interrupt_ends_it_at_the_receivers_cost": "flags-mean-the-opposite",
        "interrupt_ends_it_at_the_senders_cost": "flags-mean-the-opposite",
        "interrupt_ends_it_with_both_flags": "wait:EINTR:0",
        "interrupt_without_a_flag_does_not": "flags-mean-the-opposite",
        "signal_ends_it": "wait:EINTR:0",
        "interrupt_ends_every_call": "calls-are-restarted",
    },
    "later-abi/register-self": {
        "gives_an_index_to_the_caller": "another-vector",
        "flags_are_invalid": "register_self:EINVAL:0",
        "without_handler_is_invalid": "register_self:EINVAL:EOPNOTSUPP",
        "vector_out_of_range_is_nospc": "vector-is-cut",
        "full_table_is_nospc": "register_self:ENOSPC:ENOMEM",
    },
    "later-abi/alt-stack": {
        "frames_are_below_its_address": "address-is-the-base",
        "null_ends_it": "null-is-ignored",
        "unregistering_ends_it": "alt-stack-stays",
        "flags_are_invalid": "alt_stack:EINVAL:0",
        "without_handler_is_not_supported": "alt_stack:EOPNOTSUPP:EINVAL",
    },
    "later-abi/ipi-fd": {
        "gives_a_descriptor": "ipi_fd:EINVAL:0",
        "another_process_gets_the_table": "table-is-not-given",
        "a_process_with_a_table_keeps_it": "set_target_table:EBUSY:0",
        "clearing_is_invalid": "clear_target_table:EINVAL:0",
    },
    "later-abi/io-uring": {
        "each_completion_notifies": "ring-is-silent",
        "one_vector_at_a_time": "ring_register:EBUSY:0",
        "another_file_is_invalid": "ring_register:EINVAL:0",
    },
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    return compile_into(tmp_path_factory.mktemp("later-abi"))


def stand_in(deviation: str, program: Path, *cases: str) -> dict[str, str]:
    """Run a program on the stand-in, and return ``pass``, ``fail`` or ``skip`` by case."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.later_abi.stand_in", deviation, program, *cases],
        cwd=paths.ROOT,
        env=os.environ | {"KTAP_TIMEOUT_SCALE": "1" if cases else "5"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    lines = re.findall(r"^(not ok|ok) \d+ (\w+)( # SKIP .*)?$", done.stdout, re.MULTILINE)
    assert lines, done.stdout + done.stderr
    if "there is no io_uring" in done.stdout:
        pytest.skip("the host has no io_uring")
    return {
        case: "fail" if ok == "not ok" else "skip" if skip else "pass" for ok, case, skip in lines
    }


def test_every_case_has_a_deviation_or_is_not_seen() -> None:
    cases = {(c.program, c.case) for c in read_claims() if c.program.startswith(f"{SUBJECT}/")}
    noticed = {(program, case) for program, cases in DEVIATIONS.items() for case in cases}
    assert {case for _, case in cases - noticed} <= NOT_SEEN
    assert noticed <= cases


@pytest.mark.parametrize("name", [*DEVIATIONS, *OLDER])
def test_what_conforms_passes(compiled: Compile, name: str) -> None:
    verdicts = stand_in("none", compiled(name, "gcc"))
    seen = [verdict for case, verdict in verdicts.items() if case not in NOT_SEEN]
    assert "fail" not in seen, verdicts
    assert seen.count("skip") == OLDER.get(name, 0), verdicts


@pytest.mark.parametrize(
    ("name", "case", "deviation"),
    [(name, case, how) for name, cases in DEVIATIONS.items() for case, how in cases.items()],
)
def test_what_deviates_fails(compiled: Compile, name: str, case: str, deviation: str) -> None:
    assert stand_in(deviation, compiled(name, "gcc"), case) == {case: "fail"}
