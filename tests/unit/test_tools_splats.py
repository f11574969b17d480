"""The tool that runs the splat rules over logs and kernel trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.guest.verdict.splats import scan
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
    found = [(line, text) for _, line, text in unknown_messages(tmp_path)]
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
    assert [text for _, _, text in unknown_messages(tmp_path)] == ["Spurious things%s\\n"]


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
            wrong = [one.why for one in groups if one.holds("x.c", line)]
            assert not wrong, (path.name, line, wrong)
