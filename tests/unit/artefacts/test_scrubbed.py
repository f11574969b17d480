"""Commands of a build get a listed part of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.artefacts.emulator import qemu_build
from harness.artefacts.host_inputs import VARIABLES
from harness.artefacts.kernel import kbuild
from harness.campaigns.child_runs import start_command
from harness.lib.process import capture, stream
from harness.lib.scrubbed import build_environment

SECRETS = ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "CI_JOB_TOKEN", "MAKEFLAGS")


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("CCACHE_DIR", "/cache")


def test_a_command_does_not_get_secrets() -> None:
    assert "secret" not in capture(["env"]).text
    lines: list[str] = []
    assert stream(["env"], on_line=lines.append) == 0
    assert "CCACHE_DIR=/cache" in lines
    assert not [line for line in lines if "secret" in line]


def test_nor_does_a_build() -> None:
    for env in (
        kbuild.environment(Path("/tree"), Path("/out")),
        qemu_build.environment(Path("/kept")),
    ):
        assert not set(SECRETS) & set(env)
        assert env["CCACHE_DIR"] == "/cache"
        assert env["LC_ALL"] == "C"


def test_a_run_that_a_run_starts_gets_all(tmp_path: Path) -> None:
    """It may fetch, and passes on less itself."""
    lines: list[str] = []
    start_command(["env"], tmp_path / "log", lines.append)
    assert "SSH_AUTH_SOCK=secret" in lines


def test_variables_that_change_what_is_found_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the key of what is built with them."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "/here")
    assert set(VARIABLES) <= set(build_environment())
