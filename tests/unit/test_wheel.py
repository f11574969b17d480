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


# --- the pytest plugin -------------------------------------------------------------------------

#: Modules of which an idle plugin has no use.
HEAVY = ("harness.testing.plugin", "harness.run", "harness.guest", "paramiko", "pydantic")
IDLE = f"""
import sys

def test_nothing_more_is_loaded(pytestconfig):
    assert pytestconfig.pluginmanager.has_plugin("harness.testing.options")
    assert not set({HEAVY}) & set(sys.modules)
"""


def pytest_in(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return call(installed, folder, "-m", "pytest", "-p", "no:cacheprovider", *words)


def test_pytest_finds_the_plugin_which_idles(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_idle.py").write_text(IDLE)
    done = pytest_in(installed, tmp_path)
    assert done.returncode == 0, done.stdout
    assert "--uintr-cpu" in pytest_in(installed, tmp_path, "--help").stdout


def test_a_projects_own_guest_is_left_alone(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture\ndef guest():\n    return 'of the project'\n"
    )
    (tmp_path / "test_own.py").write_text(
        "def test(guest):\n    assert guest == 'of the project'\n"
    )
    done = pytest_in(installed, tmp_path)
    assert done.returncode == 0, done.stdout


def test_a_guest_without_options_says_what_to_give(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_guest.py").write_text("def test(guest): pass\n")
    done = pytest_in(installed, tmp_path)
    assert done.returncode == 1
    assert "--uintr-run FOLDER" in done.stdout


@pytest.mark.parametrize("also", [(), ("-p", "harness.testing.plugin")])
def test_an_option_loads_the_plugin_once(
    installed: Path, tmp_path: Path, also: tuple[str, ...]
) -> None:
    done = pytest_in(installed, tmp_path, *also, "--uintr-run", str(tmp_path))
    assert done.returncode == 4
    assert "not the folder of a prepared run" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_type_of_the_guest_can_be_imported(installed: Path, tmp_path: Path) -> None:
    """That type checkers know it is seen by mypy, which reads ``examples/test_release.py``."""
    assert (installed / "harness" / "py.typed").exists()
    code = "from harness.testing import Guest; print(Guest.run, Guest.push, Guest.fetch)"
    done = call(installed, tmp_path, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    code = "from harness import testing; testing.guest"
    done = call(installed, tmp_path, "-c", code)
    assert "has no attribute 'guest'" in done.stderr
