"""Ranges to bisect, from good to bad: a checkout's commits, or a series' patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from typing_extensions import override

from harness.artefacts.source.commits import Commits
from harness.artefacts.source.patch import Patch
from harness.artefacts.source.series import slug, subject_of, write_series
from harness.artefacts.source.trees import describe_source
from harness.errors import UserError
from harness.values import FolderSeries, KernelProfile, TreeSource


class SearchRange(Protocol):
    """A range from good to bad. Points are identified by their ids."""

    of: Literal["commits", "patches"]
    tree: str

    def subject(self, id_: str) -> str:
        """Return the subject of a point's commit or patch."""

    def suspects(self, goods: Sequence[str], bad: str) -> list[str]:
        """Return the points that may be the first bad one, ``bad`` included, oldest first."""

    def next_best(self, goods: Sequence[str], bad: str) -> list[str]:
        """Return the suspects without ``bad``, the best one to test next first."""

    def also_good(self, good: str, bad: str) -> list[str]:
        """Return further points that must be good for the search to be valid.

        :raise UserError: ``good`` does not come before ``bad``.
        """

    def profile(self, id_: str, folder: Path) -> KernelProfile:
        """Return the kernel of a point; its series, if any, is written to ``folder``."""

    def place(self, id_: str) -> str:
        """Return the name of a point's folder."""


class CommitRange(SearchRange):
    """The commits of a checkout."""

    of: Literal["commits", "patches"] = "commits"

    def __init__(self, profile: KernelProfile, commits: Commits) -> None:
        self._profile = profile
        self._commits = commits
        self.tree = str(commits.tree)

    @override
    def subject(self, id_: str) -> str:
        return self._commits.subject(id_)

    @override
    def suspects(self, goods: Sequence[str], bad: str) -> list[str]:
        return self._commits.suspects(goods, bad)

    @override
    def next_best(self, goods: Sequence[str], bad: str) -> list[str]:
        return self._commits.next_best(goods, bad)

    @override
    def also_good(self, good: str, bad: str) -> list[str]:
        if good == bad or self._commits.is_ancestor(bad, good):
            raise UserError(
                "the good commit has the bad one in its history",
                where=f"--good {good[:12]} --bad {bad[:12]}",
                hint="a search goes from an old good commit to a newer bad one",
            )
        if self._commits.is_ancestor(good, bad):
            return []
        bases = self._commits.merge_bases(good, bad)
        if not bases:
            raise UserError(
                "the good and the bad commit have no history in common",
                where=f"--good {good[:12]} --bad {bad[:12]}",
            )
        return bases

    @override
    def profile(self, id_: str, folder: Path) -> KernelProfile:
        source = TreeSource(path=self._commits.tree, revision=id_)
        return self._profile.model_copy(update={"source": source, "series": None})

    @override
    def place(self, id_: str) -> str:
        return f"{id_[:12]}-{slug(self.subject(id_))}"


class PatchRange(SearchRange):
    """The patches of a series; a point is a number of them, applied to the base."""

    of: Literal["commits", "patches"] = "patches"

    def __init__(self, profile: KernelProfile, patches: Sequence[Patch]) -> None:
        self._profile = profile
        self._patches = patches
        self.tree = describe_source(profile.source)

    @override
    def subject(self, id_: str) -> str:
        number = int(id_)
        return subject_of(self._patches[number - 1]) if number else f"{self.tree}, no patch"

    @override
    def suspects(self, goods: Sequence[str], bad: str) -> list[str]:
        return [str(number) for number in range(max(map(int, goods)) + 1, int(bad) + 1)]

    @override
    def next_best(self, goods: Sequence[str], bad: str) -> list[str]:
        middle = (max(map(int, goods)) + int(bad)) / 2
        others = self.suspects(goods, bad)[:-1]
        return sorted(others, key=lambda one: abs(int(one) - middle))

    @override
    def also_good(self, good: str, bad: str) -> list[str]:
        if int(good) >= int(bad):
            raise UserError(
                "the good patch does not come before the bad one",
                where=f"--good {good} --bad {bad}",
                hint="0 is the tree without any patch",
            )
        return []

    @override
    def profile(self, id_: str, folder: Path) -> KernelProfile:
        series = None
        if int(id_):
            path = write_series(folder / "series", self._patches[: int(id_)])
            series = FolderSeries(path=path)
        return self._profile.model_copy(update={"series": series})

    @override
    def place(self, id_: str) -> str:
        return f"patch-{int(id_):02}-{slug(self.subject(id_))}"
