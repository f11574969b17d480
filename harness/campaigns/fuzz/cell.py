"""The guest of a cell that plays scripts, and another one when it has died of a script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from harness.campaigns.fuzz.script import Play, Script, batch_text, read_plays
from harness.guest.verdict.failure import GuestFailure
from harness.run.cellguest import REMOTE_PROGRAMS, CellGuest

INTERPRETER = "fuzz/interpreter"
#: Seconds on a fast machine that a script may take with all that can go wrong in it.
_SCRIPT_S = 30.0
#: What ends a guest and is not the guest's doing.
_HOST = {"qemu-died", "connection-lost", "not-restored"}


class Player(Protocol):
    """Whoever plays scripts."""

    @property
    def name(self) -> str:
        """The name of its cell."""

    def play(self, scripts: Sequence[Script]) -> list[Play]:
        """Play them, each on its own, and return what came of each."""

    def complaints(self) -> list[str]:
        """Return what the kernel has complained of since the last call."""

    def renew(self) -> None:
        """See that the next script is played where none has been played."""


class CellPlayer:
    """Plays in the guest of a cell, and in the next one."""

    def __init__(self, guest: CellGuest) -> None:
        self._guest = guest
        self._fresh = False

    @property
    def name(self) -> str:
        """The name of its cell."""
        return self._guest.name

    def play(self, scripts: Sequence[Script]) -> list[Play]:
        """Play them in as many guests as it takes.

        :raise GuestFailure: a guest does not come up, or the host has failed.
        """
        plays: list[Play] = []
        while len(plays) < len(scripts):
            plays += self._batch(scripts[len(plays) :])
        return plays

    def complaints(self) -> list[str]:
        """Return the titles of what the console has had since the last call.

        :raise GuestError: the console cannot be scanned.
        """
        self._guest.take_splats()
        seen, self._guest.splats_seen = self._guest.splats_seen, []
        return [f"{splat.kind}: {splat.title}" for splat, _ in seen]

    def renew(self) -> None:
        """Ask for a guest in which nothing has run."""
        self._fresh = True

    def _batch(self, scripts: Sequence[Script]) -> list[Play]:
        """Play until the first one that the guest, or the interpreter, did not survive."""
        guest = self._guest
        guest.ready(fresh=self._fresh)
        self._fresh = False
        program = guest.push_program(INTERPRETER)
        # Beside the guest's console, where the last batch is found after a crash.
        file = guest.folder / "batch.fuzz"
        file.write_text(batch_text(scripts))
        remote = f"{REMOTE_PROGRAMS}/batch"
        guest.push(file, remote)
        heard = bytearray()
        ending = "the interpreter ended"
        try:
            guest.run(
                [program, "--scripts", f"{remote}/{file.name}"],
                timeout_s=_SCRIPT_S * len(scripts),
                env={"KTAP_TIMEOUT_SCALE": str(math.ceil(guest.factor))},
                on_stdout=heard.extend,
            )
        except GuestFailure as failure:
            if failure.verdict in _HOST:
                raise
            ending = failure.what
        plays = list(read_plays(heard.decode(errors="replace")))
        if plays and plays[-1].ending == "unfinished":
            plays[-1] = plays[-1].model_copy(update={"ending": ending})
        if len(plays) < len(scripts) and (not plays or plays[-1].well):
            plays.append(Play(lines=(), ending=ending))
        if not all(play.well for play in plays):
            guest.doubt()
        return plays
