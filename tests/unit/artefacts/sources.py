"""Sources fetched by the tests, and what is in them."""

from __future__ import annotations

from harness.artefacts.source.git import Repository
from harness.artefacts.source.trees import BaseTree, fetch_source
from harness.artefacts.store import Store
from harness.progress import Silent
from harness.values import Source


def content(base: BaseTree) -> dict[str, str]:
    """Return what a base tree holds: path to file content."""
    repository = Repository(base.repository)
    names = repository.run("ls-tree", "-r", "--name-only", base.commit).splitlines()
    return {name: repository.run("show", f"{base.commit}:{name}") for name in names}


def fetch(source: Source, store: Store) -> BaseTree:
    return fetch_source(source, store, Silent())
