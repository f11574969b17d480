"""Keys for the plugin's data in pytest's stashes and user properties; its own exception."""

from __future__ import annotations

import pytest

from harness.artefacts.store import Hold
from harness.guest.verdict.known_splats import KnownSplat
from harness.results.folder import CellSetup, RunFolder
from harness.run.journal import Journal

RUN = pytest.StashKey[RunFolder]()
#: Key of the run's folder in the input of pytest-xdist's workers.
RUN_OF_WORKERS = "uintr_run"
CELLS = pytest.StashKey[tuple[CellSetup, ...]]()
JOURNAL = pytest.StashKey[Journal]()
KNOWN = pytest.StashKey[tuple[KnownSplat, ...]]()
#: Keeps the artefacts in the store while pytest runs.
HOLDS = pytest.StashKey[list[Hold]]()
#: Texts about the splats of each cell, for the end of the session.
SPLATS = pytest.StashKey[list[str]]()
#: Names in a report's user properties.
CELL, PROGRAM = "cell", "program"
#: Set for a developer's own test.
OWN = "own"
#: Number of a test's run, from 1; also the name of the fixture.
ATTEMPT = "uintr_attempt"


class Recorded(pytest.fail.Exception):  # type: ignore[misc,name-defined]  # made at run time
    """The failure of a case or of a cell, of which there are records already."""
