"""The history of a git checkout, for a bisection. The checkout is read and never written to.

The next commit to test comes from ``git rev-list --bisect-all``, as in ``git bisect``, so that
merges are treated as users expect. Unlike with ``git bisect``, the state of the search is not kept
in the checkout, which somebody may be working in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.artefacts.source.checkout import ask, git_dir_of
from harness.errors import BuildError, UserError
from harness.lib.process import Captured


class Commits:
    """Queries of a checkout's history.

    :param tree: the top folder of the checkout.
    :param first_parent: follow only the first parent of a merge.
    :raise UserError: it is no git checkout.
    """

    def __init__(self, tree: Path, *, first_parent: bool = False) -> None:
        self.tree = tree
        self.first_parent = first_parent
        self._git_dir = git_dir_of(tree)

    def resolve(self, revision: str) -> str:
        """Return the commit that a revision names in this checkout.

        :raise UserError: it names none, or more than one.
        """
        found = self._try("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        if found.returncode != 0:
            raise UserError(
                f"there is no commit {revision!r}",
                where=self.tree,
                detail=found.complaint or None,
                hint="name a commit, a tag or a branch of this checkout",
            )
        return found.text

    def subject(self, commit: str) -> str:
        """Return the first line of a commit's message."""
        return self._ask("show", "--no-patch", "--format=%s", commit)

    def suspects(self, goods: Sequence[str], bad: str) -> list[str]:
        """Return ``bad`` and its ancestors that are in no history of ``goods``, oldest first."""
        return self._listed("--topo-order", "--reverse", goods=goods, bad=bad)

    def next_best(self, goods: Sequence[str], bad: str) -> list[str]:
        """Return the suspects without ``bad``, those first whose test halves the rest best."""
        return [one for one in self._listed("--bisect-all", goods=goods, bad=bad) if one != bad]

    def _listed(self, *options: str, goods: Sequence[str], bad: str) -> list[str]:
        if self.first_parent:
            options = (*options, "--first-parent")
        said = self._ask("rev-list", *options, bad, *(f"^{good}" for good in goods), "--")
        return [line.split(" ", 1)[0] for line in said.splitlines()]

    def is_ancestor(self, old: str, new: str) -> bool:
        """Tell whether ``old`` is ``new``, or in its history."""
        return self._try("merge-base", "--is-ancestor", old, new).returncode == 0

    def merge_bases(self, one: str, other: str) -> list[str]:
        """Return the best common ancestors of two commits; empty if they are unrelated."""
        return self._try("merge-base", "--all", one, other).text.split()

    def _ask(self, *args: str) -> str:
        said = self._try(*args)
        if said.returncode != 0:
            raise BuildError(f"git {args[0]} failed", where=self.tree, detail=said.complaint)
        return said.text

    def _try(self, *args: str) -> Captured:
        return ask(self._git_dir, *args)
