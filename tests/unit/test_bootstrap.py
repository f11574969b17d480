"""The bootstrap script, with stand-ins for what would change the machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness import paths
from harness.run.doctor import missing_packages

SCRIPT = paths.ROOT / "ci" / "bootstrap"
LOG = """#!/bin/sh
echo "$(basename "$0") $*" >>"$FAKE_LOG"
"""


class Machine:
    """A PATH where Debian's tools only say what they were asked, and pip makes stubs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "log"
        self.installed = folder / "installed"
        for name in ("apt-get", "sudo"):
            self.tool(name, LOG)
        self.tool("dpkg-query", f'#!/bin/sh\nsed "s/^/ii  /" {self.installed}\n')
        # Makes an environment whose programs print how they were started.
        self.tool(
            "python3",
            f"""#!/bin/sh
case "$*" in
*"-m venv "*) mkdir -p "$3/bin"; cp {self.bin}/python3 "$3/bin/python"; echo venv >>{self.log} ;;
*"-m pip "*) for n in tox uintr-harness; do
    printf '#!/bin/sh\\necho %s "$@"\\n' $n >"$(dirname "$0")/$n"; chmod +x "$(dirname "$0")/$n"
  done; echo pip "$@" >>{self.log} ;;
*print*) echo 3.11.9 ;;
esac
""",
        )
        self.have("run", "test")

    def tool(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def have(self, *lists: str, but: str = "") -> None:
        names = [
            name
            for one in lists
            for line in (paths.ROOT / "ci" / f"packages.{one}.txt").read_text().splitlines()
            if (name := line.partition("#")[0].strip()) and name != but
        ]
        self.installed.write_text("\n".join(names) + "\n")

    def start(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *args],
            env={
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "HOME": str(self.folder),
                "FAKE_LOG": str(self.log),
                "UINTR_HARNESS_CACHE": str(self.folder / "cache"),
                **env,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_prepared_machine_only_runs_the_command(machine: Machine) -> None:
    assert machine.start("run", "-k", "a b").stdout == "uintr-harness run -k a b\n"
    build, run, ours = [line for line in machine.said().splitlines() if line.startswith("pip")]
    for line, name in ((build, "build"), (run, "run")):
        assert line.endswith(f"-r {paths.ROOT}/ci/python.{name}.txt")
        assert " --require-hashes " in line
    assert "--no-build-isolation" in run
    assert ours.endswith(f"--no-deps --no-build-isolation --editable {paths.ROOT}")
    machine.log.unlink()
    done = machine.start("plan", "--smp", "1")
    assert (done.stdout, done.stderr) == ("uintr-harness plan --smp 1\n", "")
    assert machine.said() == ""


def test_what_is_missing_is_named_and_installed(machine: Machine) -> None:
    machine.have("run", but="qemu-system-x86")
    done = machine.start("run")
    assert "installing Debian packages: qemu-system-x86\n" in done.stderr
    update, install, *_ = machine.said().splitlines()
    if os.getuid() == 0:
        assert update.startswith("apt-get")
        assert update.endswith("update")
        assert install.endswith("install --no-install-recommends qemu-system-x86")
    assert "clang" not in machine.said()


def test_tests_need_more_and_start_tox(machine: Machine) -> None:
    machine.have("run")
    done = machine.start("test", "-e", "unit", CI="true")
    assert "clang" in done.stderr
    assert done.stdout == f"tox --conf {paths.ROOT}/tox.ini -e unit\n"
    assert f"--require-hashes -r {paths.ROOT}/ci/python.test.txt\n" in machine.said()
    assert "--editable" not in machine.said()


def test_an_index_without_the_pinned_versions_has_a_way_out(machine: Machine) -> None:
    """pip's configuration stays as it is; the user says that versions and files do not matter."""
    good = (machine.bin / "python3").read_text()
    fails = '#!/bin/sh\ncase "$*" in *--require-hashes*) echo "No matching" >&2; exit 1 ;; esac\n'
    machine.tool("python3", fails + good.partition("\n")[2])
    done = machine.start("plan")
    assert done.returncode == 4
    assert "No matching" in done.stderr
    assert "UINTR_HARNESS_UNLOCKED=1 takes what it has, unchecked" in done.stderr
    done = machine.start("plan", UINTR_HARNESS_UNLOCKED="1")
    assert (done.returncode, done.stdout) == (0, "uintr-harness plan\n")
    assert f"--editable {paths.ROOT}[emulator,lore,mutants,watch]\n" in machine.said()
    # The other kind of environment is not taken for it.
    assert machine.start("plan").returncode == 4
    assert "[tox]" in (machine.start("test", UINTR_HARNESS_UNLOCKED="1"), machine.said())[1]


def test_a_cache_of_others_is_not_used(machine: Machine) -> None:
    cache = machine.folder / "cache"
    machine.start("plan")
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o777)
    done = machine.start("plan")
    assert done.returncode == 2
    assert "others can write to the cache folder" in done.stderr
    cache.chmod(0o700)
    if os.getuid() == 0:
        os.chown(cache, 65534, -1)
        done = machine.start("plan")
        assert done.returncode == 2
        assert "belongs to another user" in done.stderr


def test_another_python_or_project_gets_another_environment(machine: Machine) -> None:
    machine.start("plan")
    machine.start("plan")
    assert machine.said().count("venv") == 1
    machine.start("test")
    assert machine.said().count("venv") == 2


def test_an_environment_that_was_not_finished_is_made_again(machine: Machine) -> None:
    machine.start("plan")
    (marker,) = (machine.folder / "cache" / "environments").glob("*/ready")
    marker.unlink()
    machine.start("plan")
    assert machine.said().count("venv") == 2


def test_without_home_and_without_a_usable_cache(machine: Machine) -> None:
    assert machine.start("plan", HOME="").returncode == 0
    (machine.folder / "file").touch()
    done = machine.start("plan", UINTR_HARNESS_CACHE=str(machine.folder / "file"))
    assert done.returncode == 2
    assert "hint: set UINTR_HARNESS_CACHE" in done.stderr


def test_packages_that_cannot_be_installed(machine: Machine) -> None:
    machine.have("run", but="gcc")
    machine.tool("apt-get", "#!/bin/sh\nexit 100\n")
    machine.tool("sudo", '#!/bin/sh\nshift\nexec "$@"\n')
    done = machine.start("run")
    assert done.returncode == 4
    assert "could not be installed: gcc" in done.stderr


def test_without_a_command_it_says_what_there_is(machine: Machine) -> None:
    done = machine.start()
    assert done.returncode == 2
    assert "ci/bootstrap run" in done.stderr


def test_the_doctor_reads_the_same_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    machine.have("run", but="flex")
    monkeypatch.setenv("PATH", f"{machine.bin}:/usr/bin:/bin")
    assert missing_packages(paths.ROOT / "ci" / "packages.run.txt") == ["flex"]
