"""Mutants to choose from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.mutants.files import PATCH


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three mutants, one of which may survive."""
    where = tmp_path / "mutants"
    where.mkdir()
    for what in ("alpha", "beta"):
        (where / f"no-{what}.patch").write_text(PATCH.format(what=what, trailer=""))
    trailer = "\nSurvives: nothing\n shows it.\n"
    (where / "quiet.patch").write_text(PATCH.format(what="gamma", trailer=trailer))
    return where
