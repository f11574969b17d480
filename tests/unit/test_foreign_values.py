"""Values of somebody else's files: none runs as shell, is an option, or leaves its folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from harness import cli
from harness.errors import HarnessError, UserError
from harness.guest import argv, bare_metal
from harness.guest.bare_metal import BareMetalSpec, bare_metal_argv
from harness.guest.spec import GuestSpec
from harness.results.folder import CellSetup, RunArtefacts, RunFolder
from harness.results.records import Record
from harness.run.trust import check_emulators
from harness.values import (
    Cell,
    CpuProfile,
    Emulator,
    EmulatorProfile,
    GitSource,
    KernelProfile,
    Program,
    TarballSource,
)
from tests.unit.results import make
from tests.unit.results.test_hostile_records import every_record
from tests.unit.runs import NAME, finished, prepared

TOUCH = "touch pwned"
HOSTILE = st.one_of(
    st.sampled_from(
        [
            f"\n{TOUCH}\n",
            f"'\n{TOUCH}\n'",
            f"x\r\n{TOUCH}\n#",
            f"; {TOUCH};",
            f"$({TOUCH})",
            f"`{TOUCH}`",
            f"x' ; {TOUCH} ; '",
            f'x" ; {TOUCH} ; "',
            f"--upload-pack={TOUCH}",
            f"ext::sh -c {TOUCH}",
            "-x",
            "../../../../pwned",
            "/dev/zero",
            "a\0b",
            "\ud800",
            "",
        ]
    ),
    st.text(max_size=20),
)


def texts(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each text in a JSON value."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [spot for key, one in pairs for spot in texts(one, (*path, key))]
    return [path] if isinstance(value, str) else []


def spoilt(value: Any, spot: tuple[Any, ...], text: str) -> Any:
    """Return a JSON value with another text at a path."""
    if not spot:
        return text
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[spot[0]] = spoilt(value[spot[0]], spot[1:], text)
    return copy


def every_field(value: BaseModel) -> list[tuple[Any, ...]]:
    return texts(value.model_dump(mode="json", by_alias=True))


def full_setup(folder: Path) -> CellSetup:
    """Return a setup with a text in each field that may have one."""
    setup = prepared(folder, {"api/a": "true"}).read_artefacts().cells[0]
    cpu = CpuProfile(
        name="mine",
        model="max",
        features=("+uintr", "phys-bits=40"),
        exposes_uintr=True,
        require_flags=("xsave",),
        forbid_flags=("pku",),
        cmdline="uintr=off",
    )
    kernel = KernelProfile(
        name="k",
        source=GitSource(url="https://example.org/x.git", revision="v1"),
        cmdline="a=b",
        selftests=("futex",),
    )
    cell = setup.cell.model_copy(
        update={"cpu": cpu, "kernel": kernel, "cmdline": "c", "selftests": ("x86",)}
    )
    emulator = Emulator(binary=Path("/bin/true"), version="10", firmware=(Path("/fw"),))
    return setup.model_copy(
        update={"cell": cell, "emulator": emulator, "options": ("--cpu", "mine")}
    )


def run_script(text: str, folder: Path) -> None:
    """Run a script in a folder, with nothing that could do harm on its PATH but touch."""
    subprocess.run(
        ["sh", "-s"],
        input=text.encode("utf-8", "backslashreplace"),
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=20,
    )
    assert not (folder / "pwned").exists(), text


SLOW = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SLOW
@given(text=HOSTILE, data=st.data())
def test_no_value_of_a_setup_runs_as_shell(
    text: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Not in ``qemu.sh``, not in a bare-metal program's script: whatever a profile says."""
    folder = tmp_path_factory.mktemp("setup")
    whole = full_setup(folder).model_dump(mode="json", by_alias=True)
    spot = data.draw(st.sampled_from(texts(whole)))
    try:
        setup = CellSetup.model_validate(spoilt(whole, spot, text))
    except ValidationError:
        return
    spec = setup.guest_spec()
    ran = argv.guest_argv(spec, argv.Runtime(Path("i"), 3, Path("p")))
    run_script(argv.as_script(spec, ran), folder)
    bare = BareMetalSpec(
        emulator=setup.emulator,
        cpu=setup.cell.cpu,
        smp=1,
        accel="tcg",
        program=setup.programs.programs[0].path,
        factor=1.0,
    )
    run_script(bare_metal.as_script(bare_metal_argv(bare, knows_uintr=True), 9), folder)
    for word in (setup.cell.cpu.model, *setup.cell.cpu.features, *setup.cell.selftests):
        assert "," not in word
        assert word.isprintable()
    assert "/" not in setup.cell.name
    assert not setup.cell.name.startswith((".", "-"))


def test_the_script_of_a_newline(tmp_path: Path) -> None:
    """Values that were not validated are quoted as well, in the comment, too."""
    cpu = CpuProfile.model_construct(
        **{**full_setup(tmp_path).cell.cpu.model_dump(), "cmdline": f"x'\n{TOUCH}\n'"}
    )
    setup = full_setup(tmp_path / "again")
    spec = GuestSpec.model_construct(
        **{**dict(setup.guest_spec()), "cpu": cpu, "cmdline": f"\n{TOUCH}\n"}
    )
    ran = argv.guest_argv(spec, argv.Runtime(Path("i"), 3, Path("p")))
    run_script(argv.as_script(spec, ran), tmp_path)


PROFILES: dict[type[BaseModel], dict[str, Any]] = {
    KernelProfile: {"source": {"kind": "debian", "package": "linux-source-6.12"}},
    EmulatorProfile: {"source": {"kind": "debian", "package": "linux-source-6.12"}, "devices": "d"},
    CpuProfile: {"model": "max", "exposes_uintr": False},
}
#: Fields that are shown and nothing else, or that are paths, which may have any name.
FREE = {"description", "devices", "path"}


@pytest.mark.parametrize("kind", PROFILES)
@pytest.mark.parametrize("text", [f"a\n{TOUCH}\n", "a\0", "\x1b]52;c;eA==\x07", "\u202ex"])
def test_no_field_of_a_profile_has_control_characters(kind: type[BaseModel], text: str) -> None:
    whole = {"name": "mine", **PROFILES[kind]}
    for name, field in kind.model_fields.items():
        if name in FREE or name in {"source", "series", "exposes_uintr"}:
            continue
        several = "tuple" in str(field.annotation)
        with pytest.raises(ValidationError):
            kind.model_validate({**whole, name: [text] if several else text})


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://token@example.org/x.git", "https://example.org/x.git"),
        ("https://me:secret@example.org:8443/x", "https://example.org:8443/x"),
        ("http://a@b:c@example.org/x", "http://example.org/x"),
        ("ssh://git:secret@example.org/x", "ssh://git@example.org/x"),
        ("git+ssh://git@example.org/x", "git+ssh://git@example.org/x"),
        ("git@example.org:x.git", "git@example.org:x.git"),
        ("https://example.org/a@b", "https://example.org/a@b"),
        ("/srv/a@b.git", "/srv/a@b.git"),
    ],
)
def test_credentials_are_cut_off(url: str, kept: str) -> None:
    assert GitSource(url=url, revision="v1").url == kept
    assert TarballSource(url=url, sha256="0" * 64).url == kept


@pytest.mark.parametrize("url", ["ext::sh -c x", "fd::3", "::x", "-c", "", "a\nb"])
def test_what_is_no_address_of_a_repository(url: str) -> None:
    with pytest.raises(ValidationError):
        GitSource(url=url, revision="v1")


# --- the folder of a run --------------------------------------------------------------------


def outside(folder: Path, run: RunFolder) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(run.path)
    }


@SLOW
@given(text=HOSTILE, data=st.data())
def test_no_value_of_a_record_leaves_the_folder(
    text: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A report is written for it, and its reproducers run nothing but the harness."""
    folder = tmp_path_factory.mktemp("record")
    run = finished(folder)
    lines = [TypeAdapter(Record).validate_json(line) for line in every_record()]
    failed = make.case("a", "fail", cell=NAME, message="m", diagnostics="d", checks=("A1",))
    whole = data.draw(st.sampled_from([failed, make.lost(program="a/b"), *lines]))
    value = whole.model_dump(mode="json", by_alias=True)
    value["cell"] = NAME
    spot = data.draw(st.sampled_from(texts(value)))
    line = TypeAdapter(Any).dump_json(_encodable(spoilt(value, spot, text))).decode()
    with run.results.open("a") as file:
        file.write(f"{line}\n")
    run.end(1)
    before = outside(folder, run)
    assert cli.invoke(["report", str(run.path)]) in {1, 2, 4}
    assert outside(folder, run) == before
    for script in run.path.rglob("*.sh"):
        run_script(script.read_text(), script.parent)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _encodable(one) for key, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("samples", ["/dev/zero", "/etc/passwd", "../../secret", "a/../../b", "\0"])
def test_the_samples_of_a_record_are_in_the_folder(samples: str) -> None:
    value = make.latency().model_dump(mode="json", by_alias=True) | {"samples": samples}
    with pytest.raises(ValidationError):
        TypeAdapter(Record).validate_python(value)


def link_results(run: RunFolder, elsewhere: Path) -> None:
    moved = run.results.rename(elsewhere / "results.jsonl")
    run.results.symlink_to(moved)


LINKS: dict[str, Callable[[RunFolder, Path], None]] = {
    "file": lambda run, to: (run.cell(NAME) / "qemu.sh").symlink_to(to / "secret"),
    "folder": lambda run, to: (run.cell(NAME) / "reproduce").symlink_to(to),
    "device": lambda run, _: (run.cell(NAME) / "qemu.sh").symlink_to("/dev/zero"),
    "records": link_results,
    "relative": lambda run, _: run.cell("x").symlink_to("../../.."),
}


@pytest.mark.parametrize("link", LINKS)
def test_no_link_leads_out_of_a_run(
    link: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = failed_run(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("secret")
    LINKS[link](run, elsewhere)
    before = outside(tmp_path, run)
    for command in (["report"], ["report", "--kcidb", "bench"], ["compare", str(run.path)]):
        assert cli.invoke([*command, str(run.path)]) == 2
        assert "a link leads out of the run's folder" in capsys.readouterr().err
    assert outside(tmp_path, run) == before
    assert "secret" not in "".join(path.read_text() for path in run.path.rglob("*.html"))


def failed_run(folder: Path) -> RunFolder:
    """Return a run with a failed case, so that reports write a reproducer."""
    run = finished(folder / "one")
    with run.results.open("a") as file:
        file.write(make.case("bad", "fail", cell=NAME).model_dump_json(by_alias=True) + "\n")
    run.end(1)
    (run.path / "cells" / NAME).mkdir(parents=True, exist_ok=True)
    return run


def test_a_link_within_a_run_is_fine(tmp_path: Path) -> None:
    run = failed_run(tmp_path)
    (run.path / "cells" / "latest").symlink_to(NAME)
    (run.path.parent / "latest").symlink_to("run")
    assert cli.invoke(["report", str(run.path.parent / "latest")]) == 1


@pytest.mark.parametrize("what", ["program", "qemu.sh"])
def test_no_file_without_an_end_is_read(what: str, tmp_path: Path) -> None:
    """A pipe in the folder, and a path in the list of artefacts."""
    run = failed_run(tmp_path)
    if what == "qemu.sh":
        os.mkfifo(run.path / "cells" / NAME / what)
    else:
        artefacts = run.read_artefacts().model_dump(mode="json")
        artefacts["cells"][0]["programs"]["programs"][0]["path"] = "/dev/zero"
        run.write_artefacts(RunArtefacts.model_validate(artefacts))
    assert cli.invoke(["report", str(run.path)]) == 1


# --- what is started ------------------------------------------------------------------------


def evil(folder: Path) -> Path:
    binary = folder / "qemu-system-x86_64"
    binary.write_text(f"#!/bin/sh\n{TOUCH}\n")
    binary.chmod(0o755)
    return binary


def test_the_qemu_of_somebody_elses_run_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    run = prepared(tmp_path, {"api/a": "true"})
    setup = run.read_artefacts().cells[0]
    emulator = Emulator(binary=evil(tmp_path), version="10")
    run.write_artefacts(RunArtefacts(cells=(setup.model_copy(update={"emulator": emulator}),)))
    monkeypatch.chdir(tmp_path)
    result = pytester.runpytest_inprocess(
        *("--disable-plugin-autoload", "-p", "harness.testing.plugin"),
        *("--uintr-run", str(run.path)),
    )
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*QEMU is not one that you have chosen*", "*--uintr-qemu*"])
    assert not list(tmp_path.rglob("pwned"))
    assert not (run.path / "run.json").exists()


def test_which_qemu_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UINTR_HARNESS_CACHE", str(tmp_path / "cache"))
    built = tmp_path / "cache/emulator/KEY/bin"
    for folder in (built, tmp_path / "path", tmp_path / "other"):
        folder.mkdir(parents=True)
        evil(folder)
    setup = full_setup(tmp_path / "setup")

    def check(binary: Path, named: str | None = None) -> None:
        emulator = Emulator(binary=binary, version="10")
        check_emulators([setup.model_copy(update={"emulator": emulator})], named)

    name = "qemu-system-x86_64"
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    check(built / name)
    check(tmp_path / "path" / name)
    other = tmp_path / "other" / name
    check(other, str(other))
    for wrong in (other, built / "../../../../other" / name):
        with pytest.raises(UserError, match="not one that you have chosen"):
            check(wrong)
    (tmp_path / "bin").symlink_to("path")
    check(tmp_path / "bin" / name)
    (built / "link").symlink_to(other)
    with pytest.raises(HarnessError):
        check(built / "link")
    monkeypatch.setenv("UINTR_HARNESS_QEMU", str(other))
    check(other)


def test_every_kind_of_value_is_covered(tmp_path: Path) -> None:
    """The setup above has a text in each field of a cell, its profiles and artefacts."""
    empty = {
        name
        for kind in (Cell, CpuProfile, Program)
        for name, field in kind.model_fields.items()
        if field.annotation is not None and "str" in str(field.annotation)
    }
    said = {spot[-1] if isinstance(spot[-1], str) else spot[-2] for spot in every_field(
        RunArtefacts(cells=(full_setup(tmp_path),)))}  # fmt: skip
    assert empty <= said
