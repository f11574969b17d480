"""The files in ``examples/``: each does what it is there to show."""

from __future__ import annotations

import email
import email.policy
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import paths
from harness.request.profiles import load_kernel
from harness.values import TreeSource
from tools import documents

EXAMPLES = paths.ROOT / "examples"


def test_each_example_is_in_a_page() -> None:
    text = " ".join(path.read_text(encoding="utf-8") for path in documents.documents())
    for path in EXAMPLES.iterdir():
        if not path.name.startswith(("__", ".")):
            assert f"examples/{path.name}" in text


@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_the_program_compiles_without_a_complaint(cc: str) -> None:
    if shutil.which(cc) is None:
        pytest.skip(f"no {cc}")
    flags = ["-std=gnu11", "-O2", "-muintr", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    source = EXAMPLES / "self-send.c"
    subprocess.run([cc, *flags, "-I", str(paths.GUEST_TESTS / "include"), str(source)], check=True)


def test_the_programs_statements_are_in_the_contract() -> None:
    named = re.findall(r"KTAP_CASE\(\w+, (.+)\)", (EXAMPLES / "self-send.c").read_text())
    contract = (paths.GUEST_TESTS / "CONTRACT.md").read_text(encoding="utf-8")
    statements = [one for case in named for one in case.split(", ")]
    assert statements
    for statement in statements:
        assert f"- **{statement}** " in contract


class Answer:
    returncode = 0

    def __init__(self, stdout: bytes) -> None:
        self.stdout = stdout


class Guest:
    """Answers as a guest does, in which all CPUs are online or not."""

    def __init__(self, online: bytes) -> None:
        self.online = online

    def run(self, argv: list[str], *, timeout_s: float) -> Answer:
        said = {"uname": b"6.12.1\n", "online": self.online, "possible": b"0-1\n"}
        return Answer(said[Path(argv[-1]).name if argv[0] == "cat" else argv[0]])


def test_the_python_tests_pass_and_can_fail() -> None:
    space: dict[str, object] = {}
    exec((EXAMPLES / "test_release.py").read_text(), space)
    kernel, cpus = (test for name, test in space.items() if name.startswith("test_"))
    assert callable(kernel)
    assert callable(cpus)
    kernel(Guest(b"0-1\n"))
    cpus(Guest(b"0-1\n"))
    with pytest.raises(AssertionError):
        cpus(Guest(b"0\n"))


def test_the_profile_is_of_the_tree_beside_it(tmp_path: Path) -> None:
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux/Kbuild").touch()
    shutil.copy(EXAMPLES / "my-tree.toml", tmp_path)
    profile = load_kernel(str(tmp_path / "my-tree.toml"))
    assert isinstance(profile.source, TreeSource)
    assert profile.source.path == tmp_path / "linux"
    assert profile.series is None


class Nightly:
    """The pipeline, with a stand-in for ``ci/bootstrap`` that ends as it is told."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder / "nightly"
        self.log = folder / "log"
        self.script = folder / "examples/nightly.sh"
        self.script.parent.mkdir()
        shutil.copy(EXAMPLES / "nightly.sh", self.script)
        stand_in = folder / "ci/bootstrap"
        stand_in.parent.mkdir()
        stand_in.write_text(
            f"#!{sys.executable}\nimport os, sys\nfrom pathlib import Path\n"
            f"open({str(self.log)!r}, 'a').write('\\t'.join(sys.argv[1:]) + '\\n')\n"
            "Path(sys.argv[sys.argv.index('--out') + 1]).mkdir()\n"
            "sys.exit(int(os.environ['CODE']))\n"
        )
        stand_in.chmod(0o755)
        # Each run begins in a second of its own.
        clock = folder / "bin/date"
        clock.parent.mkdir()
        clock.write_text(f"#!/bin/sh\necho run-$(cat {self.log} 2>/dev/null | wc -l)\n")
        clock.chmod(0o755)
        self.path = f"{clock.parent}:{os.environ['PATH']}"

    def run(self, code: int, *options: str) -> list[str]:
        """Run it, and return the options of ``run`` that it gave."""
        done = subprocess.run(
            [str(self.script), str(self.runs), *options],
            env={**os.environ, "PATH": self.path, "CODE": str(code)},
        )
        assert done.returncode == code
        return self.log.read_text().splitlines()[-1].split("\t")


def test_the_pipeline_compares_with_the_first_run_that_passed(tmp_path: Path) -> None:
    nightly = Nightly(tmp_path)
    assert "--baseline" not in nightly.run(1)
    assert "--baseline" not in nightly.run(0, "--repeat", "3")
    baseline = nightly.runs / "baseline"
    assert baseline.resolve() == nightly.runs / "run-1"
    args = nightly.run(1)
    assert args[args.index("--baseline") + 1] == str(baseline)
    nightly.run(0)
    assert baseline.resolve() == nightly.runs / "run-1"
    documents.parse(shlex.join(["uintr-harness", *args]))


def test_the_pipeline_says_what_it_needs(tmp_path: Path) -> None:
    done = subprocess.run([EXAMPLES / "nightly.sh"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "name the folder" in done.stderr


# --- the check for b4 --------------------------------------------------------------------------

MAIL = b"Message-ID: <20261101-x-v2-0-abc@example.org>\nSubject: [PATCH v2 0/3] x\n\nText\n"
#: Stands for uintr-harness: prints what it was called with, and ends as it is told.
HARNESS = """#!{python}
import os, sys
open({log!r}, "a").write("\\t".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == "report":
    print("Tested with uintr-harness 1: x\\n\\nPassed: 3 passed.\\n\\nTested-by: A <a@example.org>")
    sys.exit(0)
print("error: the last line", file=sys.stderr)
sys.exit(int(os.environ["CODE"]))
"""


def checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, *options: str
) -> tuple[dict[str, str], list[list[str]]]:
    """Return b4's result of the check, by b4's own caller, and the calls of the harness."""
    checks = pytest.importorskip("b4.review.checks", reason="b4 0.14 has no review")
    log, harness = folder / "log", folder / "harness"
    harness.write_text(HARNESS.format(python=sys.executable, log=str(log)))
    harness.chmod(0o755)
    monkeypatch.setenv("UINTR_HARNESS", str(harness))
    monkeypatch.setenv("CODE", str(code))
    mail = email.message_from_bytes(MAIL, policy=email.policy.SMTP)
    line = shlex.join([sys.executable, str(EXAMPLES / "b4_check.py"), *options])
    (result,) = checks.run_series_checks(("id", mail), [line], str(folder))
    calls = [line.split("\t") for line in log.read_text().splitlines()]
    return result, calls


@pytest.mark.parametrize(
    ("code", "status"), [(0, "pass"), (1, "fail"), (3, "fail"), (2, "warn"), (4, "warn")]
)
def test_b4_is_told_how_a_series_did(
    code: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, calls = checked(tmp_path, monkeypatch, code, "--tree", "/a b", "-k", "api or wait")
    assert (result["tool"], result["status"]) == ("uintr-harness", status)
    ran = calls[0]
    assert ran[:3] == ["run", "--series", "20261101-x-v2-0-abc@example.org"]
    assert ran[-4:] == ["--tree", "/a b", "-k", "api or wait"]
    documents.parse(shlex.join(["uintr-harness", *ran]))
    if code < 2:
        assert calls[1][:2] == ["report", "--mail"]
        assert result["summary"] == "Passed: 3 passed."
        assert "Tested-by" in result["details"]
    else:
        assert len(calls) == 1
        assert result["summary"] == "error: the last line"


def test_b4_is_told_of_each_patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, (call,) = checked(tmp_path, monkeypatch, 1, "--each", "--cpu", "hidden")
    assert call[:2] == ["build", "--check-series"]
    assert call[-2:] == ["--cpu", "hidden"]
    assert result["status"] == "fail"
    documents.parse(shlex.join(["uintr-harness", *call]))
