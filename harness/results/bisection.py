"""``bisect.json``: how a first bad commit or patch was searched for, and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harness.errors import ExitCode
from harness.results.document import Document
from harness.results.summary import write_atomically
from harness.values import Value

BISECT_FILE = "bisect.json"

Verdict = Literal["good", "bad", "skip"]
#: Why a step has no verdict: its kernel or programs do not build, no guest comes up with it, or a
#: guest was lost in a way that its kernel need not be the cause of.
Cause = Literal["build", "boot", "guest"]
#: ``range``: steps without a verdict stand between the last good and the first bad one.
#: ``refused``: an end is not what it was said to be, so that there is nothing to find.
Status = Literal["searching", "found", "range", "refused"]


class Point(Value):
    """A commit, or a patch with all those before it."""

    #: The commit, or the number of patches: 0 is the tree without any.
    id: str
    subject: str


class Step(Value):
    """One point that was built and run."""

    number: int
    point: Point
    verdict: Verdict
    cause: Cause | None = None
    #: What failed first, as ``SUBJECT/PROGRAM::CASE`` or a word in parentheses.
    by: str = ""
    cell: str = ""
    #: What that said, or what stopped the step.
    message: str = ""
    #: What the run ended with.
    exit_code: int
    seconds: float
    #: Its folder below the results': ``run.log``, the kernel's profile, and ``run``.
    folder: str


class Bisection(Document):
    """``bisect.json``: rewritten as a whole after each step."""

    of: Literal["commits", "patches"]
    kernel: str
    #: The checkout, or the tree that the patches are for.
    tree: str
    good: Point
    bad: Point
    #: pytest's ``-k`` expression over the programs.
    select: str = ""
    status: Status = "searching"
    #: The first bad one, once it is found.
    first_bad: Point | None = None
    #: Those of which one is the first bad, the oldest first; none while they are very many.
    suspects: tuple[Point, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """0 if it was found; else what stood in the way: 4 for a guest, 3 for builds alone."""
        if self.status == "found":
            return ExitCode.PASSED
        hidden = {point.id for point in self.suspects}
        causes = {step.cause for step in self.steps if step.point.id in hidden}
        return ExitCode.GUEST if causes & {"boot", "guest"} else ExitCode.BUILD

    def step_of(self, point: Point) -> Step:
        """Return the step in which a point was run."""
        return next(step for step in self.steps if step.point == point)

    def write(self, folder: Path) -> None:
        """Put ``bisect.json`` into a folder.

        :raise GuestError: the host cannot keep it.
        """
        write_atomically(folder / BISECT_FILE, self.to_json())
