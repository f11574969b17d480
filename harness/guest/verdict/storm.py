"""The reports of a kernel that are kept, when there are more than anybody reads."""

from __future__ import annotations

from collections.abc import Callable

from harness.guest.verdict.splat_report import Splat
from harness.guest.verdict.splats import MAX_SPLATS

#: Reports that are kept although something excuses them.
MAX_EXCUSED = 50
#: The kind of the report that stands for those that were dropped; nothing excuses it.
STORM = "storm"


class Keeper:
    """Keeps the first reports. Excused ones are counted apart, so that they crowd out no others."""

    def __init__(self) -> None:
        self._kept: list[Splat] = []
        self._known: Callable[[Splat], bool] = lambda _: False
        self._excused = 0
        self._others = 0

    def excuse(self, known: Callable[[Splat], bool]) -> None:
        """Set what tells whether a report is excused; it counts from here on."""
        self._known = known

    def add(self, splat: Splat) -> None:
        """Take a report that is complete."""
        if self.full:
            return
        if splat.kind != "panic" and self._known(splat):
            self._excused += 1
            if self._excused <= MAX_EXCUSED:
                self._kept.append(splat)
            return
        self._others += 1
        if self._others > MAX_SPLATS:
            what = f"more than {MAX_SPLATS} complaints of the kernel; the rest was not looked at"
            splat = splat.model_copy(
                update={"kind": STORM, "title": what, "fingerprint": STORM, "excerpt": what}
            )
        self._kept.append(splat)

    @property
    def full(self) -> bool:
        """Whether a storm was told, and nothing more is kept."""
        return self._others > MAX_SPLATS

    def splats(self) -> list[Splat]:
        """Return the reports that were kept."""
        return list(self._kept)
