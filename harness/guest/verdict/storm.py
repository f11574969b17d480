"""A limit on the splats that are kept of one guest."""

from __future__ import annotations

from collections.abc import Callable

from harness.guest.verdict.splat_report import Splat

#: Limit for the splats that are kept.
MAX_SPLATS = 200
#: Limit for the excused splats that are kept.
MAX_EXCUSED = 50
#: Kind of the splat that stands for those that were dropped. It is never excused.
STORM = "storm"


class SplatBuffer:
    """Keeps the first splats. Excused ones have their own limit, so that the others have room."""

    def __init__(self) -> None:
        self._kept: list[Splat] = []
        self._known: Callable[[Splat], bool] = lambda _: False
        self._excused = 0
        self._others = 0

    def excuse(self, known: Callable[[Splat], bool]) -> None:
        """Set the test for excused splats, for splats that are added from now on."""
        self._known = known

    def add(self, splat: Splat) -> None:
        """Add a finished splat."""
        if self.full:
            return
        if splat.kind != "panic" and self._known(splat):
            self._excused += 1
            if self._excused <= MAX_EXCUSED:
                self._kept.append(splat)
            return
        self._others += 1
        if self._others > MAX_SPLATS:
            what = f"more than {MAX_SPLATS} splats of the kernel; the rest was ignored"
            splat = splat.model_copy(
                update={"kind": STORM, "title": what, "fingerprint": STORM, "excerpt": what}
            )
        self._kept.append(splat)

    @property
    def full(self) -> bool:
        """Whether the limit was exceeded, so that further splats are ignored."""
        return self._others > MAX_SPLATS

    def splats(self) -> list[Splat]:
        """Return the splats that were kept."""
        return list(self._kept)
