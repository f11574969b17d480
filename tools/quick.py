"""Run the unit tests that a change touches: ``python -m tools.quick``, part of ``tox -e quick``.

A change is the difference from the commit at which this branch left ``--base``, with uncommitted
files. It touches a test file that is changed, that imports a changed module, or that is about a
changed folder. Indirect imports would nearly always lead to all tests, so they count only for a
module that no test imports. If many files are touched, the ``--most`` with the fewest imports are
run, because they are the most specific; the number of the others is printed. ``tox -e unit`` runs
everything.

pytest-picked only finds tests that are changed themselves. pytest-testmon knows which tests reach a
line, but has to run all of them first, in each checkout, under a tracer.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from harness import paths

UNIT = Path("tests/unit")
#: Beginnings of paths that are not modules → the tests about them.
ABOUT = {
    ".github/": ("test_documents.py",),
    "CONTRIBUTING.md": ("test_documents.py",),
    "README.md": ("test_documents.py",),
    "ci/": ("test_bootstrap.py", "test_recipes.py"),
    "docs/": ("test_documents.py",),
    "examples/": ("test_examples.py", "test_documents.py"),
    "guest-tests/CONTRACT.md": ("results/test_contract.py", "test_examples.py"),
    "harness/guest/verdict/splat-rules.toml": ("guest/test_splats.py",),
    "harness/report/report.": ("report/test_html.py",),
    "kernel-config/": ("test_profiles.py", "test_documents.py"),
    "patches/": ("mutants/test_mutants.py",),
    "pyproject.toml": ("tools/test_habits.py",),
    "tests/unit/guest/golden/": ("guest/test_splats.py",),
    "tests/unit/results/ktap/": ("results/test_ktap_golden.py",),
    "tests/unit/results/old-run/": ("test_verdicts.py",),
    "tools/splats-benign.toml": ("test_tools_splats.py",),
    "tox.ini": ("test_documents.py",),
}


def changed(base: str, root: Path = paths.ROOT) -> list[Path]:
    """Return the existing files that differ from the commit at which the branch left ``base``."""

    def git(*args: str) -> list[str]:
        argv = ["git", "-C", str(root), *args]
        return subprocess.run(argv, capture_output=True, text=True).stdout.splitlines()

    start = (git("merge-base", "HEAD", base) or ["HEAD"])[0]
    names = (
        *git("diff", "--name-only", start, "--"),
        *git("ls-files", "--others", "--exclude-standard"),
    )
    return sorted(Path(name) for name in set(names) if (root / name).exists())


def imports(source: str) -> Iterator[str]:
    """Yield the modules that a file imports; for ``from a import b`` both ``a`` and ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def touched(files: Iterable[Path], root: Path = paths.ROOT) -> list[Path]:
    """Return the test files that a change touches: changed ones, then those with fewest imports."""
    files = list(files)
    known = {
        test.relative_to(root): set(imports(test.read_text(encoding="utf-8")))
        for test in sorted((root / UNIT).rglob("test_*.py"))
    }
    found = {
        UNIT / name
        for path in files
        for start, names in ABOUT.items()
        if str(path).startswith(start)
        for name in names
    }
    for path in files:
        if path.suffix == ".py":
            found |= _about(_module(path), known, root)
    found |= {test for test in known if test in files or test.parent / "conftest.py" in files}
    return sorted(
        found & known.keys(), key=lambda test: (test not in files, len(known[test]), test)
    )


def _about(module: str, known: Mapping[Path, set[str]], root: Path) -> set[Path]:
    """Return the tests that import a module; if there are none, those of what imports it."""
    modules, seen = {module}, set[str]()
    while modules:
        found = {test for test, names in known.items() if names & modules}
        if found:
            return found
        seen |= modules
        sources = {path: path.read_text(encoding="utf-8") for path in _sources(root)}
        modules = {
            _module(path.relative_to(root))
            for path, text in sources.items()
            if modules & set(imports(text))
        } - seen
    return set()


def _sources(root: Path) -> Iterator[Path]:
    for folder in ("harness", "tools"):
        yield from (root / folder).rglob("*.py")


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--base", default="main", help="the branch that the change is for")
    options.add_argument("--most", type=int, default=8, help="largest number of test files to run")
    return options


def main() -> int:
    """Run the tests; return pytest's exit code."""
    options = parser().parse_args()
    tests = touched(changed(options.base))
    if not tests:
        print("no unit test is touched by the change")
        return 0
    chosen = tests[: options.most]
    if left := len(tests) - len(chosen):
        print(f"{left} more test files are touched: tox -e unit runs them", flush=True)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", *map(str, chosen)], cwd=paths.ROOT
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
