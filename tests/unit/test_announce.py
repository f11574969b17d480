"""What a run says before it downloads a series."""

from __future__ import annotations

from pathlib import Path

import pytest
from typing_extensions import override

from harness.artefacts.store import Store
from harness.progress import Silent
from harness.run import engine
from harness.run.announce import announce, intentions
from harness.values import (
    DebianArchiveSource,
    DebianSource,
    GitSource,
    KernelProfile,
    LoreSeries,
    MboxSeries,
    Plan,
    Source,
    TarballSource,
    TreeSource,
)
from tests.unit.runs import cell

LORE = LoreSeries(message_id="20210913200132.1-1-a@example.org")
DEBIAN = DebianSource(package="linux-source-6.12")


class Notes(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @override
    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.artefacts.store._flush", lambda _: None)
    return Store.open()


def plan(series: LoreSeries | MboxSeries | None) -> Plan:
    kernel = KernelProfile(name="k", source=DEBIAN, series=series)
    cells = [cell(smp=smp).model_copy(update={"kernel": kernel}) for smp in (1, 2)]
    return Plan(cells=tuple(cells))


def test_it_says_what_happens_in_order(store: Store) -> None:
    progress = Notes()
    announce(plan(LORE), store, progress)
    head, *steps = progress.notes
    assert "20210913200132.1-1-a@example.org" in head
    assert [step.split()[:2] for step in steps] == [
        ["1.", "fetch"],
        ["2.", "apply"],
        ["3.", "build"],
        ["4.", "boot"],
    ]
    assert "lore.kernel.org with b4" in steps[0]
    assert steps[1].endswith("to Debian's linux-source-6.12")
    assert all(one.name in steps[3] for one in plan(LORE).cells)


def test_what_is_not_downloaded_is_not_announced(store: Store, tmp_path: Path) -> None:
    progress = Notes()
    announce(plan(None), store, progress)
    announce(plan(MboxSeries(path=tmp_path)), store, progress)
    key = {"recipe": 1, "message-id": LORE.message_id}
    store.get("series", key, lambda folder: (folder / "series.mbox").touch())
    announce(plan(LORE), store, progress)
    assert progress.notes == []


def test_it_is_said_before_anything_else_is_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FirstError(Exception):
        pass

    def first(*_: object) -> None:
        raise FirstError

    def too_late(*_: object) -> None:
        pytest.fail("QEMU was chosen, and perhaps built, before")

    monkeypatch.setattr(engine, "announce", first)
    monkeypatch.setattr(engine, "choose_qemu", too_late)
    with pytest.raises(FirstError):
        engine.begin_run(None, Silent(), None, [], plan=plan(LORE))  # type: ignore[arg-type]


SOURCES: list[tuple[Source, str]] = [
    (DebianArchiveSource(package="linux", suite="sid"), "Debian's source package linux of sid"),
    (GitSource(url="https://example.org/l.git", revision="v6.12"), "v6.12 of https://example.org"),
    (TarballSource(url="https://example.org/l.tar", sha256="0" * 64), "the tarball https://"),
    (TreeSource(path=Path("/linux")), "a copy of /linux"),
    (TreeSource(path=Path("/linux"), revision="a" * 40), f"commit {'a' * 40} of /linux"),
]


@pytest.mark.parametrize(("source", "named"), SOURCES)
def test_each_kind_of_base_has_a_name(source: Source, named: str) -> None:
    kernel = KernelProfile(name="k", source=source, series=LORE)
    assert f"to {named}" in list(intentions(kernel, LORE, ["a"]))[2]
