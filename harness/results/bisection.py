"""``bisect.json``: the search for the first bad commit or patch, and its result."""

from __future__ import annotations

from typing import Literal

from harness.errors import ExitCode
from harness.results.document import Document
from harness.values import Value

BISECT_FILE = "bisect.json"

StepVerdict = Literal["good", "bad", "skip"]
#: Why a step has no verdict: its kernel or programs do not build, no guest boots with it, or a
#: guest was lost for a reason that may lie outside the kernel.
Cause = Literal["build", "boot", "guest", "untested"]
#: ``range``: there are steps without a verdict between the last good and the first bad one.
#: ``refused``: the good end is not good, or the bad end is not bad.
SearchStatus = Literal["searching", "found", "range", "refused"]


class Point(Value):
    """A commit, or a patch with all patches before it."""

    #: The commit, or the number of patches; 0 is the tree without patches.
    id: str
    subject: str


class BisectionStep(Value):
    """One point that was built and run."""

    number: int
    point: Point
    verdict: StepVerdict
    cause: Cause | None = None
    #: The first failure, as ``SUBJECT/PROGRAM::CASE`` or a word in parentheses.
    by: str = ""
    cell: str = ""
    #: The message of the first failure, or what stopped the step.
    message: str = ""
    #: The run's exit code.
    exit_code: int
    seconds: float
    #: Folder within the results, with ``run.log``, the kernel's profile, and ``run``.
    folder: str


class Bisection(Document):
    """``bisect.json``. Rewritten after each step."""

    of: Literal["commits", "patches"]
    kernel: str
    #: The checkout, or the tree to which the patches apply.
    tree: str
    good: Point
    bad: Point
    #: pytest's ``-k`` expression over the programs.
    select: str = ""
    status: SearchStatus = "searching"
    #: The first bad commit or patch; None until it is found.
    first_bad: Point | None = None
    #: Candidates for the first bad one, the oldest first; empty while there are very many.
    suspects: tuple[Point, ...] = ()
    steps: tuple[BisectionStep, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """0 if it was found; otherwise 3 if only builds prevented it, or 4."""
        if self.status == "found":
            return ExitCode.PASSED
        hidden = {point.id for point in self.suspects}
        causes = {step.cause for step in self.steps if step.point.id in hidden}
        return ExitCode.GUEST if causes & {"boot", "guest", "untested"} else ExitCode.BUILD

    def step_of(self, point: Point) -> BisectionStep:
        """Return the step in which a point was run."""
        return next(step for step in self.steps if step.point == point)
