"""A wheel of the package: what is in it, and that it works without a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from harness import paths

#: What a run reads besides the code.
READ = ("kernel-config", "patches", "guest-tests", "images")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(paths.ROOT)).build(directory=str(folder), versions=["standard"])
    return Path(built)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def call(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(installed), "UINTR_HARNESS_CACHE": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_wheel_has_what_the_checkout_has(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for top in READ:
        wanted = {
            f"harness/data/{path.relative_to(paths.ROOT)}"
            for path in (paths.ROOT / top).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert wanted
        assert wanted == {name for name in names if name.startswith(f"harness/data/{top}/")}
    modules = {str(path.relative_to(paths.ROOT)) for path in (paths.ROOT / "harness").rglob("*.py")}
    assert modules <= names
    assert not [name for name in names if name.startswith(("tests/", "tools/", "runs/"))]


def test_an_installed_package_reads_its_own_files(installed: Path, tmp_path: Path) -> None:
    done = call(installed, tmp_path, "-m", "harness", "plan", "--cpu", "all")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(installed / "harness" / "data" / "patches" / "linux-6.12") in done.stdout
    assert str(paths.ROOT) not in done.stdout
    done = call(installed, tmp_path, "-m", "harness", "contract")
    assert done.returncode == 0
    assert "HANDLER-1" in done.stdout


def test_each_path_of_an_installed_package_exists(installed: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from harness import paths; "
        "found = [value for value in vars(paths).values() if isinstance(value, Path)]; "
        "assert len(found) > 8; "
        "[print(one) for one in found if not one.exists()]"
    )
    done = call(installed, tmp_path, "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_extra_is_installed_from_where_the_package_came(installed: Path, tmp_path: Path) -> None:
    code = "from harness.lib.extras import install_line; print(install_line('lore'))"
    done = call(installed, tmp_path, "-c", code)
    assert done.stdout.endswith("-m pip install 'uintr-harness[lore]'\n")
