"""What the plugin keeps with pytest's own objects: in their stashes, and as user properties."""

from __future__ import annotations

import pytest

from harness.artefacts.store import Hold
from harness.guest.verdict.known_splats import KnownSplat
from harness.results.folder import CellSetup, RunFolder
from harness.run.journal import Journal

RUN = pytest.StashKey[RunFolder]()
#: By which name workers of pytest-xdist are told the run's folder.
RUN_OF_WORKERS = "uintr_run"
CELLS = pytest.StashKey[tuple[CellSetup, ...]]()
JOURNAL = pytest.StashKey[Journal]()
KNOWN = pytest.StashKey[tuple[KnownSplat, ...]]()
#: Keeps the artefacts in the store for as long as pytest runs.
HOLDS = pytest.StashKey[list[Hold]]()
#: Troubles in the journal when a test began.
TROUBLES = pytest.StashKey[int]()
#: Whether nobody else will note how the run ended.
STANDALONE = pytest.StashKey[bool]()
#: Names in a report's user properties.
CELL, PROGRAM = "cell", "program"
#: Set for a test that is no program: a developer's own.
OWN = "own"
#: Which run of a repeated test it is, from 1; also the fixture that says so.
ATTEMPT = "uintr_attempt"
