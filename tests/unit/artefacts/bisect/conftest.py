"""Fixtures of the searches."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.artefacts.conftest import git, make_checkout

from .searches import (
    Looks,
    commit,
)


@pytest.fixture(autouse=True)
def own_fragments(fragments: Path) -> None:
    """Let the default kernel's fragments be what the toy tree knows."""
    (fragments / "uintr.config").write_text("# Why.\nCONFIG_SMP=y\n")


@pytest.fixture
def looks(tmp_path: Path) -> Looks:
    return Looks(tmp_path)


@pytest.fixture
def history(toy: Path) -> dict[str, str]:
    """A history whose bug comes with the second commit of a branch that was merged.

    ::

        base - one - two ------- merge - three - four
             \\                 /
              left - bug - right
    """
    make_checkout(toy)
    at = {"base": git(toy, "rev-parse", "HEAD")}
    git(toy, "checkout", "--quiet", "-b", "side")
    at["left"] = commit(toy, "left")
    at["bug"] = commit(toy, "Add a BUG", "int bug; /* BUG */\n")
    at["right"] = commit(toy, "right")
    git(toy, "checkout", "--quiet", "main")
    at["one"] = commit(toy, "one", file="lib/string.c")
    at["two"] = commit(toy, "two", file="lib/string.c")
    git(toy, "merge", "--quiet", "--no-ff", "-m", "Merge it", "side")
    at["merge"] = git(toy, "rev-parse", "HEAD")
    at["three"] = commit(toy, "three", file="lib/string.c")
    at["four"] = commit(toy, "four", file="lib/string.c")
    return at
