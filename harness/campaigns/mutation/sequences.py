"""Random sequences of instructions, played to the mutants that no program notices.

They are those of ``fuzz --bare-metal``, made once for all mutants, with what the model says must be
left of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from typing_extensions import override

from harness.campaigns.bare_fuzz.batch import Batch, Makes, batches_in_background
from harness.campaigns.bare_fuzz.campaign import SequencePlayer
from harness.campaigns.bare_fuzz.compare import differences, is_in_some_order, read_deviations
from harness.campaigns.bare_fuzz.play import SAVED, Modes, PlayerSetup, QemuPlayer, Start
from harness.errors import GuestError
from harness.progress import Progress
from harness.values import Emulator

#: The way in which sequences are played: a thread per CPU, as in guests, with saving and restoring.
#: The other ways differ from it in QEMU's own code only.
WAY = SAVED


class EndedError(GuestError):
    """QEMU ended, or hangs, in a sequence."""


class StoppingPlayer(QemuPlayer):
    """A player that plays nothing more when a sequence has ended QEMU: each start takes time."""

    @override
    def _start(self, way: str, packed: Sequence[bytes], modes: Modes) -> Start:
        start = super()._start(way, packed, modes)
        if start.ending:
            raise EndedError(f"QEMU in a sequence: {start.ending}")
        return start


class Sequences:
    """The sequences of a seed.

    :param machine: the unchanged emulator, a CPU and the player.
    """

    def __init__(
        self,
        machine: PlayerSetup,
        seed: int,
        count: int,
        make: Makes = batches_in_background,
        player: Callable[[PlayerSetup], SequencePlayer] = lambda machine: StoppingPlayer(
            machine, (WAY,)
        ),
    ) -> None:
        self._machine = machine
        self._seed = seed
        self._count = count
        self._make = make
        self._player = player
        self._deviations = read_deviations()
        self._batches: list[Batch] = []

    def prepare(self, progress: Progress) -> None:
        """Make them, and see that the unchanged emulator does what the model says.

        :raise GuestError: it does not.
        """
        with progress.step(f"make {self._count} sequences"):
            facts = self._player(self._machine).facts
            with self._make(self._seed, facts, self._count) as batches:
                self._batches = list(batches)
            unchanged = self._machine.emulator
            if found := self.judge(unchanged, first=True) or self.judge(unchanged):
                raise GuestError(
                    "the model does not agree with the unchanged emulator",
                    detail=found,
                    hint=f"uintr-harness fuzz --bare-metal --seed {self._seed}",
                )

    def judge(self, emulator: Emulator, *, first: bool = False) -> str:
        """Play them until one differs from the model, and return how; empty if none does.

        One has to differ again when they are played a second time: the host can disturb.

        :param first: whether to play those of the first batch, which take seconds, or the others.
        """
        batches = self._batches[:1] if first else self._batches[1:]
        return self._played(emulator, batches) and self._played(emulator, batches)

    def _played(self, emulator: Emulator, batches: Sequence[Batch]) -> str:
        try:
            player = self._player(self._machine._replace(emulator=emulator))
            return self._difference(player, batches)
        except EndedError as error:
            return error.what

    def _difference(self, player: SequencePlayer, batches: Sequence[Batch]) -> str:
        for batch in batches:
            played = player.play(WAY, batch.cases)
            for number, case, expected, one in zip(*batch, played, strict=True):
                found = differences(expected, one, self._deviations)
                if found and not is_in_some_order(case, player.facts, one, self._deviations):
                    said = found if isinstance(found, str) else "; ".join(map(str, found))
                    return f"sequence {number}: {said}"
        return ""
