"""The lock files of ``ci/bootstrap``: in step with pyproject.toml, and made as they say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness import paths
from tools import locks
from tools.oldest import requirements as of_extra

_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}")
PYTHONS = ("3.11", "3.12", "3.13")


def pinned(name: str, python: str) -> dict[str, str]:
    """Return package → version of a lock file, for a Python on Linux."""
    where = {"python_full_version": f"{python}.0", "sys_platform": "linux", "os_name": "posix"}
    found: dict[str, str] = {}
    for line in locks.lock_file(name).read_text().splitlines():
        if line.startswith(("#", " ")):
            continue
        requirement = Requirement(line.removesuffix("\\").strip())
        if requirement.marker is None or requirement.marker.evaluate(where):
            assert requirement.name not in found, f"{requirement.name} twice for Python {python}"
            (only,) = requirement.specifier
            assert only.operator == "=="
            found[canonicalize_name(requirement.name)] = only.version
    return found


@pytest.mark.parametrize("name", locks.WHAT)
def test_each_version_has_hashes_and_no_address(name: str) -> None:
    lines = locks.lock_file(name).read_text().splitlines()
    body = [line for line in lines if not line.startswith("#")]
    for line, after in zip(body, [*body[1:], ""], strict=True):
        if not line.startswith(" "):
            assert line.endswith(" \\"), line
            assert after.startswith("    --hash=sha256:"), line
        else:
            assert _HASH.fullmatch(line.removesuffix(" \\")), line
    assert not [line for line in lines if "://" in line]


@pytest.mark.parametrize("python", PYTHONS)
def test_each_requirement_of_the_project_is_pinned(python: str) -> None:
    """`python -m tools.locks` after a change of pyproject.toml, if this fails."""
    project = tomllib.loads(locks.PYPROJECT.read_text())["project"]
    wanted = {
        "run": [
            *project["dependencies"],
            *(one for e in locks.EXTRAS for one in of_extra(project, e)),
        ],
        "build": locks.requirements("build"),
        "test": locks.requirements("test"),
    }
    for name, requirements in wanted.items():
        found = pinned(name, python)
        for text in requirements:
            requirement = Requirement(text)
            version = found.get(canonicalize_name(requirement.name))
            assert version, f"{text} is not in ci/python.{name}.txt"
            assert requirement.specifier.contains(version), f"{text}, but {version} is pinned"


@pytest.mark.parametrize("python", PYTHONS)
def test_no_package_has_two_versions_in_one_environment(python: str) -> None:
    run, build = pinned("run", python), pinned("build", python)
    assert {one: run[one] for one in run.keys() & build} == {
        one: build[one] for one in run.keys() & build
    }


def test_the_bootstrap_installs_the_same_extras() -> None:
    assert f"echo {','.join(locks.EXTRAS)}\n" in (paths.ROOT / "ci/bootstrap").read_text()


def test_uv_is_asked_for_all_pythons_and_with_pips_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@packages.example.org/simple")
    monkeypatch.setattr(locks, "ROOT", tmp_path)
    (tmp_path / "ci").mkdir()
    fake = tmp_path / "uv"
    fake.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/asked\n'
        'while [ "$1" != --output-file ]; do shift; done\n'
        "printf '# by uv\\nclick==8.5.1 %s\\n' '\\' > \"$2\"\n"
    )
    fake.chmod(0o755)
    assert locks.write([str(fake)], "run", upgrade=False) == 0
    asked = (tmp_path / "asked").read_text()
    for words in (
        "--universal --generate-hashes",
        "--python-version 3.11",
        "--default-index https://user:secret@packages.example.org/simple",
        "--extra=lore",
    ):
        assert words in asked
    text = (tmp_path / "ci/python.run.txt").read_text()
    assert text == locks.HEAD.format(what="COMMAND") + "click==8.5.1 \\\n"


def test_a_lock_is_kept_if_uv_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "ROOT", tmp_path)
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci/python.test.txt").write_text("kept\n")
    assert locks.write(["false"], "test", upgrade=True) == 1
    assert (tmp_path / "ci/python.test.txt").read_text() == "kept\n"
