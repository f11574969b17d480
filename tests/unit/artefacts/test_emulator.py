"""Finding QEMU, what is wrong with one, and which one a plan gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.artefacts.emulator.choice import find_emulator
from harness.artefacts.store import Store
from harness.errors import UserError
from harness.progress import Silent
from harness.request.plan import make_plan
from harness.run import prepare
from harness.values import CpuProfile, Emulator, KernelProfile, Plan, TreeSource

from .conftest import MakeStub

SAYS = 'test "$1" = --version && echo "QEMU emulator version 7.2.22 (Debian)"; echo Copyright'


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UINTR_HARNESS_QEMU", raising=False)


def test_the_one_on_the_path(stub: MakeStub) -> None:
    binary = stub("qemu-system-x86_64", SAYS)
    emulator = find_emulator()
    assert emulator.binary == binary
    assert emulator.version == "7.2.22 (Debian)"


def test_none_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such emulator") as caught:
        find_emulator(str(tmp_path / "qemu"))
    assert caught.value.where == str(tmp_path / "qemu")
    assert "UINTR_HARNESS_QEMU" in (caught.value.hint or "")
    (tmp_path / "plain").write_text("not executable")
    with pytest.raises(UserError, match="no such emulator"):
        find_emulator(str(tmp_path / "plain"))


def test_something_that_is_no_qemu(stub: MakeStub) -> None:
    with pytest.raises(UserError, match="no QEMU: --version ended with 0"):
        find_emulator(str(stub("other", "echo hello")))
    with pytest.raises(UserError, match="ended with 127") as caught:
        find_emulator(str(stub("broken", "echo 'libslirp.so.0: not found' >&2; exit 127")))
    assert caught.value.detail == "libslirp.so.0: not found"


# --- which one -----------------------------------------------------------------------------


def plan(*exposing: bool) -> Plan:
    kernel = KernelProfile(name="k", source=TreeSource(path=Path("/k")))
    cpus = [
        CpuProfile(name=f"c{number}", model="max", exposes_uintr=exposes)
        for number, exposes in enumerate(exposing)
    ]
    return make_plan([kernel], cpus, [1], ["gcc"])


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch, stub: MakeStub, store: Store) -> Callable[..., str]:
    """Return a function from a plan to ``ours`` or the binary's name; nothing is built or asked."""
    stub("qemu-system-x86_64", SAYS)
    ours = Emulator(binary=Path("/ours"), version="10")

    def build(_store: Store, _progress: Silent, name: str = "ours") -> Emulator:
        return ours.model_copy(update={"binary": Path("/") / Path(name).stem})

    monkeypatch.setattr("harness.artefacts.emulator.choice.build_emulator", build)

    def choose(plan: Plan, option: str | None = None, *, knows: bool = False) -> str:
        monkeypatch.setattr("harness.run.prepare.knows_property", lambda *_: knows)
        return prepare.choose_emulator(plan, option, store, Silent()).binary.name

    return choose


def test_the_hosts_serves_as_long_as_nothing_is_exposed(choose: Callable[..., str]) -> None:
    assert choose(plan(False)) == "qemu-system-x86_64"
    assert choose(plan(False), "auto") == "qemu-system-x86_64"
    assert choose(plan(False, True)) == "ours"
    assert choose(plan(True), knows=True) == "qemu-system-x86_64"


def test_the_user_may_choose(
    choose: Callable[..., str], stub: MakeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = stub("mine", SAYS)
    assert choose(plan(False), "bundled") == "ours"
    assert choose(plan(True), "system") == "qemu-system-x86_64"
    assert choose(plan(True), str(mine)) == "mine"
    monkeypatch.setenv("UINTR_HARNESS_QEMU", str(mine))
    assert choose(plan(True)) == "mine"
    assert choose(plan(True), "bundled") == "ours"
    assert choose(plan(False), "my/own.toml") == "own"


def test_a_host_without_qemu(choose: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.artefacts.emulator.choice.SYSTEM_BINARY", "no-such-qemu")
    monkeypatch.setenv("PATH", "/nowhere")
    assert choose(plan(True)) == "ours"
    with pytest.raises(UserError, match="no such emulator"):
        choose(plan(False))
