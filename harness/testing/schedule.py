"""A scheduler for pytest-xdist that keeps a cell's tests in one worker, so that it boots once.

``--dist loadgroup`` is not used: it adds the group to the node id through a private attribute that
pytest 9.2 no longer reads. The hook for schedulers is public.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from harness.run.live import cell_of
from harness.testing.stash import CELLS, RUN, RUN_OF_WORKERS


class CellScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Distributes whole cells, and tests without a guest one by one."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        self._cells = [setup.cell.name for setup in config.stash[CELLS]]

    def _split_scope(self, nodeid: str) -> str:
        """Return the cell of a test, or its node id if it has none."""
        return cell_of(nodeid, self._cells) or nodeid


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> CellScheduling:
    """Use this scheduler whatever ``--dist`` says."""
    return CellScheduling(config, log)


@pytest.hookimpl
def pytest_configure_node(node: Any) -> None:
    """Pass the run's folder to a worker. The command line may not have it."""
    node.workerinput[RUN_OF_WORKERS] = str(node.config.stash[RUN].path)
