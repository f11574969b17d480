"""The tool that runs the splat rules over logs and kernel trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.guest.verdict.splats import scan
from tools.splat_formats import Message, messages
from tools.splats import BENIGN, head_of, main, read_benign, read_log, unknown_messages

GOLDEN = Path(__file__).parent / "guest/golden"
WARNING = """# source: made up
# kind: warn
# title: WARNING in f
# frames: f
# corrupted: no
WARNING: CPU: 1 PID: 2 at a.c:1 f+0x1/0x2
RIP: 0010:f+0x1/0x2
---[ end trace 0 ]---
"""


def folder(path: Path, **logs: str) -> str:
    for name, text in logs.items():
        (path / f"{name}.log").write_text(text)
    return str(path)


def test_a_right_log_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([folder(tmp_path, right=WARNING, silent="# source: benign\nhello\n")]) == 0
    assert "2 logs, 1 reports: 0 missed, 0 false, 0 named wrongly" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (WARNING.replace("WARNING: CPU", "NOTE: CPU"), "1 missed, 0 false"),
        ("# source: benign\n" + WARNING.partition("no\n")[2], "0 missed, 1 false"),
        (WARNING.replace("in f", "in g"), "1 named wrongly"),
        (WARNING.replace("frames: f", "frames: g"), "1 named wrongly"),
        (WARNING.replace("corrupted: no", "corrupted: yes"), "1 named wrongly"),
        (WARNING.replace("kind: warn", "kind: bug"), "1 named wrongly"),
    ],
)
def test_a_wrong_log_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, counted: str
) -> None:
    assert main([folder(tmp_path, wrong=text)]) == 1
    assert counted in capsys.readouterr().out


@pytest.mark.parametrize(
    "stamp",
    [
        "[Mon Nov 30 10:00:01 2026] ",
        "Nov 30 10:00:01 host kernel: ",
        "Nov 30 10:00:01.123456 host kernel: ",
        "2026-11-30T10:00:01+0000 host kernel: ",
        "2026-11-30T10:00:01.123456+01:00 host kernel: ",
        "Nov 30 10:00:01 host kernel: [   12.345678] ",
        "[   12.345678] ",
        "[   12.345678][    T1] ",
    ],
)
def test_logs_that_other_programs_kept_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stamp: str
) -> None:
    head, no, report = WARNING.partition("no\n")
    stamped = "".join(f"{stamp}{line}\n" for line in report.splitlines())
    assert main([folder(tmp_path, kept=head + no + stamped)]) == 0
    assert "1 reports: 0 missed, 0 false, 0 named wrongly" in capsys.readouterr().out


def test_a_log_without_a_head_is_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([folder(tmp_path, bare=WARNING.partition("no\n")[2])]) == 0
    assert "1 logs have no head" in capsys.readouterr().out


def test_a_described_log_is_right(tmp_path: Path) -> None:

    folder(tmp_path, bare=WARNING.partition("no\n")[2])
    log = read_log(tmp_path / "bare.log")
    head = head_of(scan(log.lines), "made up")
    assert head + "\n".join(line.decode() for line in log.lines) == WARNING


def test_messages_of_a_tree_that_no_rule_knows(tmp_path: Path) -> None:
    (tmp_path / "Kbuild").touch()
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm" / "debug.c").write_text(
        """
        pr_err("BUG: KASAN: %s in %pS\\n", a, b);
        pr_info("all is well\\n");
        pr_emerg("the pages are on fire: %d\\n", 3);
        pr_warn("WARNING: the pages "
                "are warm\\n");
        pr_warn("no complaint\\n");
        printk(KERN_ERR "the pages are gone\\n");
        """
    )
    found = [(one.line, one.text) for one in unknown_messages(tmp_path)]
    assert found == [
        (4, "the pages are on fire: %d\\n"),
        (5, "WARNING: the pages are warm\\n"),
        (8, "the pages are gone\\n"),
    ]


def test_a_file_has_a_prefix_and_a_panic_its_own(tmp_path: Path) -> None:
    (tmp_path / "Kbuild").touch()
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/smp.c").write_text(
        """
        #define pr_fmt(fmt) "genirq: " fmt
        """.replace("        ", "")
        + r"""
        pr_err("exiting task \"%s\" (%d) is an active IRQ thread (irq %d)\n", a, b, c);
        panic("no way on");
        pr_err("Spurious things%s\n", s);
        """
    )
    assert [one.printed for one in unknown_messages(tmp_path)] == ["genirq: Spurious things%s\\n"]


def tree(path: Path, **files: str) -> Path:
    """Write a kernel tree. File names have ``__`` for a slash and ``_dot_`` for a dot."""
    (path / "Kbuild").touch()
    for name, text in files.items():
        file = path / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def printed(path: Path) -> list[str]:
    return [one.printed for one in messages(path)]


def test_a_macro_of_a_header_prints(tmp_path: Path) -> None:
    header = """
    #define pie_ERROR(e)					\\
        pr_err("%s:%d: pie %p is cold\\n",			\\
               __FILE__, __LINE__, &(e))
    """.replace("    #", "#")
    found = messages(tree(tmp_path, arch__x86__include__asm__pie_dot_h=header))
    assert [(one.line, one.printed) for one in found] == [(3, "%s:%d: pie %p is cold\\n")]


def test_a_function_puts_its_own_text_around_what_is_passed(tmp_path: Path) -> None:
    source = r"""
static void __pie_bug(struct pie *s, const char *fmt, va_list args)
{
	vaf.fmt = fmt;
	pr_err("BAKERY %s: %pV\n", s->name, &vaf);
}

static __printf(2, 3) void pie_bug(struct pie *s, const char *fmt, ...)
{
	va_start(args, fmt);
	__pie_bug(s, fmt, args);
}

static void crumb_err(struct pie *s, u8 *crumb, const char *reason)
{
	if (quiet())
		return;
	pie_bug(s, reason);
}

static void check(struct pie *s)
{
	pie_bug(s, "%d crumbs", 3);
	crumb_err(s, crumb, "Crumb is gone");
}
"""
    found = printed(tree(tmp_path, mm__slub_dot_c=source))
    assert "BAKERY %s: %d crumbs\\n" in found
    assert "BAKERY %s: Crumb is gone\\n" in found


def test_constants_and_the_prefixes_of_macros_are_printed(tmp_path: Path) -> None:
    found = printed(
        tree(
            tmp_path,
            include__linux__oven_dot_h='#define OVEN "[Oven]: "\n',
            kernel__smp_dot_c="""
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#define bake_err(fmt, ...) pr_err("bake: " fmt, ##__VA_ARGS__)
	printk(KERN_ERR OVEN "is cold");
	bake_err("no flour");
""",
        )
    )
    assert found[-2:] == ["[Oven]: is cold", "smp: bake: no flour"]


def test_a_header_has_the_prefix_of_the_file_that_includes_it(tmp_path: Path) -> None:
    found = printed(
        tree(
            tmp_path,
            kernel__rcu__tree_dot_c='#define pr_fmt(fmt) "rcu: " fmt\n#include "stall.h"\n',
            kernel__rcu__stall_dot_h='pr_err("late\\n");\nprintk("BUG: late");',
        )
    )
    assert found == ["rcu: late\\n", "BUG: late"]


def test_assembly_and_early_messages_are_read_and_comments_are_not(tmp_path: Path) -> None:
    found = printed(
        tree(
            tmp_path,
            arch__x86__kernel__head_dot_S='call _printk\n.asciz "Unknown fault at: %p"\n',
            arch__x86__mm__quiet_dot_S='.asciz "nothing is printed"\n',
            arch__x86__mm__extable_dot_c='early_printk("all is lost");\n/* pr_err("not this"); */',
            mm__slub_dot_c='pr_info("BUG at %s");\npr_info("no bug");\npr_info("a BUG");\n',
        )
    )
    assert sorted(found) == ["BUG at %s", "Unknown fault at: %p", "all is lost"]


def test_a_message_is_known_only_as_it_is_printed(tmp_path: Path) -> None:
    """A rule for the start of a line does not match behind a prefix."""
    line = 'pr_err("Thread overran stack, or stack corrupted\\n");'
    assert not list(unknown_messages(tree(tmp_path, kernel__fork_dot_c=line)))
    prefixed = '#define pr_fmt(fmt) "fork: " fmt\n' + line
    assert list(unknown_messages(tree(tmp_path, kernel__fork_dot_c=prefixed)))


def test_a_group_of_whole_files_does_not_hide_what_says_that_it_is_a_bug() -> None:
    groups = [one for one in read_benign(BENIGN) if not one.messages]
    assert groups
    for file in ("arch/x86/kernel/tsc.c", "arch/x86/kernel/kgdb.c"):
        for text in ("BUG: time is out", "PANIC: early exception 0x%02x"):
            assert not any(one.holds(Message(file, 1, text, text)) for one in groups)
        assert any(one.holds(Message(file, 1, "no time", "no time")) for one in groups)


def test_benign_messages_are_counted_and_others_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Kbuild").touch()
    (tmp_path / "mm").mkdir()
    path = tmp_path / "mm/slub.c"
    path.write_text('pr_err("SLUB: Unable to add boot slab %s to sysfs\\n", s);')
    assert main(["--tree", str(tmp_path)]) == 0
    assert "    1 a set-up that failed" in capsys.readouterr().out
    path.write_text('pr_err("the slabs are on fire\\n");')
    assert main(["--tree", str(tmp_path)]) == 1
    assert "mm/slub.c:1: the slabs are on fire" in capsys.readouterr().out


def test_benign_messages_have_no_rule_and_rules_no_benign_messages() -> None:
    """A first line of a report that the file calls benign would never be asked for a rule."""
    groups = [one for one in read_benign(BENIGN) if one.files.pattern == ".*"]
    for path in sorted(GOLDEN.glob("*.log")):
        log = read_log(path)
        for splat in scan(log.lines):
            line = log.lines[splat.first_line - 1].decode(errors="replace").partition("] ")[2]
            wrong = [one.why for one in groups if one.holds(Message("x.c", 1, line, line))]
            assert not wrong, (path.name, line, wrong)
