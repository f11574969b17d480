"""The tools for whoever changes the harness: quick tests, lowest versions, checkpatch."""

from __future__ import annotations

import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from harness import __version__, paths
from harness.errors import UserError
from tools import checkpatch, oldest, quick

TEST_A = "from harness.lib import process\nfrom harness.results.latency import merge\n"
TEST_B = "import harness.results.latency\n"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "harness/lib/process.py": "",
        "harness/results/latency.py": "from harness.results import blocks\n",
        "harness/results/blocks.py": "",
        "harness/circle.py": "import harness.circle\n",
        "tests/unit/test_a.py": TEST_A,
        "tests/unit/results/test_b.py": TEST_B,
        "tests/unit/test_documents.py": "",
        "tests/unit/guest/test_splats.py": "",
        "docs/page.md": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "a")
        monkeypatch.setenv(f"{name}_EMAIL", "a@example.org")
    for argv in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "a"]):
        subprocess.run(["git", "-C", str(tmp_path), *argv], check=True)
    return tmp_path


def touched(checkout: Path, *names: str) -> list[str]:
    return [str(path) for path in quick.touched([Path(name) for name in names], checkout)]


@pytest.mark.parametrize(
    ("name", "tests"),
    [
        ("harness/lib/process.py", ["tests/unit/test_a.py"]),
        # The test about nothing else comes first.
        ("harness/results/latency.py", ["tests/unit/results/test_b.py", "tests/unit/test_a.py"]),
        # No test imports this one, but the module before does.
        ("harness/results/blocks.py", ["tests/unit/results/test_b.py", "tests/unit/test_a.py"]),
        ("harness/circle.py", []),
        ("tests/unit/results/test_b.py", ["tests/unit/results/test_b.py"]),
        ("tests/unit/results/conftest.py", ["tests/unit/results/test_b.py"]),
        ("docs/page.md", ["tests/unit/test_documents.py"]),
        ("harness/guest/verdict/splat-rules.toml", ["tests/unit/guest/test_splats.py"]),
        ("tests/unit/guest/golden/a.log", ["tests/unit/guest/test_splats.py"]),
        ("LICENSE", []),
    ],
)
def test_a_change_touches_the_tests_that_import_it(
    checkout: Path, name: str, tests: list[str]
) -> None:
    assert touched(checkout, name) == tests


def test_what_changed_is_what_the_branch_and_the_folder_have_more(checkout: Path) -> None:
    git = ["git", "-C", str(checkout)]
    assert quick.changed("main", checkout) == []
    subprocess.run([*git, "switch", "-q", "-c", "work"], check=True)
    (checkout / "docs/page.md").write_text("committed\n")
    subprocess.run([*git, "commit", "-q", "-a", "-m", "b"], check=True)
    (checkout / "harness/lib/process.py").write_text("# not committed\n")
    (checkout / "new.py").write_text("")
    (checkout / "tests/unit/test_a.py").unlink()
    assert [str(path) for path in quick.changed("main", checkout)] == [
        "docs/page.md",
        "harness/lib/process.py",
        "new.py",
    ]


def test_files_that_stand_for_folders_exist() -> None:
    for start, tests in quick.ABOUT.items():
        assert list(paths.ROOT.glob(f"{start.removesuffix('/')}*"))
        for name in tests:
            assert (paths.ROOT / quick.UNIT / name).is_file()


def test_each_dependency_is_held_at_its_lower_bound() -> None:
    text = oldest.PYPROJECT.read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    held = dict(line.split("==") for line in oldest.constraints(text))
    for requirement in (*project["dependencies"], *oldest.requirements(project, "test")):
        parsed = Requirement(requirement)
        assert f">={held[parsed.name]}" in str(parsed.specifier)


def test_the_extras_that_an_extra_includes_are_held_too() -> None:
    text = """
[project]
name = "mine"
dependencies = ["a>=1.2,<3", "no-bound"]
[project.optional-dependencies]
test = ["mine[b,c]", "d>=4"]
b = ["b>=2.0"]
c = ["c>=3"]
other = ["e>=5"]
"""
    assert list(oldest.constraints(text)) == ["a==1.2", "b==2.0", "c==3", "d==4"]


def test_there_is_one_version_number() -> None:
    project = tomllib.loads(oldest.PYPROJECT.read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "harness/__init__.py"
    changes = (paths.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{__version__}]" in changes or "\n## [Unreleased]" in changes


def test_checkpatch_is_unpacked_once_and_asked_for_each_file(tmp_path: Path) -> None:
    scripts = tmp_path / "tree/linux-source-6.12/scripts"
    scripts.mkdir(parents=True)
    for name in ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch", "other"):
        (scripts / name).write_text(name)
    archive = tmp_path / "linux.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(tmp_path / "tree/linux-source-6.12", "linux-source-6.12")
    folder = tmp_path / "kept"
    found = checkpatch.script(archive, folder)
    assert found.read_text() == "checkpatch.pl"
    assert {path.name for path in folder.iterdir()} == {
        "checkpatch.pl",
        "spelling.txt",
        "const_structs.checkpatch",
    }
    archive.unlink()
    assert checkpatch.script(archive, folder) == found
    assert checkpatch.argv(found, [Path("a.c"), Path("b.h")])[-2:] == ["a.c", "b.h"]
    with pytest.raises(UserError, match="not installed"):
        checkpatch.script(archive, tmp_path / "none")
    names = [str(path) for path in checkpatch.all_files()]
    assert "guest-tests/delivery/running.c" in names
    assert "examples/self-send.c" in names
