"""What b4 finds of a series' signatures: read from its output, shown, and recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.source import series
from harness.artefacts.source.attestation import read_attestation
from harness.artefacts.store import Store
from harness.values import KernelProfile, LoreSeries, TreeSource

from .conftest import MakeStub, Notes, make_checkout, make_patch

LORE = LoreSeries(message_id="20210913200132.3396598-1-sohil.mehta@intel.com")


@pytest.fixture
def checkout(toy: Path) -> Path:
    return make_checkout(toy)


#: What b4 0.16 prints of a series, without what it fetches.
B4 = """\
Analyzing 3 messages in the thread
Checking attestation on all messages, may take a moment...
---
  \x1b[32m\N{CHECK MARK}\x1b[0m [PATCH 1/2] v Signed: openpgp/somebody@example.org
    + Reviewed-by: v Signed: DKIM/example.org
  \x1b[32m\N{CHECK MARK}\x1b[0m [PATCH 2/2] x86: BADSIG: in a subject
  ---
"""
GOOD = "  \x1b[32m\N{CHECK MARK}\x1b[0m Signed: DKIM/kernel.org\n"
BAD = "    \x1b[31m\N{BALLOT X}\x1b[0m BADSIG: openpgp/dev@kernel.org\n"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (B4, "no signatures"),
        (B4 + GOOD, "Signed: DKIM/kernel.org"),
        (B4 + GOOD + GOOD + BAD, "Signed: DKIM/kernel.org; BADSIG: openpgp/dev@kernel.org"),
        (B4 + "    x No key: openpgp/a@b.org\n", "No key: openpgp/a@b.org"),
        (B4 + "    v Signed: DKIM/a.org (From: b@c.org)\n", "Signed: DKIM/a.org (From: b@c.org)"),
        ("Analyzing\n" + GOOD, "b4 checked no signatures (b4.attestation-policy is off)"),
    ],
)
def test_what_b4_says_of_signatures(output: str, said: str) -> None:
    assert read_attestation(output) == said


def test_signatures_without_end_are_counted() -> None:
    many = "".join(f"    x No key: {number:03}{'k' * 500}\n" for number in range(1000))
    said = read_attestation(B4 + many)
    assert said.endswith("; and 990 more")
    assert len(said) < 3000


def test_what_b4_says_of_signatures_is_shown_and_recorded(
    store: Store, tmp_path: Path, checkout: Path, stub: MakeStub, fragments: Path
) -> None:
    (tmp_path / "mails").write_text(make_patch(checkout, "first", **{"kernel/a.c": "int a;\n"}))
    (tmp_path / "said").write_text(B4 + BAD)
    stub(
        "b4",
        'while [ $# -gt 1 ]; do [ "$1" = --outdir ] && out=$2; shift; done\n'
        f'cp {tmp_path}/mails "$out/series.mbx"; cat {tmp_path}/said >&2',
    )
    profile = KernelProfile(name="toy", source=TreeSource(path=checkout), series=LORE)
    for _ in range(2):  # fetched, and found in the store
        progress = Notes()
        kernel = build_kernel(profile, store, progress)
        assert kernel.attestation == "BADSIG: openpgp/dev@kernel.org"
        assert f"series {LORE.message_id}: BADSIG: openpgp/dev@kernel.org" in progress.notes


def test_a_series_that_an_older_version_fetched(store: Store) -> None:
    def build(folder: Path) -> None:
        (folder / "series.mbox").touch()

    store.get("series", series._lore_inputs(LORE), build)
    assert series.attestation_of(LORE, store) == "what b4 found of signatures was not kept"
    assert series.attestation_of(None, store) == ""
