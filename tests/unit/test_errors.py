"""Exit codes of exceptions."""

from __future__ import annotations

import errno

import pytest

from harness.cli import _explain
from harness.errors import BuildError, ExitCode, GuestError, UserError, exit_code_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("x"), ExitCode.USAGE),
        (BuildError("x"), ExitCode.BUILD),
        (GuestError("x"), ExitCode.GUEST),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (OSError(errno.ENAMETOOLONG, "too long", "a" * 300), ExitCode.USAGE),
        (OSError(errno.ENOSPC, "full", "/x"), ExitCode.GUEST),
        (OSError(errno.EIO, "input or output"), ExitCode.GUEST),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"), ExitCode.USAGE),
        (MemoryError(), ExitCode.GUEST),
        (RuntimeError("x"), ExitCode.GUEST),
    ],
)
def test_a_run_folder_and_the_command_have_the_same_exit_code(
    error: BaseException, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(error) == code
    assert _explain(error) == code
    assert capsys.readouterr().err
