"""Kernel and cpu profiles: TOML files, found by name or by path, read into values.

Names are looked up in the harness's ``kernel-config``, in that of the current folder, and in the
user's settings.

A profile's name is its file's name without ``.toml``. Errors name the file and the field, because
users write profiles by hand.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from harness import paths
from harness.errors import UserError
from harness.lib.documents import read_toml, validate
from harness.lib.maildir import check_maildir, is_maildir
from harness.lib.quilt import is_there, read_patch, read_series, refuse_pipe
from harness.lib.words import cmdline_problem, target_problem
from harness.names import (
    ALL_CPUS,
    NO_SERIES,
    cpu_names,
    emulator_names,
    fragment_names,
    kernel_names,
    places,
)
from harness.values import (
    Compiler,
    CpuProfile,
    EmulatorProfile,
    FolderSeries,
    KernelProfile,
    LoreSeries,
    MboxSeries,
    TreeSource,
    Value,
)

Json = dict[str, object]
Profile = TypeVar("Profile", KernelProfile, CpuProfile, EmulatorProfile)

#: Beginning of a mail or a diff; each file of patches has at least one.
_MAIL_OR_DIFF = re.compile(
    rb"^(?:From |From:|Subject:|diff |--- |Index: )", re.MULTILINE | re.IGNORECASE
)
#: A part of a kernel's name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII)
_MESSAGE_ID = re.compile(r"[^<>\s/-][^<>\s/]*@[^<>\s/]+")


class KernelOverrides(Value):
    """Changes that the command line makes to a kernel profile; none by default."""

    #: A folder that replaces the source, and the profile's series with it: a developer's tree is
    #: tested as it is, unless ``series`` names patches.
    tree: Path | None = None
    #: Path of a folder or an mbox, a message-id, or :data:`NO_SERIES`.
    series: str | None = None
    #: Fragments added after the profile's own: names, or paths of files.
    fragments: tuple[str, ...] = ()
    toolchain: Compiler | None = None
    #: Whether options of fragments that the tree does not have are left out.
    drop_unknown: bool = False


def expand_cpus(names: Sequence[str]) -> tuple[str, ...]:
    """Replace a pattern (``hidden*``) by the names in ``kernel-config/cpus`` that match.

    ``all`` matches every one. Names and paths stay as they are; repeated names are dropped.

    :raise UserError: a pattern matches nothing.
    """
    found: list[str] = []
    for name in names:
        pattern = "*" if name == ALL_CPUS else name
        if "/" in name or not set(pattern) & set("*?["):
            found.append(name)
            continue
        matching = fnmatch.filter(cpu_names(), pattern)
        if not matching:
            raise UserError(
                f"no cpu matches {name!r}",
                where=paths.CPUS,
                hint=f"known: {', '.join(cpu_names())}",
            )
        found += matching
    return tuple(dict.fromkeys(found))


def load_cpu(name: str) -> CpuProfile:
    """Read a CPU profile by its name, or by the path of a TOML file.

    :raise UserError: no such profile, or something in it is wrong.
    """
    path = _find(name, paths.CPUS, "cpu", cpu_names())
    return _validate(CpuProfile, _read(path), path)


def load_kernel(name: str, overrides: KernelOverrides | None = None) -> KernelProfile:
    """Read a kernel profile by its name, or by the path of a TOML file, and change it.

    Relative paths inside the file count from the file's folder. Added fragments and another
    toolchain show in the profile's name, because two such kernels can be in one run.

    :raise UserError: no such profile, something in it is wrong, or a tree, a series or a
        fragment does not exist.
    """
    path = _find(name, paths.KERNELS, "kernel", kernel_names())
    data = _read(path)
    for table in ("source", "series"):
        _anchor(data.get(table), path.parent)
    if isinstance(named := data.get("fragments"), list):
        data["fragments"] = [
            _fragment(one, path.parent) if isinstance(one, str) else one for one in named
        ]
    profile = _override(_validate(KernelProfile, data, path), overrides or KernelOverrides())
    _check_inputs(profile, path)
    return profile


def load_emulator(name: str) -> EmulatorProfile:
    """Read an emulator profile by its name, or by the path of a TOML file.

    Relative paths inside the file count from the file's folder.

    :raise UserError: no such profile, or something in it is wrong.
    """
    path = _find(name, paths.EMULATORS, "emulator", emulator_names())
    data = _read(path)
    for table in ("source", "series"):
        _anchor(data.get(table), path.parent)
    _anchor(data, path.parent, "devices")
    return _validate(EmulatorProfile, data, path)


def parse_series(text: str) -> FolderSeries | MboxSeries | LoreSeries | None:
    """Return the series that ``--series`` names, or None for :data:`NO_SERIES`.

    :raise UserError: it is no folder, mbox or message-id, or a pipe.
    """
    if text == NO_SERIES:
        return None
    path = Path(text).expanduser()
    if path.is_dir() and not is_maildir(path):
        return FolderSeries(path=path.resolve())
    if path.exists():
        refuse_pipe(path)  # which has no path once it is resolved
        return MboxSeries(path=path.resolve())
    message_id = text.removeprefix("<").removesuffix(">")
    if _MESSAGE_ID.fullmatch(message_id):
        return LoreSeries(message_id=message_id)
    raise UserError(
        "there is no such series",
        where=text,
        hint="give a folder that holds a file named series, an mbox or Maildir, a message-id of "
        f"lore.kernel.org, or {NO_SERIES}",
    )


def _override(profile: KernelProfile, overrides: KernelOverrides) -> KernelProfile:
    changes: Json = {}
    if overrides.drop_unknown:
        changes["unknown_options"] = "drop"
    if overrides.tree is not None:
        changes["source"] = TreeSource(path=overrides.tree.expanduser().resolve())
        changes["series"] = None
    if overrides.series is not None:
        changes["series"] = parse_series(overrides.series)
    given = dict.fromkeys(_fragment(one, Path.cwd()) for one in overrides.fragments)
    added = [one for one in given if one not in profile.fragments]
    suffixes = [one.stem if isinstance(one, Path) else one for one in added]
    if added:
        changes["fragments"] = (*profile.fragments, *added)
    if overrides.toolchain and overrides.toolchain != profile.toolchain:
        changes["toolchain"] = overrides.toolchain
        suffixes.append(overrides.toolchain)
    if suffixes:
        changes["name"] = "+".join([profile.name, *suffixes])
    return profile.model_copy(update=changes)


def _fragment(text: str, folder: Path) -> str | Path:
    """Return a fragment's name, or the absolute path of a file that is one.

    :param folder: the folder from which a relative path counts.
    :raise UserError: it does not exist, or its name cannot be part of a kernel's name.
    """
    if "/" not in text and not text.endswith(".config"):
        _check_known(text, fragment_names(), "config fragment", paths.FRAGMENTS)
        path = _the_only(places(paths.FRAGMENTS, f"{text}.config"), "config fragment")
        return text if path.parent == paths.FRAGMENTS else path
    path = Path(os.path.abspath(folder / Path(text).expanduser()))  # noqa: PTH100 -- links stay
    if not path.is_file():
        raise UserError("there is no such config fragment", where=path)
    if not _NAME.fullmatch(path.stem):
        raise UserError(
            "the file's name cannot be part of a kernel's name",
            where=path,
            hint="rename it: letters, digits and ._+-",
        )
    return path


def _check_inputs(profile: KernelProfile, where: Path) -> None:
    """Check that a profile's paths exist, before anything is built."""
    source = profile.source
    if (
        isinstance(source, TreeSource)
        and not source.revision
        and not (source.path / "Kbuild").is_file()
    ):
        raise UserError(
            "this is not a Linux source tree (it has no Kbuild file)"
            if source.path.is_dir()
            else "the source tree does not exist",
            where=f"{source.path} (kernel {profile.name})",
            hint="give the top folder of a kernel tree with --tree",
        )
    series = profile.series
    if isinstance(series, FolderSeries):
        _check_folder_series(series.path, where)
    elif isinstance(series, MboxSeries):
        _check_mbox(series.path, where)


def _check_folder_series(folder: Path, where: Path) -> None:
    if not folder.is_dir():
        raise UserError(
            "the series does not exist",
            where=f"{folder} (named by {where})",
            hint=f"give another one with --series, or --series {NO_SERIES} for the bare source",
        )
    listing = folder / "series"
    if not listing.is_file():
        raise UserError(
            "the folder has no file named series that lists its patches in order",
            where=folder,
            hint="ls *.patch > series, in that folder",
        )
    for entry in read_series(listing):
        if entry.chosen and not is_there(folder, entry):
            raise UserError(
                f"the patch {entry.shown} is missing",
                where=f"{listing}, which lists it",
                hint="put the patch there, or remove its line from the series file",
            )


def _check_mbox(path: Path, where: Path) -> None:
    if not path.exists():
        raise UserError("the series does not exist", where=f"{path} (named by {where})")
    if path.is_dir():
        check_maildir(path)
        return
    # git decides which of its mails are patches when they are applied.
    if not _MAIL_OR_DIFF.search(read_patch(path)):
        raise UserError(
            "this file is not an mbox (no line starts with 'From ')",
            where=path,
            hint="make one with git format-patch --stdout, or with b4 am",
        )


def _find(name: str, folder: Path, what: str, known: list[str]) -> Path:
    if "/" in name or name.endswith(".toml"):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise UserError(
                f"there is no such {what} profile",
                where=path,
                hint=f"give a TOML file, or a name: {', '.join(known)}",
            )
        return path
    _check_known(name, known, what, folder)
    return _the_only(places(folder, f"{name}.toml"), what)


def _the_only(found: list[Path], what: str) -> Path:
    """Return the file of a name. Files of one name have to be equal.

    :raise UserError: they differ.
    """
    first, *others = found
    for other in others:
        if other.read_bytes() != first.read_bytes():
            raise UserError(
                f"there are two files of one {what}, and they differ",
                where=f"{first} and {other}",
                hint="rename your own, or name it by its path",
            )
    return first


def _check_known(name: str, known: list[str], what: str, folder: Path) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    raise UserError(
        f"there is no {what} named {name!r}",
        where=folder,
        hint=f"{meant}known: {', '.join(known)}",
    )


def _read(path: Path) -> Json:
    return read_toml(path, "the profile cannot be read", "examples are in kernel-config/")


def _validate(kind: type[Profile], data: Mapping[str, object], path: Path) -> Profile:
    if "name" in data:
        raise UserError(
            "a profile's name is its file's name",
            where=f"{path}: name",
            hint="remove the line, or rename the file",
        )
    hint = f"fields: {', '.join(name for name in kind.model_fields if name != 'name')}"
    profile = validate(kind, {"name": path.stem, **data}, path, "the profile is wrong", hint)
    looked_at = [("cmdline", cmdline_problem(getattr(profile, "cmdline", "")))]
    looked_at += [("selftests", target_problem(one)) for one in getattr(profile, "selftests", ())]
    for field, problem in looked_at:
        if problem:
            raise UserError(f"the profile is wrong: {problem}", where=f"{path}: {field}", hint=hint)
    return profile


def _anchor(table: object, folder: Path, key: str = "path") -> None:
    """Make the path under ``key`` absolute, in place; a table without one is left unchanged."""
    if isinstance(table, dict) and isinstance(table.get(key), str):
        table[key] = str((folder / Path(table[key]).expanduser()).resolve())
