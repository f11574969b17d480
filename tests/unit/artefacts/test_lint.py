"""What compiler, sparse and checkpatch say, read by value."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.artefacts.kernel import lint
from harness.artefacts.source.patch import Changes, Patch, changes
from harness.artefacts.source.series import added_files, touched_files
from harness.errors import BuildError

#: As the kernel's own checkpatch (6.12) prints it.
TERSE = """\
/x/0002-a.patch:323: WARNING:SPACING: space prohibited before semicolon
/x/0002-a.patch:589: CHECK:UNCOMMENTED_DEFINITION: spinlock_t definition without comment
/x/0002-a.patch:601: ERROR:TRAILING_WHITESPACE: trailing whitespace
total: 1 errors, 1 warnings, 1 checks, 507 lines checked
"""


def test_what_checkpatch_says() -> None:
    found = lint.parse_checkpatch(TERSE)
    assert found is not None
    assert (found.errors, found.warnings, found.checks) == (1, 1, 1)
    assert found.lines[0] == "323: WARNING:SPACING: space prohibited before semicolon"
    assert len(found.lines) == 3
    assert lint.parse_checkpatch("") is None
    assert lint.parse_checkpatch("Must be run from the top-level dir. of a kernel tree\n") is None


def checkpatch_that(tmp_path: Path, script: str) -> Path:
    (tmp_path / "scripts").mkdir()
    (tmp_path / lint.CHECKPATCH).write_text(script, encoding="utf-8")
    return tmp_path


def test_a_patch_that_checkpatch_says_nothing_of_is_clean(tmp_path: Path) -> None:
    found = lint.check_patch(checkpatch_that(tmp_path, "exit 0;"), tmp_path / "0001-a.patch")
    assert found == lint.Checkpatch(errors=0, warnings=0, checks=0, lines=())


@pytest.mark.parametrize("script", ["exit 2;", 'print "No such file\\n"; exit 0;'])
def test_checkpatch_that_does_not_get_to_its_end(tmp_path: Path, script: str) -> None:
    with pytest.raises(BuildError, match="no result"):
        lint.check_patch(checkpatch_that(tmp_path, script), tmp_path / "0001-a.patch")


#: Knows of arch/x86 as 6.12's get_maintainer.pl does; the options before the file are not read.
KNOWS_X86 = """\
print "X86 <x86@kernel.invalid>\\nX86 ARCHITECTURE\\n" if $ARGV[-1] =~ m{^arch/x86/};
print "THE REST\\n";
"""
ASKS = """\
print "$ARGV[-1]:94: WARNING:FILE_PATH_CHANGES: does MAINTAINERS need updating?\\n";
print "$ARGV[-1]:99: WARNING:SPACING: space prohibited\\n";
print "total: 0 errors, 2 warnings, 0 checks, 179 lines checked\\n";
exit 1;
"""


@pytest.mark.parametrize(
    ("added", "knows", "warnings"),
    [
        (["arch/x86/new.c", "arch/x86/new.h"], KNOWS_X86, 1),
        (["arch/x86/new.c", "drivers/new.c"], KNOWS_X86, 2),
        ([], KNOWS_X86, 2),
        (["arch/x86/new.c"], "exit 2;", 2),
        (["arch/x86/new.c"], "", 2),
    ],
)
def test_the_question_of_maintainers_is_answered(
    tmp_path: Path, added: list[str], knows: str, warnings: int
) -> None:
    tree = checkpatch_that(tmp_path, ASKS)
    if knows:
        (tree / lint.GET_MAINTAINER).write_text(knows, encoding="utf-8")
    found = lint.check_patch(tree, tmp_path / "0001-a.patch", added)
    assert found is not None
    assert (found.warnings, len(found.lines)) == (warnings, warnings)
    assert found.lines[-1] == "99: WARNING:SPACING: space prohibited"


def test_what_compilers_and_sparse_say() -> None:
    found = lint.parse_findings(
        [
            "  CC      kernel/fork.o",
            "/t/kernel/fork.c: In function 'do_fork':",
            "/t/kernel/fork.c:7:12: warning: unused variable 'x' [-Wunused-variable]",
            "/t/kernel/fork.c:9:12: warning: unused variable 'x' [-Wunused-variable]",
            "/t/kernel/fork.c:20: warning: Function parameter or struct member 'a' not described",
            "/t/kernel/fork.c:7:12: note: declared here",
            "kernel/fork.o: warning: objtool: f+0x12: unreachable instruction",
            "/t/kernel/exit.c:3:1: error: expected ';'",
        ],
        Path("/t"),
    )
    assert found == Counter(
        {
            ("kernel/fork.c", "warning: unused variable 'x' [-Wunused-variable]"): 2,
            (
                "kernel/fork.c",
                "warning: Function parameter or struct member 'a' not described",
            ): 1,
            ("kernel/fork.o", "warning: objtool: f+…: unreachable instruction"): 1,
            ("kernel/exit.c", "error: expected ';'"): 1,
        }
    )


def test_only_what_is_new_counts() -> None:
    before = Counter({("a.c", "warning: x"): 1, ("a.c", "warning: gone"): 1})
    now = Counter({("a.c", "warning: x"): 2, ("b.c", "error: y"): 1})
    assert lint.fresh(now, before) == ("a.c: warning: x", "b.c: error: y")
    assert lint.fresh(before, before) == ()


def test_what_sparse_says_of_a_header_that_is_left_alone_is_not_the_series_fault() -> None:
    found = Counter({("a.c", "warning: x"): 2, ("include/linux/b.h", "warning: y"): 1})
    assert lint.within(found, ["a.c"]) == Counter({("a.c", "warning: x"): 2})


def test_files_that_patches_touch() -> None:
    diff = (
        b"--- a/kernel/fork.c\n+++ b/kernel/fork.c\n@@ -1 +1 @@\n-a\n+b\n"
        b"--- /dev/null\n+++ b/lib/new.c\n@@ -0,0 +1 @@\n+c\n"
        b"--- a/lib/old.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-d\n"
    )
    twice = [Patch("1", diff), Patch("2", diff), Patch("3", b"no diff")]
    assert touched_files(twice) == ("kernel/fork.c", "lib/new.c")
    assert added_files(twice) == ("lib/new.c",)
    assert changes(twice[0]).removes


def test_a_file_that_is_moved_is_gone_from_its_place() -> None:
    moved = (
        b"diff --git a/lib/a.c b/lib/b.c\nsimilarity index 90%\n"
        b"rename from lib/a.c\nrename to lib/b.c\n"
        b"--- a/lib/a.c\n+++ b/lib/b.c\n@@ -1 +1 @@\n-a\n+b\n"
    )
    assert changes(Patch("1", moved)) == Changes(("lib/b.c",), removes=True)
