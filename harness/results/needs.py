"""What a case needs of its cell, and which cases do not apply to a cell.

A program says it in the reason of a skip: ``# SKIP needs cpu:uintr: the CPU has no user
interrupts``. The program alone decides nothing. The cell's CPU profile and its kernel's headers say
what the cell has, before a guest is asked:

- if the cell lacks it, the case does not apply to the cell, and counts apart;
- if the cell has it, the program and the plan contradict each other, and the case fails;
- if it is not known, or not one of :data:`NEEDS`, the case is skipped like any other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from harness.results.ktap.reader import CaseResult
from harness.results.records import CaseRecord

CPU_UINTR, ABI_RFC, ABI_LATER = "cpu:uintr", "abi:rfc", "abi:later"
#: Need → the cells that have it, as text.
NEEDS = {
    CPU_UINTR: "CPUs with user interrupts",
    ABI_RFC: "kernels with the RFC's ABI",
    ABI_LATER: "kernels with the later ABI",
}
_SAID = re.compile(r"needs ([a-z]+:[a-z]+): *(.*)", re.DOTALL)


def settle(case: CaseResult, known: Mapping[str, bool]) -> CaseResult:
    """Return a case with the verdict that its need gives it in a cell.

    :param known: as :func:`harness.run.known.known_of` returns it.
    """
    said = _SAID.fullmatch(case.message) if case.status == "skip" else None
    if said is None or said[1] not in NEEDS or said[1] not in known:
        return case
    need, reason = said[1], said[2]
    if not known[need]:
        return case.model_copy(update={"message": reason, "lacks": need})
    what = f"it was skipped ({reason}), but by its profile this cell is one of the {NEEDS[need]}"
    return case.model_copy(update={"status": "fail", "message": what})


def elsewhere(cases: Iterable[CaseRecord]) -> dict[str, int]:
    """Count the cases that do not apply to their cells, by what the cells lack."""
    return dict(Counter(case.lacks for case in cases if case.lacks))


def described(counts: Mapping[str, int]) -> str:
    """Return counts of cases as text, for example ``340 for CPUs with user interrupts``."""
    return ", ".join(f"{number} for {NEEDS.get(need, need)}" for need, number in counts.items())
