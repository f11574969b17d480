"""What selftests want of a kernel's configuration: granted as far as that goes, and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import paths
from harness.artefacts.kernel import kconfig_wishes
from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.kernel.kconfig import parse_config
from harness.artefacts.kernel.kconfig_wishes import load_needs, merge, read_wishes
from harness.artefacts.store import Store
from harness.errors import BuildError, UserError
from harness.progress import Silent
from harness.values import KernelProfile

pytestmark = pytest.mark.usefixtures("fragments", "needs")

TOY = "tools/testing/selftests/toy"


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "selftests.toml"
    path.write_text('[toy]\noptions = ["GREEDY"]\n')
    monkeypatch.setattr("harness.paths.SELFTEST_NEEDS", path)
    return path


def config_of(profile: KernelProfile, store: Store) -> tuple[dict[str, str], list[str]]:
    notes = Notes()
    kernel = build_kernel(profile, store, notes)
    lost = [line for line in notes.said if "in vain" in line]
    return parse_config(kernel.config.read_text()), lost


def asking(profile: KernelProfile) -> KernelProfile:
    return profile.model_copy(update={"selftests": ("toy",)})


def test_a_targets_config_is_merged_with_what_it_depends_on(
    profile: KernelProfile, store: Store, toy: Path, fragments: Path
) -> None:
    (fragments / "base.config").write_text("CONFIG_64BIT=y\n# CONFIG_UNWANTED is not set\n")
    (toy / TOY / "config").write_text("CONFIG_X86_X2APIC=m\n\nnot an option\nCONFIG_NR_CPUS=4\n")
    plain, _ = config_of(profile, store)
    assert "X86_X2APIC" not in plain or plain["X86_X2APIC"] == "n"
    config, lost = config_of(asking(profile), store)
    # x2APIC depends on SMP, and on the first of two; GREEDY is our own list's.
    wanted = {"X86_X2APIC", "SMP", "HYPERVISOR_GUEST", "GREEDY"}
    assert {name for name in wanted if config.get(name) == "y"} == wanted
    assert config["NR_CPUS"] == "4"
    assert config["64BIT"] == "y"
    assert not lost


def test_what_cannot_be_granted_is_told(
    profile: KernelProfile, store: Store, toy: Path, needs: Path
) -> None:
    needs.write_text("")
    (toy / TOY / "config").write_text(
        "CONFIG_HIDDEN=y\nCONFIG_NO_SUCH=y\nCONFIG_NR_CPUS=64\n# CONFIG_SMP is not set\n"
    )
    config, lost = config_of(asking(profile), store)
    assert config["NR_CPUS"] == "16"
    assert config["SMP"] == "y"
    text = "\n".join(lost)
    assert f"CONFIG_HIDDEN=y ({TOY}/config:1): it has no prompt" in text
    assert "CONFIG_NO_SUCH=y" in text
    assert "no Kconfig file of the tree defines this option" in text
    assert "CONFIG_NR_CPUS=64" in text
    assert "base.config:4 asks for CONFIG_NR_CPUS=16" in text
    assert f"# CONFIG_SMP is not set ({TOY}/config:4): base.config:3 asks for CONFIG_SMP=y" in text
    # It is said again when nothing is built.
    assert config_of(asking(profile), store)[1] == lost


def test_what_base_leaves_out_gives_way_and_what_another_fragment_says_holds(
    profile: KernelProfile, store: Store, toy: Path, fragments: Path, needs: Path
) -> None:
    needs.write_text("")
    (toy / TOY / "config").write_text("CONFIG_UNWANTED=y\n")
    config, lost = config_of(asking(profile), store)
    assert config["UNWANTED"] == "y"
    assert not lost
    (fragments / "mine.config").write_text("# CONFIG_UNWANTED is not set\n")
    mine = asking(profile).model_copy(update={"fragments": ("base", "mine")})
    config, lost = config_of(mine, store)
    assert config["UNWANTED"] == "n"
    assert "mine.config:1 asks for # CONFIG_UNWANTED is not set" in lost[0]


def test_a_wish_does_not_take_away_what_a_fragment_asks_for(
    profile: KernelProfile, store: Store, fragments: Path
) -> None:
    """GREEDY selects UNWANTED, which a fragment of the user's does not want."""
    (fragments / "mine.config").write_text("# CONFIG_UNWANTED is not set\n")
    mine = asking(profile).model_copy(update={"fragments": ("base", "mine")})
    config, lost = config_of(mine, store)
    assert config["UNWANTED"] == "n"
    assert config.get("GREEDY", "n") == "n"
    assert "would take # CONFIG_UNWANTED is not set away" in lost[0]


def test_an_order_that_is_dropped_is_still_an_error(
    profile: KernelProfile, store: Store, fragments: Path
) -> None:
    (fragments / "base.config").write_text("CONFIG_HIDDEN=y\n")
    with pytest.raises(BuildError, match="CONFIG_HIDDEN=y"):
        build_kernel(asking(profile), store, Silent())


def test_the_folders_around_a_target_count() -> None:
    asked: list[str] = []

    def read(path: str) -> str | None:
        asked.append(path)
        return "CONFIG_A=y\n" if path.endswith("futex/config") else None

    found = kconfig_wishes.gather(["futex/functional"], {}, read)
    assert list(found) == ["A"]
    folder = "tools/testing/selftests"
    assert asked == [f"{folder}/{place}config" for place in ("futex/functional/", "futex/", "")]


def test_on_comes_before_off() -> None:
    wishes = merge(read_wishes("# CONFIG_A is not set\nCONFIG_B=m\nCONFIG_A=y\n", "c"))
    assert {name: wish.value for name, wish in wishes.items()} == {"A": "y", "B": "y"}


def test_our_own_list_is_well_formed() -> None:
    found = load_needs(paths.ROOT / "kernel-config" / "selftests.toml")
    assert found["mqueue"].options == ("POSIX_MQUEUE",)


@pytest.mark.parametrize("text", ["[toy]\noption = []\n", "toy = 1\n", "[toy\n"])
def test_a_list_that_is_malformed(needs: Path, text: str) -> None:
    needs.write_text(text)
    with pytest.raises(UserError, match="needs of the kernel's selftests"):
        load_needs(needs)
