"""What workers of pytest-xdist run: a cell's tests stay together, so that it boots once.

pytest-xdist has ``--dist loadgroup`` for this, but that puts the group into the node's id by a
private attribute that pytest 9.2 no longer reads; the hook for a scheduler is public.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from harness.run.live import cell_of
from harness.testing.stash import CELLS, RUN, RUN_OF_WORKERS


class CellScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Hands out whole cells; tests without a guest go as they are."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        self._cells = [setup.cell.name for setup in config.stash[CELLS]]

    def _split_scope(self, nodeid: str) -> str:
        """Return the cell that a test runs in, by its parameters."""
        return cell_of(nodeid, self._cells) or nodeid


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> CellScheduling:
    """Use it instead of what ``--dist`` says."""
    return CellScheduling(config, log)


@pytest.hookimpl
def pytest_configure_node(node: Any) -> None:
    """Tell a worker the run: it reads the command line anew, and that need not name one."""
    node.workerinput[RUN_OF_WORKERS] = str(node.config.stash[RUN].path)
