from __future__ import annotations

from pathlib import Path

import pytest

from harness import paths
from harness.errors import UserError
from harness.names import cpu_names
from harness.request.profiles import (
    KernelOverrides,
    expand_cpus,
    load_cpu,
    load_kernel,
    parse_series,
)
from harness.values import FolderSeries, KernelProfile, LoreSeries, MboxSeries, TreeSource

TREE = """
[source]
kind = "tree"
path = "linux"
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux" / "Kbuild").touch()
    path = tmp_path / "mine.toml"
    path.write_text(TREE)
    return path


def series_folder(folder: Path, *patches: str, listed: str = "") -> Path:
    folder.mkdir()
    for patch in patches:
        (folder / patch).touch()
    (folder / "series").write_text(listed or "".join(f"{patch}\n" for patch in patches))
    return folder


def test_every_profile_of_the_repository_loads() -> None:
    for path in paths.CPUS.glob("*.toml"):
        assert load_cpu(path.stem).name == path.stem
    for path in paths.KERNELS.glob("*.toml"):
        assert load_kernel(path.stem, KernelOverrides(series="none")).name == path.stem


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder and settings with no profiles yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return tmp_path


HERE, SETTINGS = "kernel-config", "settings/uintr-harness"


@pytest.mark.parametrize("place", [HERE, SETTINGS])
def test_own_profiles_are_found_by_name(own: Path, place: str) -> None:
    for kind, name, text in (
        ("cpus", "hidden-mine.toml", (paths.CPUS / "hidden.toml").read_text()),
        ("kernels", "mine.toml", TREE),
        ("fragments", "more.config", "CONFIG_KASAN=y\n"),
    ):
        (own / place / kind).mkdir(parents=True)
        (own / place / kind / name).write_text(text)
    tree = own / place / "kernels" / "linux"
    tree.mkdir()
    (tree / "Kbuild").touch()
    assert load_cpu("hidden-mine").name == "hidden-mine"
    assert "hidden-mine" in expand_cpus(["hidden*"])
    kernel = load_kernel("mine", KernelOverrides(fragments=("kasan", "more")))
    assert kernel.name == "mine+kasan+more"
    assert kernel.source == TreeSource(path=tree)
    assert kernel.fragments[-2:] == ("kasan", own / place / "fragments" / "more.config")


def test_an_own_profile_never_takes_the_place_of_another(own: Path) -> None:
    text = (paths.CPUS / "hidden.toml").read_text()
    for place in (HERE, SETTINGS):
        (own / place / "cpus").mkdir(parents=True)
        (own / place / "cpus" / "hidden.toml").write_text(text)
    assert load_cpu("hidden").name == "hidden"
    (own / SETTINGS / "cpus" / "hidden.toml").write_text(f"{text}# another\n")
    with pytest.raises(UserError, match="two files of one cpu, and they differ") as caught:
        load_cpu("hidden")
    assert "settings/uintr-harness/cpus/hidden.toml" in str(caught.value)


def test_a_cpu_says_in_its_name_whether_it_exposes_user_interrupts() -> None:
    """A pattern picks cpus by their names' beginning; what is off is pinned in the guest too."""
    for name in cpu_names():
        cpu = load_cpu(name)
        assert name.partition("-")[0] == ("exposed" if cpu.exposes_uintr else "hidden")
        assert not set(cpu.require_flags) & set(cpu.forbid_flags)
        for lack in ("pku", "rdrand", "xsave", "x2apic", "la57"):
            assert (f"-{lack}" in cpu.features) <= (lack in cpu.forbid_flags), name
            if name.endswith(f"-no-{lack}"):
                assert f"-{lack}" in cpu.features


def test_a_pattern_stands_for_the_cpus_that_match() -> None:
    every = expand_cpus(["all"])
    assert every == tuple(cpu_names())
    hidden = expand_cpus(["hidden*"])
    assert set(hidden) == {name for name in every if name.startswith("hidden")}
    assert expand_cpus(["hidden", "*no-la57", "hidden*"]) == (
        "hidden",
        "exposed-no-la57",
        "hidden-no-la57",
        *(name for name in hidden if name not in {"hidden", "hidden-no-la57"}),
    )
    assert expand_cpus(["./all.toml", "hiden"]) == ("./all.toml", "hiden")
    with pytest.raises(UserError, match=r"no cpu matches 'x\*'"):
        expand_cpus(["x*"])


def test_paths_count_from_the_profiles_folder(profile: Path, tmp_path: Path) -> None:
    series_folder(tmp_path / "patches", "a.patch")
    profile.write_text(TREE + '[series]\nkind = "folder"\npath = "patches"\n')
    kernel = load_kernel(str(profile))
    assert kernel.name == "mine"
    assert kernel.source == TreeSource(path=tmp_path / "linux")
    assert kernel.series == FolderSeries(path=tmp_path / "patches")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("linux-6.13", "did you mean linux-6.12?"), ("zzz", "known: linux-6.12")],
)
def test_an_unknown_kernel_names_the_known_ones(name: str, hint: str) -> None:
    with pytest.raises(UserError, match="no kernel named") as caught:
        load_kernel(name)
    assert hint in str(caught.value)


def test_an_unknown_cpu_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="no cpu named 'hiden'") as caught:
        load_cpu("hiden")
    assert "did you mean hidden?" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("source = 3", "valid dictionary", "mine.toml: source"),
        ("model = ", "it is not TOML", "mine.toml"),
        (TREE + "colour = 1", "there is no such field", "mine.toml: source.tree.colour"),
        ("x = 1" + TREE, "there is no such field", "mine.toml: x"),
        ("", "a field is missing", "mine.toml: source"),
        ('name = "other"' + TREE, "name is its file's name", "mine.toml: name"),
        ('toolchain = "icc"' + TREE, "'gcc' or 'clang'", "mine.toml: toolchain"),
        ('fragments = ["bse"]' + TREE, "no config fragment named 'bse'", "fragments"),
    ],
)
def test_a_wrong_profile_names_file_and_field(
    profile: Path, text: str, what: str, where: str
) -> None:
    profile.write_text(text)
    with pytest.raises(UserError) as caught:
        load_kernel(str(profile))
    assert what in caught.value.what
    assert where in str(caught.value.where)


def test_a_tree_is_tested_as_it_stands(profile: Path, tmp_path: Path) -> None:
    tree = tmp_path / "linux"
    assert load_kernel("linux-6.12", KernelOverrides(tree=tree)).series is None
    mbox = tmp_path / "x.mbox"
    mbox.write_text("From x Mon Sep 17 00:00:00 2001\nSubject: [PATCH] x\n\n")
    changed = load_kernel("linux-6.12", KernelOverrides(tree=tree, series=str(mbox)))
    assert changed.source == TreeSource(path=tree)
    assert changed.series == MboxSeries(path=mbox)
    assert changed.name == "linux-6.12"


def test_fragments_and_toolchain_show_in_the_name(profile: Path) -> None:
    kernel = load_kernel(
        str(profile), KernelOverrides(fragments=("uintr", "base", "uintr"), toolchain="clang")
    )
    assert kernel.name == "mine+uintr+clang"
    assert kernel.fragments == ("base", "uintr")
    with pytest.raises(UserError, match="no config fragment named 'kassan'"):
        load_kernel(str(profile), KernelOverrides(fragments=("kassan",)))


def test_a_fragment_may_be_a_file(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = tmp_path / "mine.config", tmp_path / "sub" / "other.config"
    other.parent.mkdir()
    for file in (mine, other):
        file.write_text("CONFIG_USERFAULTFD=y\n")
    monkeypatch.chdir(other.parent)
    # In a profile a path counts from its folder, on the command line from the current one.
    profile.write_text('fragments = ["base", "./mine.config"]' + TREE)
    kernel = load_kernel(str(profile), KernelOverrides(fragments=("other.config", "kasan")))
    assert kernel.fragments == ("base", mine, other, "kasan")
    assert kernel.name == "mine+other+kasan"
    assert KernelProfile.model_validate_json(kernel.model_dump_json()) == kernel


@pytest.mark.parametrize(
    ("given", "what"),
    [("./none.config", "no such config fragment"), ("./a b.config", "cannot be part")],
)
def test_a_file_that_is_no_fragment_is_refused(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, what: str
) -> None:
    (tmp_path / "a b.config").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=what):
        load_kernel(str(profile), KernelOverrides(fragments=(given,)))


def test_what_series_names(tmp_path: Path) -> None:
    assert parse_series("none") is None
    assert parse_series(str(series_folder(tmp_path / "s", "a.patch"))) == FolderSeries(
        path=tmp_path / "s"
    )
    assert parse_series("<1-2@example.org>") == LoreSeries(message_id="1-2@example.org")
    for wrong in ("no/such/folder", "nothing", "/a@b"):
        with pytest.raises(UserError, match="no such series"):
            parse_series(wrong)


def test_a_missing_patch_is_named(profile: Path, tmp_path: Path) -> None:
    folder = series_folder(tmp_path / "s", "a.patch", listed="# first\na.patch\nb.patch -p1\n")
    with pytest.raises(UserError, match=r"the patch b\.patch is missing") as caught:
        load_kernel(str(profile), KernelOverrides(series=str(folder)))
    assert str(folder / "series") in str(caught.value.where)


def test_folders_without_series_and_files_that_are_no_mbox(profile: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file named series"):
        load_kernel(str(profile), KernelOverrides(series=str(tmp_path)))
    with pytest.raises(UserError, match="not an mbox"):
        load_kernel(str(profile), KernelOverrides(series=str(profile)))
    with pytest.raises(UserError, match="not a Linux source tree"):
        load_kernel(str(profile), KernelOverrides(tree=tmp_path))
