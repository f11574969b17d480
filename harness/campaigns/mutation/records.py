"""What is known of generated mutants: results, and reasons why some survive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.campaigns.mutants import MutantTarget
from harness.campaigns.mutation.candidates import Candidate
from harness.errors import ExitCode, UserError
from harness.lib.documents import read_json, read_toml, validate
from harness.results.document import Document
from harness.values import Compiler, Value

#: In the folder of the results; beside the mutants that were made by hand.
REPORT_FILE, EXPLAINED_FILE = "generated.json", "explained.toml"

GeneratedStatus = Literal[
    "killed",  # a program or a sequence notices it
    "survived",  # none does
    "explained",  # none does, and a reason is known
    "equivalent",  # the objects are those of the unchanged series
    "same",  # the objects are those of a mutant before it
    "does-not-build",
    "not-judged",  # a guest or the host failed
]
#: Those that count: they differ, from the series and from each other.
DIFFERENT = ("killed", "survived", "explained", "not-judged")


class Explained(Value):
    """Why no program can notice a mutant."""

    #: The last part of the mutant's name.
    change: str
    #: For readers: what the rest of its name and its patch say.
    file: str
    rule: str
    reason: str = Field(min_length=1)


class GeneratedResult(Value):
    """What came of one mutant."""

    name: str
    file: str
    line: int
    rule: str
    status: GeneratedStatus
    #: How it was noticed: a case that failed, a complaint of the kernel, a program that hangs, a
    #: guest or QEMU that ended, or a sequence of instructions.
    way: Literal["", "case", "splat", "hang", "guest", "sequence"] = ""
    #: ``SUBJECT/PROGRAM::CASE``.
    by: str = ""
    program: str = ""
    cell: str = ""
    #: What that said, why it survives, or what did not build.
    message: str = ""
    #: Cases of other programs that failed once and not again, if nothing else noticed it.
    unsteady: tuple[str, ...] = ()
    #: A digest of the objects that differ from the unchanged ones.
    objects: str = ""
    #: Seconds that building and running took.
    build_s: float = 0.0
    run_s: float = 0.0

    @property
    def change(self) -> str:
        """The digest of what changes, which a reason names."""
        return self.name.rpartition("-")[2]

    @classmethod
    def of(cls, candidate: Candidate, status: GeneratedStatus, **more: object) -> GeneratedResult:
        """Make the result of a mutant."""
        fields = {"name": candidate.name, "file": candidate.file, "line": candidate.line}
        return cls.model_validate({**fields, "rule": candidate.rule, "status": status, **more})


class Basis(Value):
    """All that decides which mutants there are, and what they are run with."""

    of: MutantTarget
    #: The profile whose series was changed.
    profile: str
    #: Digests of its patches.
    series: tuple[str, ...]
    seed: int
    #: Patterns of names; none for all.
    names: tuple[str, ...] = ()
    cpus: tuple[str, ...]
    smp: tuple[int, ...]
    compilers: tuple[Compiler, ...]
    accel: Literal["auto", "tcg", "kvm"]
    select: str
    sequences: int = 0


class GeneratedReport(Document):
    """``generated.json``: rewritten as a whole after each mutant."""

    basis: Basis
    #: Mutants that differ and were asked for, and all that the rules make.
    wanted: int
    candidates: int
    #: By file: mutants that were left out, because too much depends on it or nothing built does.
    left_out: dict[str, int] = Field(default_factory=dict)
    results: tuple[GeneratedResult, ...] = ()

    @property
    def different(self) -> int:
        """How many mutants differ from the series and from each other."""
        return sum(one.status in DIFFERENT for one in self.results)

    @property
    def exit_code(self) -> ExitCode:
        """The command's exit code: 4 wins over 1."""
        seen = {one.status for one in self.results}
        if "not-judged" in seen:
            return ExitCode.GUEST
        return ExitCode.TESTS_FAILED if "survived" in seen else ExitCode.PASSED

    def rows(self, by: Literal["rule", "file", ""]) -> list[tuple[str, Counter[str]]]:
        """Return the table's rows: a name, and counts by status and by ``killed-WAY``."""
        found: dict[str, Counter[str]] = {}
        for one in self.results:
            counts = found.setdefault(getattr(one, by) if by else "all", Counter())
            counts[one.status] += 1
            if one.status == "killed":
                counts[f"killed-{one.way}"] += 1
        return sorted(found.items())


def read_report(path: Path, basis: Basis) -> GeneratedReport | None:
    """Return what is known already of the same mutants; None without such a file.

    :raise UserError: the file is of other mutants, or cannot be read.
    """
    if not path.exists():
        return None
    what = "what is known of these mutants cannot be read"
    report = read_json(path, GeneratedReport, what, "give another --out, or remove the file")
    if report.basis != basis:
        raise UserError(
            "this folder holds results of other mutants: another series, seed or cells",
            where=path,
            hint="give another --out, or remove the old ones",
        )
    return report


class _Explanations(Value):
    explained: tuple[Explained, ...] = ()


def read_explained(path: Path) -> dict[str, Explained]:
    """Return the mutants that are known to survive, by their change; none without such a file.

    :raise UserError: it cannot be read.
    """
    if not path.exists():
        return {}
    what = "the reasons why mutants survive cannot be read"
    hint = f"each [[explained]] needs {', '.join(Explained.model_fields)}"
    found = validate(_Explanations, read_toml(path, what, hint), path, what, hint).explained
    return {one.change: one for one in found}


def unknown(explained: Iterable[Explained], candidates: Iterable[Candidate]) -> list[Explained]:
    """Return the reasons for which there is no mutant any more."""
    changes = {one.change for one in candidates}
    return [one for one in explained if one.change not in changes]
