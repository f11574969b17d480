"""Players of scripts: the guest of a cell, replaced by a fresh one when a script crashes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from harness.campaigns.fuzz.script import Play, Script, batch_text, read_plays
from harness.guest.verdict.failure import GuestFailure
from harness.run.cellguest import REMOTE_PROGRAMS, CellGuest

INTERPRETER = "fuzz/interpreter"
#: Seconds that a script may take on a fast machine, its own timeouts included.
_SCRIPT_S = 30.0
#: Failures of a guest that the host causes.
_HOST = {"qemu-died", "connection-lost", "not-restored"}


class Player(Protocol):
    """A player of scripts."""

    @property
    def name(self) -> str:
        """The name of its cell."""

    def play(self, scripts: Sequence[Script]) -> list[Play]:
        """Play scripts, each on its own, and return the play of each."""

    def complaints(self) -> list[str]:
        """Return the kernel's complaints since the last call."""

    def renew(self) -> None:
        """Play the next script in a guest that has played none."""


class CellPlayer:
    """A player in guests of a cell."""

    def __init__(self, guest: CellGuest) -> None:
        self._guest = guest
        self._fresh = False

    @property
    def name(self) -> str:
        """The name of its cell."""
        return self._guest.name

    def play(self, scripts: Sequence[Script]) -> list[Play]:
        """Play scripts, in as many guests as necessary.

        :raise GuestFailure: a guest does not boot, or the host failed.
        """
        plays: list[Play] = []
        while len(plays) < len(scripts):
            plays += self._batch(scripts[len(plays) :])
        return plays

    def complaints(self) -> list[str]:
        """Return the titles of the splats on the console since the last call.

        :raise GuestError: the console cannot be scanned.
        """
        self._guest.take_splats()
        seen, self._guest.splats_seen = self._guest.splats_seen, []
        return [f"{splat.kind}: {splat.title}" for splat, _ in seen]

    def renew(self) -> None:
        """Play the next script in a fresh guest."""
        self._fresh = True

    def _batch(self, scripts: Sequence[Script]) -> list[Play]:
        """Play up to the first script that ends the guest or the interpreter."""
        guest = self._guest
        guest.ready(fresh=self._fresh)
        self._fresh = False
        program = guest.push_program(INTERPRETER)
        # Kept beside the guest's console, so that the last batch is found after a crash.
        file = guest.folder / "batch.fuzz"
        file.write_text(batch_text(scripts))
        remote = f"{REMOTE_PROGRAMS}/batch"
        guest.push(file, f"{remote}/")
        heard = bytearray()
        ending = "the interpreter ended"
        try:
            guest.run(
                [program, "--scripts", f"{remote}/{file.name}"],
                timeout_s=_SCRIPT_S * len(scripts),
                env={"KTAP_TIMEOUT_SCALE": str(math.ceil(guest.factor))},
                on_stdout=heard.extend,
                most=math.inf,
            )
        except GuestFailure as failure:
            if failure.verdict in _HOST:
                raise
            ending = failure.what
        plays = list(read_plays(heard.decode(errors="replace")))
        if plays and plays[-1].ending == "unfinished":
            plays[-1] = plays[-1].model_copy(update={"ending": ending})
        if len(plays) < len(scripts) and (not plays or plays[-1].completed):
            plays.append(Play(lines=(), ending=ending))
        if not all(play.completed for play in plays):
            guest.mark_suspect()
        return plays
